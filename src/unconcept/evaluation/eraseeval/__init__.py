"""EraseEval (Fuchi & Takagi, arXiv 2502.13989): explicit, implicit and unrelated prompts.

Written from the paper's description. The aggregate is ours: the paper's is not public.
"""

from .measures import Measured, harmonic4
from .plugs import Plugs
from .prompts import read_levels
from .protocol import EraseEval, Prompts, Protocol, run_eraseeval

__all__ = [
    "EraseEval",
    "Measured",
    "Plugs",
    "Prompts",
    "Protocol",
    "harmonic4",
    "read_levels",
    "run_eraseeval",
]
