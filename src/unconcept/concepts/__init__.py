"""What to erase, in words: the concept, the prompt templates it is learnt from, and the prompts that must not change."""

from .concept import Concept
from .retain import COMMON, keeping, kept
from .templates import TEMPLATES, Kind, article

__all__ = [
    "COMMON",
    "TEMPLATES",
    "Concept",
    "Kind",
    "article",
    "keeping",
    "kept",
]
