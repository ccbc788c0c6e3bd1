"""Weights on disk (safetensors only), and output folders that are written whole or not at all."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .output_folder import check_out, whole_folder

if TYPE_CHECKING:
    from .weights import open_safetensors, write_safetensors

__all__ = [
    "check_out",
    "open_safetensors",
    "whole_folder",
    "write_safetensors",
]

__getattr__ = lazy_names(__name__, {"open_safetensors": "weights", "write_safetensors": "weights"})
