"""Where an edit comes from: method, concepts, base model, and how the model is recognized."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from ..concepts.concept import Concept
from ..models.interface import Model

# Weights of a model, and numbers of each, by which it is recognized in another precision.
IDENTITY_SAMPLE = 16, 8


def make_card(method: str, settings: Any, concepts: Sequence[Concept], model: Model) -> dict:
    """What an edit says about itself.

    Args:
        method: Its key in `METHODS`.
        settings: The method, a dataclass of hyperparameters.
        concepts: That are erased.
        model: That is edited.

    Returns:
        A mapping that JSON can hold.
    """
    return {
        "method": method,
        "settings": asdict(settings),
        "concepts": [asdict(concept) for concept in concepts],
        "family": model.family,
    }


def model_identity(model: Model) -> dict:
    """What an edit says about its model: the hash of all weights, and a few of their numbers.

    The numbers are those by which the model is recognized in another precision. A quantized model
    has none.

    Args:
        model: That is edited.

    Returns:
        Entries of the edit's card.
    """
    weights = {}
    if not model.quantized:
        for name, tensor in named_tensors(model.components):
            if tensor.is_floating_point() and tensor.numel() >= IDENTITY_SAMPLE[1]:
                weights[name] = tensor
    sampled = {}
    if weights:
        names = list(weights)
        for i in torch.linspace(0, len(names) - 1, IDENTITY_SAMPLE[0]).long().tolist():
            sampled[names[i]] = sample_numbers(weights[names[i]]).tolist()
    return {"model_sha256": model.fingerprint(), "model_weights": sampled}


def named_tensors(components: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the components' state dicts, sorted by name.

    Args:
        components: Modules by name.

    Yields:
        ("unet.path.to.module.weight", tensor)
    """
    for component, module in sorted(components.items()):
        for name, tensor in sorted(module.state_dict().items()):
            yield f"{component}.{name}", tensor


def sample_numbers(tensor: Tensor) -> Tensor:
    """A few numbers of a tensor, evenly spread over it.

    Args:
        tensor: Of any shape and dtype.

    Returns:
        `IDENTITY_SAMPLE[1]` numbers in single precision, on the CPU.
    """
    flat = tensor.detach().flatten()
    last = len(flat) - 1
    # Above 2**24 a float32 index may round up to the length itself.
    places = torch.linspace(0, last, IDENTITY_SAMPLE[1]).long().clamp(max=last)
    return flat[places.to(flat.device)].float().cpu()
