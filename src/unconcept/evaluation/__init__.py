"""From an edit to numbers: prompts, judges, features, metrics and scores with their intervals."""

from .judges import Judge, load_judge
from .runner import Evaluation, evaluate
from .setup import prepare

__all__ = [
    "Evaluation",
    "Judge",
    "evaluate",
    "load_judge",
    "prepare",
]
