"""How far an image is from the one that the same seed gave before the edit.

Images are [N, 3, H, W] in [0, 1]; every result is [N]. Results lie in [0, 1] and are 0 for
identical images, with two exceptions: ssim is 1 for identical images, and psnr is in dB.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, max_pool2d, pad

SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4


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
    """Structural similarity (Wang et al. 2004, eq. 13), computed by torchmetrics.

    11 x 11 Gaussian window, sigma 1.5, K = (0.01, 0.03), mean over the colour channels.

    Args:
        before: Images [N, 3, H, W] in [0, 1].
        after: Images of the same seeds [N, 3, H, W].

    Returns:
        [N], 1 for identical images.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    values = []
    # One pair at a time is three times as fast on a CPU. In single precision identical images would
    # be 2e-5 short of 1.
    for x, y in zip(before.double().split(1), after.double().split(1)):
        value = structural_similarity_index_measure(
            y,
            x,
            gaussian_kernel=True,
            sigma=1.5,
            kernel_size=11,
            data_range=1.0,
            reduction="none",
        )
        values.append(torch.as_tensor(value).reshape(-1))
    return torch.cat(values).float()
