"""Cut one concept out of a text-to-image diffusion model, leave the rest as it was, and measure
both.
"""

from typing import TYPE_CHECKING

from .concepts.concept import Concept
from .errors import InputError, RunError, UnconceptError
from .lazy import lazy_names

if TYPE_CHECKING:
    from .edits import Edit
    from .methods import AllButOne
    from .models import Model, load, wrap
    from .training import Tune
    from .workflows import erase

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

__getattr__ = lazy_names(
    __name__,
    {
        "AllButOne": "methods",
        "Edit": "edits",
        "Model": "models",
        "Tune": "training",
        "erase": "workflows",
        "load": "models",
        "wrap": "models",
    },
)
