"""Where an edit comes from: its method, concepts and base model, and how that model is recognised."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from ..concepts.concept import Concept
from ..models.interface import Model

IDENTITY_SAMPLE = 16, 8  # weights of a model, and numbers of each, by which it is known in another precision


def make_card(method: str, settings: Any, concepts: Sequence[Concept], model: Model) -> dict:
    """What an edit says of itself: the method, its settings (a dataclass), the concepts, and the family of model."""
    return {"method": method, "settings": asdict(settings), "concepts": [asdict(concept) for concept in concepts], "family": model.family}


def model_identity(model: Model) -> dict:
    """What an edit says of its model: the hash of all weights, and a few of them, by which the same model is known in another precision."""
    weights = (
        []
        if model.quantized
        else [(name, t) for name, t in named_tensors(model.components) if t.is_floating_point() and t.numel() >= IDENTITY_SAMPLE[1]]
    )
    some = (
        {weights[i][0]: weights[i][1] for i in torch.linspace(0, len(weights) - 1, IDENTITY_SAMPLE[0]).long().tolist()} if weights else {}
    )
    return {"model_sha256": model.fingerprint(), "model_weights": {name: sample_numbers(t).tolist() for name, t in some.items()}}


def named_tensors(components: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    for component, module in sorted(components.items()):
        for name, tensor in sorted(module.state_dict().items()):
            yield f"{component}.{name}", tensor


def sample_numbers(tensor: Tensor) -> Tensor:
    """A few numbers of a tensor, evenly spread."""
    flat = tensor.detach().flatten()
    last = len(flat) - 1
    places = torch.linspace(0, last, IDENTITY_SAMPLE[1]).long().clamp(max=last)  # above 2**24 a float rounds up to the length itself
    return flat[places.to(flat.device)].float().cpu()
