"""How far an image is from the one that the same seed gave before the edit.

Images are [N, 3, H, W] in [0, 1]; every result is [N]. For clips see `per_sample`. Results lie in
[0, 1] and are 0 for identical images, with two exceptions: ssim is 1 for identical images, and psnr
is in dB.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, max_pool2d, pad

# Of structural similarity: the Gaussian window, and the constants of its equation.
SSIM_RADIUS, SSIM_SIGMA = 5, 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2

SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4


def per_sample(
    measure: Callable[[Tensor, Tensor], Tensor], before: Tensor, after: Tensor
) -> Tensor:
    """Measure pairs of images, or pairs of clips by the mean over their frames.

    Args:
        measure: Images before and after [M, 3, H, W] -> [M].
        before: Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1].
        after: Images or clips of the same seeds.

    Returns:
        One number for each image or clip [N].
    """
    if before.ndim == 4:
        return measure(before, after)
    values = measure(before.flatten(0, 1), after.flatten(0, 1))
    return values.unflatten(0, before.shape[:2]).mean(1)


def pixel_change(before: Tensor, after: Tensor) -> Tensor:
    """Mean absolute difference of the pixels.

    Args:
        before: Images [N, 3, H, W] in [0, 1].
        after: Images of the same seeds [N, 3, H, W].

    Returns:
        [N] in [0, 1].
    """
    return (before - after).abs().mean((1, 2, 3))


def layout_change(before: Tensor, after: Tensor, size: int = 8) -> Tensor:
    """Mean absolute difference after shrinking: only the layout and large colour areas are left.

    Args:
        before: Images [N, 3, H, W] in [0, 1].
        after: Images of the same seeds [N, 3, H, W].
        size: Height and width that both are shrunk to, by area means.

    Returns:
        [N] in [0, 1].
    """
    small_before = interpolate(before, (size, size), mode="area")
    small_after = interpolate(after, (size, size), mode="area")
    return pixel_change(small_before, small_after)


def background_change(before: Tensor, after: Tensor, rim: float = 1 / 16) -> Tensor:
    """Mean absolute difference of the outermost pixels, which show the background.

    Args:
        before: Images [N, 3, H, W] in [0, 1].
        after: Images of the same seeds [N, 3, H, W].
        rim: Width of the rim on each side, as a fraction of the image's width.

    Returns:
        [N] in [0, 1].
    """
    h, w = before.shape[-2:]
    n = max(1, round(rim * w))
    outside = torch.ones(h, w, dtype=torch.bool, device=before.device)
    outside[n : h - n, n : w - n] = False
    return (before - after).abs()[..., outside].mean((1, 2))


def edges(images: Tensor, threshold: float = 0.1) -> Tensor:
    """Pixels with a steep slope of brightness (Sobel filter).

    Args:
        images: [N, 3, H, W] in [0, 1].
        threshold: Slope above which a pixel is an edge; black beside white is 1.

    Returns:
        Booleans [N, 1, H, W].
    """
    grey = images.mean(1, keepdim=True)
    kernels = torch.stack([SOBEL, SOBEL.T])[:, None].to(grey)
    padded = pad(grey, (1, 1, 1, 1), mode="replicate")
    return conv2d(padded, kernels).norm(dim=1, keepdim=True) > threshold


def edge_change(before: Tensor, after: Tensor, slack: int = 1) -> Tensor:
    """1 - F1 of the edge maps (boundary F1, Csurka et al. 2013).

    Args:
        before: Images [N, 3, H, W] in [0, 1].
        after: Images of the same seeds [N, 3, H, W].
        slack: Pixels by which an edge may move and still match.

    Returns:
        [N] in [0, 1]; 0 where both have no edges, NaN where an image is not finite.
    """

    def widened(edge_map: Tensor) -> Tensor:
        return max_pool2d(edge_map, 2 * slack + 1, 1, slack)

    def total(edge_map: Tensor) -> Tensor:
        return edge_map.sum((1, 2, 3))

    x, y = edges(before).float(), edges(after).float()
    precision = total(y * widened(x)) / total(y).clamp(min=1)
    recall = total(x * widened(y)) / total(x).clamp(min=1)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-9)
    finite = (before + after).isfinite().flatten(1).all(1)
    return torch.where(total(x) + total(y) == 0, 0.0, 1 - f1).where(finite, torch.nan)


def psnr(before: Tensor, after: Tensor) -> Tensor:
    """Peak signal-to-noise ratio: -10 log10 of the mean squared difference.

    Args:
        before: Images [N, 3, H, W] in [0, 1].
        after: Images of the same seeds [N, 3, H, W].

    Returns:
        [N] in dB, at most 100 (identical images).
    """
    return -10 * (before - after).square().mean((1, 2, 3)).clamp(min=1e-10).log10()


def ssim(before: Tensor, after: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004, eq. 13).

    11 x 11 Gaussian window, sigma 1.5, K = (0.01, 0.03), data range 1; mean over the colour
    channels and all pixels, with images that go on mirrored beyond their rim, as in torchmetrics.

    Args:
        before: Images [N, 3, H, W] in [0, 1], more than 5 pixels wide and high.
        after: Images of the same seeds [N, 3, H, W].

    Returns:
        [N], 1 for identical images.
    """
    values = []
    # One pair at a time is faster on a CPU. In single precision identical images would be 2e-5
    # short of 1.
    for x, y in zip(before.double(), after.double()):
        x, y = mirrored(x), mirrored(y)
        means = gaussian_mean(torch.stack([x, y, x * x, y * y, x * y]))
        mean_x, mean_y, mean_xx, mean_yy, mean_xy = means
        variances = (mean_xx - mean_x**2).clamp(min=0) + (mean_yy - mean_y**2).clamp(min=0)
        covariance = mean_xy - mean_x * mean_y
        luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
        values.append((luminance * (2 * covariance + SSIM_C2) / (variances + SSIM_C2)).mean())
    return torch.stack(values).float()


def mirrored(image: Tensor) -> Tensor:
    """An image [3, H, W] with half a Gaussian window of its mirror image on every side.

    Args:
        image: More than SSIM_RADIUS pixels wide and high.

    Returns:
        [3, H + 2 r, W + 2 r] with r = SSIM_RADIUS; the rim itself is not repeated.
    """
    return pad(image, (SSIM_RADIUS,) * 4, mode="reflect")


def gaussian_mean(images: Tensor) -> Tensor:
    """Weighted means around each pixel, along one axis and then along the other.

    Args:
        images: [..., H, W].

    Returns:
        [..., H - 10, W - 10].
    """
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    weights = (window / window.sum()).tolist()
    for _ in range(2):
        size = images.shape[-1] - 2 * SSIM_RADIUS
        total = torch.zeros_like(images[..., :size])
        for i, weight in enumerate(weights):
            total.add_(images[..., i : i + size], alpha=weight)
        images = total.transpose(-1, -2).contiguous()
    return images
