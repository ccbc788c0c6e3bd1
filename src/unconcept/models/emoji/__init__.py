"""The embedded models: their weights, their vocabulary, and what it says about a concept."""

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .loading import FLOW, FOLDER, GUIDANCE, PIPELINE, VIDEO, load, load_flow, load_video

__all__ = ["FLOW", "FOLDER", "GUIDANCE", "PIPELINE", "VIDEO", "load", "load_flow", "load_video"]

__getattr__ = lazy_names(__name__, dict.fromkeys(__all__, "loading"))
