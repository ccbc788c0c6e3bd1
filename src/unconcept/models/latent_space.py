"""What every family shares of its autoencoder: the shape of latents, and images from them."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from .consistency import latent_side


class LatentSpace(ABC):
    """The part of a `PipelineModel` between latents and images.

    pipe      the pipeline
    network   name of the component that denoises
    denoiser  that component
    """

    pipe: Any
    network: ClassVar[str]
    denoiser: Any

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype: ...

    @property
    def latent_shift(self) -> float:
        """Subtracted from the autoencoder's latents before they are scaled; 0 in most families."""
        return self.pipe.vae.config.get("shift_factor") or 0.0

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        scaled = (images * 2 - 1).to(self.device, self.pipe.vae.dtype)
        mean = self.pipe.vae.encode(scaled).latent_dist.mode()
        return (mean.to(self.dtype) - self.latent_shift) * self.pipe.vae.config["scaling_factor"]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        side = latent_side(self.pipe, self.network)
        return self.denoiser.config["in_channels"], side, side

    @property
    def vae_bytes(self) -> int:
        return sum(t.nbytes for t in self.pipe.vae.state_dict().values())

    @property
    def max_batch(self) -> int:
        """64 for latents of 32 x 32 or smaller, 16 for 64 x 64, 4 for 128 x 128."""
        h, w = self.latent_shape[-2:]
        return min(64, max(2, 2**16 // (h * w)))

    @property
    def image_size(self) -> int:
        return self.latent_shape[1] * self.pipe.vae_scale_factor

    @property
    def image_shape(self) -> tuple[int, int]:
        return self.image_size, self.image_size

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode four images of 256 x 256 pixels at once, or as many pixels of another size.

        The autoencoder takes more memory than the denoiser.
        """
        at_once = max(1, 2**18 // self.image_size**2)
        return torch.cat([self.decode_batch(part) for part in latents.split(at_once)])

    def decode_batch(self, latents: Tensor) -> Tensor:
        """Decode latents to images in [0, 1], all at once.

        Args:
            latents: [N, C, H, W] as the denoiser has them; of clips [N, C, F, H, W] or [N, F, C, H,
                W].

        Returns:
            Images [N, 3, height, width] or clips [N, frames, 3, height, width], in single
            precision.
        """
        latents = latents / self.pipe.vae.config["scaling_factor"] + self.latent_shift
        images = self.pipe.vae.decode(latents.to(self.pipe.vae.dtype), return_dict=False)[0]
        return to_unit_range(images)


def to_unit_range(images: Tensor) -> Tensor:
    """Images from the autoencoder's [-1, 1] to [0, 1], in single precision.

    Args:
        images: Of any shape; values outside [-1, 1] are clipped.
    """
    return (images / 2 + 0.5).clamp(0, 1).float()
