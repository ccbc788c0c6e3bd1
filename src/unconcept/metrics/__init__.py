"""Every measure, one small file each."""

from .proportion import proportion, wilson
from .similarity import pixel_change, ssim, structure_change

__all__ = ["pixel_change", "proportion", "ssim", "structure_change", "wilson"]
