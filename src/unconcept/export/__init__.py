"""Edits as files that other tools open.

A pipeline folder, a LoRA, kohya's format, a patched single file, the Hub.
"""

from .formats import export
from .hub import push
from .model_card import base_of, export_card

__all__ = [
    "base_of",
    "export",
    "export_card",
    "push",
]
