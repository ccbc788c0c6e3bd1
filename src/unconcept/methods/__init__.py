"""Every erasing method, one file each. A method is called with a model and concepts and returns an `Edit`."""

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
from .table import METHODS, Method, method_caveat
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
    "method_caveat",
]
