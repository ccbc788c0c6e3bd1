"""The embedded models: weights, the vocabulary that they were trained on, and what it knows of a concept."""

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .loading import FLOW, FOLDER, GUIDANCE, PIPELINE, load, load_flow

__all__ = ["FLOW", "FOLDER", "GUIDANCE", "PIPELINE", "load", "load_flow"]

__getattr__ = lazy_names(__name__, dict.fromkeys(__all__, "loading"))
