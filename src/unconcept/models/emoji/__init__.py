"""The embedded models: weights, the vocabulary that they were trained on, and what it knows of a concept."""

from .loading import FLOW, FOLDER, GUIDANCE, PIPELINE, load, load_flow

__all__ = ["FLOW", "FOLDER", "GUIDANCE", "PIPELINE", "load", "load_flow"]
