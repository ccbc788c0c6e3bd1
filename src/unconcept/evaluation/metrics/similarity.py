"""How far a picture is from the one that the same seed gave before.

Pictures are [N, 3, H, W] in [0, 1]; every result is [N] in [0, 1]. ssim: 1 is the same picture; all others: 0 is. (psnr is in dB.)
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, max_pool2d, pad

SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4


def pixel_change(before: Tensor, after: Tensor) -> Tensor:
    """Mean absolute difference of the pixels."""
    return (before - after).abs().mean((1, 2, 3))


def layout_change(before: Tensor, after: Tensor, size: int = 8) -> Tensor:
    """The same at `size` x `size` (area means): what is left is layout and large colour areas."""
    small = [interpolate(p, (size, size), mode="area") for p in (before, after)]
    return pixel_change(*small)


def background_change(before: Tensor, after: Tensor, rim: float = 1 / 16) -> Tensor:
    """Mean absolute difference of the outermost pixels, `rim` of the width on each side: there is the background."""
    h, w = before.shape[-2:]
    n = max(1, round(rim * w))
    outside = torch.ones(h, w, dtype=torch.bool, device=before.device)
    outside[n : h - n, n : w - n] = False
    return (before - after).abs()[..., outside].mean((1, 2))


def edges(pictures: Tensor, threshold: float = 0.1) -> Tensor:
    """Where the grey picture's Sobel slope is above `threshold` [N, 1, H, W]; 1 would be black beside white."""
    grey = pictures.mean(1, keepdim=True)
    kernels = torch.stack([SOBEL, SOBEL.T])[:, None].to(grey)
    padded = pad(grey, (1, 1, 1, 1), mode="replicate")
    return conv2d(padded, kernels).norm(dim=1, keepdim=True) > threshold


def edge_change(before: Tensor, after: Tensor, slack: int = 1) -> Tensor:
    """1 - F1 of the edge maps: edges count as found within `slack` pixels (boundary F1, Csurka et al. 2013). Both without edges: 0."""
    x, y = edges(before).float(), edges(after).float()
    near = lambda e: max_pool2d(e, 2 * slack + 1, 1, slack)
    total = lambda e: e.sum((1, 2, 3))
    precision = total(y * near(x)) / total(y).clamp(min=1)
    recall = total(x * near(y)) / total(x).clamp(min=1)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-9)
    numbers = (before + after).isfinite().flatten(1).all(1)
    return torch.where(total(x) + total(y) == 0, 0.0, 1 - f1).where(numbers, torch.nan)


def psnr(before: Tensor, after: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, of a signal that reaches 1: -10 log10 of the mean squared difference; the same picture is capped at 100."""
    return -10 * (before - after).square().mean((1, 2, 3)).clamp(min=1e-10).log10()


def ssim(before: Tensor, after: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004, eq. 13): 11 x 11 Gaussian window, sigma 1.5, K = 0.01, 0.03, mean over the colours."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    given: dict[str, Any] = dict(gaussian_kernel=True, sigma=1.5, kernel_size=11, data_range=1.0, reduction="none")
    # One at a time, which is three times as fast on a processor; in double precision, for in single the same picture is 2e-5 short of 1.
    pairs = zip(before.double().split(1), after.double().split(1))
    return torch.cat([torch.as_tensor(structural_similarity_index_measure(y, x, **given)).reshape(-1) for x, y in pairs]).float()
