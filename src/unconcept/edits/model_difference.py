"""The difference of two models as an edit: an erasure that another tool made."""

from collections.abc import Sequence
from dataclasses import asdict

import torch

from ..concepts.concept import Concept
from ..errors import InputError
from ..models.interface import Model
from .edit import Edit
from .provenance import model_identity, named_tensors


def edit_between(model: Model, erased: Model, concepts: Sequence[Concept]) -> Edit:
    """The edit that turns one model into another: an erasure that another tool made.

    Args:
        model: The original.
        erased: The same architecture with other weights.
        concepts: What was erased, for the card.

    Returns:
        The difference of every tensor that differs.

    Raises:
        InputError: The architectures differ, or no tensor does.
    """
    before, after = dict(named_tensors(model.components)), dict(named_tensors(erased.components))
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after or before[name].shape != after[name].shape:
            raise InputError(
                f"the two models do not have the same architecture: {name} differs in shape or is "
                "missing in one of them"
            )
    deltas = {}
    for name, weight in before.items():
        if not torch.equal(after[name], weight):
            deltas[name] = after[name].float() - weight.float()
    if not deltas:
        raise InputError(
            "the two models are the same to the last weight: there is no erasure to measure"
        )
    card = {
        "method": None,
        "settings": {},
        "concepts": [asdict(concept) for concept in concepts],
        "family": model.family,
    }
    return Edit(deltas, {**card, **model_identity(model, deltas)})
