"""The table of methods that the command line reads, and what they have in common."""

from typing import Protocol

from ..callbacks import ProgressCallback
from ..concepts.concept import Concept
from ..edits.edit import Edit
from ..models.interface import Model
from .all_but_one import AllButOne
from .concept_ablation import ConceptAblation
from .esd import ESD
from .negative_prompt import NegativePrompt
from .receler import Receler
from .sae import SAE
from .sdd import SDD
from .sld import SLD
from .speed import SPEED
from .spm import SPM
from .uce import RECE, UCE


class Method(Protocol):
    """A frozen dataclass of settings; calling it changes nothing but the new Edit."""

    def __call__(self, model: Model, *concepts: Concept, progress: ProgressCallback = ...) -> Edit: ...


def method_caveat(method: object, model: Model) -> str:
    """What must be known of this method in this model, and not in every one; "" for nothing."""
    told = getattr(method, "remark", None)
    return told(model) if told else ""


METHODS: dict[str, type] = {
    "all-but-one": AllButOne,
    "concept-ablation": ConceptAblation,
    "esd": ESD,
    "negative-prompt": NegativePrompt,
    "rece": RECE,
    "receler": Receler,
    "sae": SAE,
    "sdd": SDD,
    "sld": SLD,
    "speed": SPEED,
    "spm": SPM,
    "uce": UCE,
}
