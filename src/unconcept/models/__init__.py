"""Diffusers pipelines behind one protocol. The one place that knows model families."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .family_table import wrap
    from .interface import Model
    from .loading import EMBEDDED, load

__all__ = ["EMBEDDED", "Model", "load", "wrap"]

__getattr__ = lazy_names(
    __name__,
    {"EMBEDDED": "loading", "Model": "interface", "load": "loading", "wrap": "family_table"},
)
