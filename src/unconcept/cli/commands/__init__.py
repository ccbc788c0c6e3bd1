"""The commands: one module each.

A command checks its input, imports torch only then, and calls one workflow.
"""

from .application import COMMANDS, app

__all__ = [
    "COMMANDS",
    "app",
]
