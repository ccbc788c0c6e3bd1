"""What a run costs in memory, network calls and time: predicted by the dry run, and measured."""

from .dry_run import tell
from .memory_estimate import budget
from .usage import counted, peak_memory

__all__ = [
    "budget",
    "counted",
    "peak_memory",
    "tell",
]
