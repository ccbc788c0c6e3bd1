"""Cut one concept out of a text-to-image diffusion model, leave the rest as it was, and measure both."""

import importlib

from .concepts.concept import Concept
from .errors import InputError, RunError, UnconceptError

__all__ = [
    "AllButOne",
    "Concept",
    "Edit",
    "InputError",
    "Model",
    "RunError",
    "Tune",
    "UnconceptError",
    "erase",
    "load",
    "wrap",
]


# Names that bring torch along: imported when they are asked for, so that `unconcept --help` does not wait for it.
_LATER = {
    "AllButOne": "methods",
    "Edit": "edits",
    "Model": "models",
    "Tune": "training",
    "erase": "workflows",
    "load": "models",
    "wrap": "models",
}


def __getattr__(name: str):
    if name in _LATER:
        return getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
