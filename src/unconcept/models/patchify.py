"""Latents in patches of 2 x 2, one after the other, as transformers receive them."""

from typing import Any

from torch import Tensor


class Patched:
    """For families whose pipeline keeps latents packed: here they are [N, C, H, W]."""

    pipe: Any
    denoiser: Any

    @property
    def latent_shape(self) -> tuple[int, ...]:
        side = self.pipe.default_sample_size
        return self.denoiser.config["in_channels"] // 4, side, side


def packed(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, H W / 4, 4 C]

    Args:
        x: Latents with even H and W.
    """
    n, c, h, w = x.shape
    patches = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(n, h * w // 4, c * 4)


def unpacked(x: Tensor, h: int, w: int) -> Tensor:
    """[N, H W / 4, 4 C] -> [N, C, H, W]

    Args:
        x: Packed latents.
        h: Height H of the latents.
        w: Width W of the latents.
    """
    patches = x.view(len(x), h // 2, w // 2, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(len(x), -1, h, w)
