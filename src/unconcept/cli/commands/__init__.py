"""The commands: one module each.

A command checks its input, imports torch only then, and calls one workflow.
"""

from .application import app

__all__ = [
    "app",
]
