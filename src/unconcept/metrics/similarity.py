"""How far a picture is from the one that the same seed gave before. Pictures are [N, 3, H, W] in [0, 1]; every result is [N]."""

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate


def pixel_change(before: Tensor, after: Tensor) -> Tensor:
    """Mean absolute difference of the pixels, in [0, 1]; 0: the same picture."""
    return (before - after).abs().mean((1, 2, 3))


def structure_change(before: Tensor, after: Tensor, size: int = 8) -> Tensor:
    """The same at `size` x `size`: what is left is layout and large colour areas."""
    small = [interpolate(p, (size, size), mode="area") for p in (before, after)]
    return pixel_change(*small)


def ssim(before: Tensor, after: Tensor, window: int = 7) -> Tensor:
    """Structural similarity on grey pictures (Wang et al. 2004, eq. 13, uniform window, K = 0.01, 0.03); 1: the same."""
    x, y = (p.mean(1, keepdim=True) for p in (before, after))
    mean = lambda p: avg_pool2d(p, window, 1)
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean((1, 2, 3))
