"""One file for each job: erase, evaluate, compare, generate, purify."""

from .comparison import compare
from .edit_evaluation import evaluate_edit
from .erasure import erase
from .generation import GenerationOptions, generate
from .options import EvaluationOptions, RunOptions
from .purification import Inversion, PurificationOptions, purify, purify_files

__all__ = [
    "EvaluationOptions",
    "GenerationOptions",
    "Inversion",
    "PurificationOptions",
    "RunOptions",
    "compare",
    "erase",
    "evaluate_edit",
    "generate",
    "purify",
    "purify_files",
]
