"""Weights on disk (safetensors only), and output folders that are written whole or not at all."""

from .output_folder import check_out, whole_folder
from .weights import open_safetensors, write_safetensors

__all__ = [
    "check_out",
    "open_safetensors",
    "whole_folder",
    "write_safetensors",
]
