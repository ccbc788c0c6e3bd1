"""The table of methods that the command line reads, and what they have in common."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..callbacks import ProgressCallback
    from ..concepts.concept import Concept
    from ..edits.edit import Edit
    from ..models.interface import Model


class Method(Protocol):
    """A frozen dataclass of hyperparameters; calling it changes nothing but the new Edit."""

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = ...
    ) -> Edit: ...


class MethodTable(Mapping[str, type]):
    """Methods by the name that `--method` takes.

    A class is imported when it is looked up: its name can be checked before torch is loaded.
    """

    def __init__(self, classes: Mapping[str, tuple[str, str]]):
        self.classes = dict(classes)

    def __getitem__(self, name: str) -> type:
        module, class_name = self.classes[name]
        return getattr(importlib.import_module(f".{module}", __package__), class_name)

    def __contains__(self, name: object) -> bool:
        return name in self.classes

    def __iter__(self) -> Iterator[str]:
        return iter(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def modules(self) -> dict[str, str]:
        """The module of every class, by the class's name."""
        return {class_name: module for module, class_name in self.classes.values()}


METHODS = MethodTable(
    {
        "all-but-one": ("all_but_one", "AllButOne"),
        "concept-ablation": ("concept_ablation", "ConceptAblation"),
        "esd": ("esd", "ESD"),
        "negative-prompt": ("negative_prompt", "NegativePrompt"),
        "rece": ("uce", "RECE"),
        "receler": ("receler", "Receler"),
        "sae": ("sae", "SAE"),
        "sdd": ("sdd", "SDD"),
        "sld": ("sld", "SLD"),
        "speed": ("speed", "SPEED"),
        "spm": ("spm", "SPM"),
        "t2v-unlearning": ("t2v_unlearning", "T2VUnlearning"),
        "uce": ("uce", "UCE"),
    }
)


def method_caveat(method: object, model: Model) -> str:
    """What must be known of this method on this model, and not on every one.

    Args:
        method: An instance of one of `METHODS`.
        model: The model that it is used on.

    Returns:
        One line, or "" for nothing.
    """
    remark = getattr(method, "remark", None)
    return remark(model) if remark else ""
