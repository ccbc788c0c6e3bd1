"""Where an edit comes from: method, concepts, base model, and how the model is recognized."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..concepts.concept import Concept
from ..models.interface import Model

# Weights of a model, and numbers of each, by which it is recognized in another precision.
IDENTITY_SAMPLE = 16, 8
RELATED = 0.5  # distance of a tensor up to which a model counts as a relative of another


def make_card(method: str, settings: Any, concepts: Sequence[Concept], model: Model) -> dict:
    """What an edit says about itself.

    Args:
        method: Its key in `METHODS`.
        settings: The method, a dataclass of hyperparameters.
        concepts: That are erased.
        model: That is edited.

    Returns:
        A mapping that JSON can hold. "lexicon" says whether the model completes concepts with the
        lexicon: not with --no-lexicon, nor where the caller chose the vocabulary.
    """
    return {
        "method": method,
        "settings": asdict(settings),
        "concepts": [asdict(concept) for concept in concepts],
        "family": model.family,
        "lexicon": model.completes,
    }


def model_identity(model: Model, changed: Iterable[str] | None = None) -> dict:
    """What an edit says about its model: the hash of all weights, and a few of their numbers.

    The numbers are those by which the model is recognized in another precision: of tensors spread
    evenly over the model, and of every tensor that the edit changes. A quantized model has none.

    Args:
        model: That is edited.
        changed: Names of the tensors that the edit changes; None: of all matrices.

    Returns:
        Entries of the edit's card.
    """
    weights = {}
    if not model.quantized:
        for name, tensor in named_tensors(model.components):
            if tensor.is_floating_point() and tensor.numel() >= IDENTITY_SAMPLE[1]:
                weights[name] = tensor
    names, chosen = list(weights), set()
    if weights:
        chosen = {
            names[i] for i in torch.linspace(0, len(names) - 1, IDENTITY_SAMPLE[0]).long().tolist()
        }
    if changed is None:
        chosen |= {name for name, tensor in weights.items() if tensor.ndim > 1}
    else:
        chosen |= weights.keys() & set(changed)
    sampled = {}
    for name in names:
        if name in chosen:
            sampled[name] = [shortest(x) for x in sample_numbers(weights[name]).tolist()]
    return {"model_sha256": model.fingerprint(), "model_weights": sampled}


def shortest(number: float) -> float:
    """A number to six digits, more than any half precision holds.

    Args:
        number: Of a weight; it may be infinite or NaN.

    Returns:
        The nearest number with six significant decimal digits, which JSON writes briefly.
    """
    return float(f"{number:.6g}")


@dataclass(frozen=True)
class Comparison:
    """How some weights differ from those that an edit was made for.

    compared  tensors that both have
    same      they are equal up to rounding to half precision
    applied   they are closer to the edited weights than to the original ones
    distance  ‖W − W*‖ / ‖W*‖ of the tensor that differs most (0: equal, about 1.4: unrelated)
    """

    compared: int
    same: bool
    applied: bool
    distance: float

    @property
    def related(self) -> bool:
        """Whether they may be a fine-tune of the model, or another edit of it."""
        return self.compared > 0 and self.distance <= RELATED


def compare_weights(
    samples: Mapping[str, Sequence[float]],
    deltas: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
) -> Comparison:
    """Compare a model with the one that an edit was made for.

    Args:
        samples: "model_weights" of the edit's card.
        deltas: Δ of the edit by name.
        tensors: The weights of the model that are at hand, by the same names.

    Returns:
        The comparison over the tensors that `samples` and `tensors` share.
    """
    same, distance, compared = True, 0.0, 0
    to_original, to_edited = 0.0, 0.0
    for name, numbers in samples.items():
        if name not in tensors:
            continue
        expected, actual = torch.tensor(numbers), sample_numbers(tensors[name])
        if actual.shape != expected.shape or not actual.isfinite().all():
            return Comparison(compared, False, False, float("inf"))
        compared += 1
        same = same and torch.allclose(actual, expected, rtol=2**-7, atol=1e-6)
        difference = actual - expected
        distance = max(distance, float(difference.norm() / (expected.norm() + 1e-12)))
        if name in deltas and deltas[name].shape == tensors[name].shape:
            to_original += float(difference.square().sum())
            to_edited += float((difference - sample_numbers(deltas[name])).square().sum())
    return Comparison(compared, same, to_edited < to_original / 4, distance)


def named_tensors(components: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the components' state dicts, sorted by name.

    Where PEFT has wrapped a module to add a LoRA, the names and weights are those of the module.

    Args:
        components: Modules by name.

    Yields:
        ("unet.path.to.module.weight", tensor)
    """
    for component, module in sorted(components.items()):
        for name, tensor in sorted(module.state_dict().items()):
            if ".lora_" not in name:
                yield f"{component}.{name.replace('.base_layer.', '.')}", tensor


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
