"""Options that commands share, and hyperparameters from YAML files. Nothing here imports torch."""

from .options import Look, Precision, Quantized, Source, Training
from .overrides import override

__all__ = [
    "Look",
    "Precision",
    "Quantized",
    "Source",
    "Training",
    "override",
]
