"""Whether an edit fits a model: the weights it was made for, their names, shapes and numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError
from ..models.interface import Model, Site
from .applied_edits import without_edits
from .provenance import Comparison, compare_weights, named_tensors
from .wrappers import check_in_memory, check_shape

LARGEST = 65504.0  # of half precision


@dataclass(frozen=True)
class Mismatch:
    """How a model differs from the one that an edit was made for.

    text     one line for the user
    refused  the edit is applied only with --force
    """

    text: str
    refused: bool


def check_fit(
    model: Model, card: Mapping, deltas: Mapping[str, Tensor], sites: Iterable[str], force: bool
) -> str | None:
    """Check whether an edit fits a model.

    Args:
        model: To be edited.
        card: Of the edit.
        deltas: Δ by the name of the weight.
        sites: Names of the modules that its adapters sit behind.
        force: Return a warning instead of raising where the weights are others.

    Returns:
        None where the model has the weights that the edit was made for, in any precision. A
        warning where it is a relative of that model, such as a fine-tune, or `force` is set.

    Raises:
        InputError: Another model, without `force`; another architecture; a weight that cannot be
            changed where it is.
    """
    for name in deltas:
        if has_site(model, name):
            check_in_memory(model, name)
    mismatch = find_mismatch(model, card, deltas)
    if mismatch and mismatch.refused and not force:
        raise InputError(f"{mismatch.text}: --force applies it anyway")
    for name in (*deltas, *(f"{site}.*" for site in sites)):
        if not has_site(model, name):
            raise InputError(
                f"this model has no weight {name}: the edit was made for another architecture"
            )
    for name, delta in deltas.items():
        owner, parameter = Site(name, "").find(model.components)
        check_shape(name, getattr(owner, parameter), delta)
    return mismatch.text if mismatch else None


def find_mismatch(model: Model, card: Mapping, deltas: Mapping[str, Tensor]) -> Mismatch | None:
    """How a model differs from the one that an edit was made for.

    The two are compared by the hash of their weights without any applied edit; where that differs,
    by a few numbers of the tensors that the edit changes and of others.

    Args:
        model: To be edited.
        card: Of the edit.
        deltas: Δ by the name of the weight.

    Returns:
        None where the weights are the same in any precision, or the card does not say which they
        were.
    """
    expected = card.get("model_sha256")
    if not expected:
        return None
    with without_edits(model):
        actual = model.fingerprint()
        if expected == actual:
            return None
        comparison = compare_with_card(card, deltas, dict(named_tensors(model.components)))
    if comparison.applied:
        return Mismatch("this edit is in the weights of this model already", True)
    if comparison.same:
        return None
    if comparison.related:
        return Mismatch(
            "this edit was made for a relative of this model, whose weights differ by up to "
            f"{comparison.distance:.1%}: look at the images",
            False,
        )
    return Mismatch(
        f"this edit was made for another model "
        f"(sha256 {expected[:12]}…, this one has {actual[:12]}…)",
        True,
    )


def compare_with_card(
    card: Mapping, deltas: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> Comparison:
    """Compare weights with those that an edit was made for.

    Args:
        card: Of the edit.
        deltas: Δ by the name of the weight.
        tensors: Weights by name, "unet.….weight"; some of the model's are enough.

    Returns:
        The comparison. Where the card has no numbers to compare, they count as unrelated.
    """
    samples: Mapping[str, Sequence[float]] = card.get("model_weights") or {}
    if not samples.keys() & tensors.keys():
        return Comparison(0, False, False, float("inf"))
    return compare_weights(samples, deltas, tensors)


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Check that every number of an edit is finite and fits half precision.

    Args:
        tensors: Of the edit, by name.

    Raises:
        InputError: One does not.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool((tensor.abs() <= LARGEST).all()):
            raise InputError(
                f"the edit holds numbers that are not finite or above {LARGEST:,.0f} "
                f"in {name}: it is damaged"
            )


def has_site(model: Model, name: str) -> bool:
    """Whether a model has a weight, or with the name "….*" a module.

    Args:
        model: Any model.
        name: "unet.path.to.module.weight" or "unet.path.to.module.*".
    """
    try:
        owner, parameter = Site(name, "").find(model.components)
    except (AttributeError, KeyError):
        return False
    return parameter == "*" or hasattr(owner, parameter)
