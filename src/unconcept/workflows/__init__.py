"""One file for each job: erase, evaluate, compare, generate, purify."""

from .comparison import compare
from .edit_evaluation import examine
from .erasure import erase
from .generation import generate
from .purification import purify

__all__ = [
    "compare",
    "erase",
    "examine",
    "generate",
    "purify",
]
