"""Options that commands share, and hyperparameters from YAML files. Nothing here imports torch."""

from .options import Look, Output, Precision, Printout, Quantized, Source, Training
from .overrides import override

__all__ = [
    "Look",
    "Output",
    "Precision",
    "Printout",
    "Quantized",
    "Source",
    "Training",
    "override",
]
