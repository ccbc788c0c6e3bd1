"""An edit as a value: weight deltas and adapters that are applied, removed, scaled, added up, saved and loaded."""

from .edit import Edit, edit_between
from .weight_deltas import Deltas

__all__ = [
    "Deltas",
    "Edit",
    "edit_between",
]
