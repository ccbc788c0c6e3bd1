"""An edit as a value: weight deltas and adapters, applied, removed, scaled, added and saved."""

from .edit import Edit
from .model_difference import edit_between
from .weight_deltas import Deltas

__all__ = [
    "Deltas",
    "Edit",
    "edit_between",
]
