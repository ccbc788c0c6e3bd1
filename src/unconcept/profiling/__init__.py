"""What a run costs in memory, network calls and time: predicted by the dry run, and measured."""

from .dry_run import describe_run
from .memory_estimate import estimate_memory
from .usage import count_calls, peak_memory

__all__ = [
    "count_calls",
    "describe_run",
    "estimate_memory",
    "peak_memory",
]
