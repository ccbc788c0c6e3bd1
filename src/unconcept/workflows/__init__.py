"""One file for each job: erase, evaluate, compare, generate, purify."""

from .comparison import compare
from .edit_evaluation import evaluate_edit
from .erasure import erase
from .generation import generate
from .purification import purify_files
from .results import RunRecord

__all__ = [
    "RunRecord",
    "compare",
    "erase",
    "evaluate_edit",
    "generate",
    "purify_files",
]
