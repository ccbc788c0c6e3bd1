"""One file for each job: erase, evaluate, attack, compare, generate, purify."""

from .attack import attack_edit
from .comparison import compare
from .edit_evaluation import evaluate_edit
from .eraseeval import eraseeval_edit
from .erasure import erase
from .generation import GenerationOptions, generate
from .options import AttackOptions, EvaluationOptions, RunOptions
from .purification import Inversion, PurificationOptions, purify, purify_files

__all__ = [
    "AttackOptions",
    "EvaluationOptions",
    "GenerationOptions",
    "Inversion",
    "PurificationOptions",
    "RunOptions",
    "attack_edit",
    "compare",
    "erase",
    "eraseeval_edit",
    "evaluate_edit",
    "generate",
    "purify",
    "purify_files",
]
