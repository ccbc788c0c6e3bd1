"""The command line: what the user types, and the progress bar.

Nothing here computes; every command calls one workflow.
"""

from .entry_point import main

__all__ = [
    "main",
]
