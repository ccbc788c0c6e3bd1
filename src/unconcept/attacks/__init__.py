"""Attacks on erased models: how the concept can be brought back, and what that takes.

Each is one file: a frozen dataclass of hyperparameters, whose defaults are its authors', which
prepares a model for sampling. `catalogue` lists them.
"""

from .catalogue import ATTACKS, QUICK, QUICK_CLIPS, build, names_of

__all__ = [
    "ATTACKS",
    "QUICK",
    "QUICK_CLIPS",
    "build",
    "names_of",
]
