"""Diffusers pipelines behind one protocol. The one place that knows model families."""

from .interface import Model
from .loading import EMBEDDED, load, wrap

__all__ = ["EMBEDDED", "Model", "load", "wrap"]
