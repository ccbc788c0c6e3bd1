"""Every erasing method, one file each: called with a model and concepts, it returns an `Edit`."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .table import METHODS, method_caveat

if TYPE_CHECKING:
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
    from .t2v_unlearning import T2VUnlearning
    from .table import Method
    from .uce import RECE, UCE

__all__ = [
    "ESD",
    "METHODS",
    "RECE",
    "SAE",
    "SDD",
    "SLD",
    "SPEED",
    "SPM",
    "UCE",
    "AllButOne",
    "ConceptAblation",
    "Method",
    "NegativePrompt",
    "Receler",
    "T2VUnlearning",
    "method_caveat",
]

__getattr__ = lazy_names(__name__, METHODS.modules | {"Method": "table"})
