"""What to erase: the concept, its prompt templates, and the prompts that must not change."""

from .concept import Concept
from .retain import DEFAULT_VOCABULARY, retain_prompts, with_retained
from .templates import TEMPLATES, Kind, article

__all__ = [
    "DEFAULT_VOCABULARY",
    "TEMPLATES",
    "Concept",
    "Kind",
    "article",
    "retain_prompts",
    "with_retained",
]
