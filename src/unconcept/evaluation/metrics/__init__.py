"""Metrics, one file per kind; `evaluation.scores` gives them names and directions."""

from .distribution import feature_change, fid, kid
from .proportions import difference, proportion, wilson
from .similarity import background_change, edge_change, layout_change, pixel_change, psnr, ssim
from .unconditional_drift import drift

__all__ = [
    "background_change",
    "difference",
    "drift",
    "edge_change",
    "feature_change",
    "fid",
    "kid",
    "layout_change",
    "pixel_change",
    "proportion",
    "psnr",
    "ssim",
    "wilson",
]
