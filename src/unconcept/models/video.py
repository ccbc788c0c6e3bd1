"""What text-to-video families share: clips instead of images.

Latents are [N, C, F, H, W] or [N, F, C, H, W], whichever the denoiser receives; clips are
[N, frames, 3, height, width]. An autoencoder that compresses time makes F latent frames of
(F - 1) * ratio + 1 frames.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from .interface import Condition
from .latent_space import to_unit_range
from .pipeline_model import PipelineModel

SIZE_ATTRIBUTE = "unconcept_clip_size"  # of a pipeline whose clips have a size of their own


@dataclass(frozen=True)
class ClipSize:
    """Length and size of a clip.

    frames  number of frames
    height  in pixels
    width   in pixels
    """

    frames: int
    height: int
    width: int


class VideoModel(PipelineModel):
    """The part of a family that is the same for all text-to-video models.

    A family defines `usual_clip_size`, and these:

    time_axis    axis of the latents along which time runs
    time_ratio   frames for each latent frame
    frame_step   clips have a multiple of it, and one more frame
    patch        patch size of the transformer (time, height, width); of a U-Net (1, 1, 1)
    """

    time_axis: ClassVar[int] = 2
    time_ratio: int = 1
    frame_step: int = 1
    patch: tuple[int, int, int] = (1, 1, 1)

    @property
    def space_ratio(self) -> int:
        """Pixels for each latent pixel, along height and width."""
        names = ("vae_scale_factor_spatial", "vae_spatial_compression_ratio", "vae_scale_factor")
        return first_number(self.pipe, names)

    @abstractmethod
    def usual_clip_size(self) -> ClipSize:
        """The length and size that the family's pipeline samples if nothing else is set."""

    @property
    def clip_size(self) -> ClipSize:
        """Length and size of the clips that are sampled."""
        return getattr(self.pipe, SIZE_ATTRIBUTE, None) or self.usual_clip_size()

    def set_clip_size(
        self, frames: int | None = None, height: int | None = None, width: int | None = None
    ) -> None:
        """Sample clips of another length and size. It is remembered at the pipeline.

        Args:
            frames: Number of frames; None: as it is.
            height: In pixels; None: as it is.
            width: In pixels; None: as it is.

        Raises:
            InputError: The autoencoder or the denoiser cannot make clips of that size.
        """
        changes = {"frames": frames, "height": height, "width": width}
        changes = {name: value for name, value in changes.items() if value is not None}
        size = replace(self.clip_size, **changes)
        for name, value in changes.items():
            if value < 1:
                raise InputError(f"{name} is {value}: it must be at least 1")
        if (size.frames - 1) % self.frame_step:
            fewer = (size.frames - 1) // self.frame_step * self.frame_step + 1
            raise InputError(
                f"{size.frames} frames: this model makes clips of {self.frame_step} n + 1 frames, "
                f"such as {fewer} or {fewer + self.frame_step}"
            )
        for name, patch in (("height", self.patch[1]), ("width", self.patch[2])):
            step = self.space_ratio * patch
            value = getattr(size, name)
            if value % step:
                raise InputError(f"the {name} is {value}: for this model a multiple of {step}")
        setattr(self.pipe, SIZE_ATTRIBUTE, size)

    @property
    def frames(self) -> int:
        return self.clip_size.frames

    @property
    def image_shape(self) -> tuple[int, int]:
        return self.clip_size.height, self.clip_size.width

    @property
    def image_size(self) -> int:
        """Height of a frame in pixels."""
        return self.clip_size.height

    @property
    def latent_frames(self) -> int:
        """Frames of the latents; as many as the transformer's patches can divide."""
        frames = (self.frames - 1) // self.time_ratio + 1
        return -(-frames // self.patch[0]) * self.patch[0]

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return self.denoiser.config["in_channels"]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        height, width = self.image_shape
        shape = [
            self.latent_channels,
            height // self.space_ratio,
            width // self.space_ratio,
        ]
        shape.insert(self.time_axis - 1, self.latent_frames)
        return tuple(shape)

    def token_frames(self, x: Tensor) -> int:
        """How many frames of tokens the denoiser makes of latents.

        Args:
            x: Latents of N clips.
        """
        return x.shape[self.time_axis] // self.patch[0]

    @property
    def max_batch(self) -> int:
        """As many clips as 64 images of 32 x 32 latents hold places, and at least 2."""
        height, width = self.image_shape
        places = self.latent_frames * (height // self.space_ratio) * (width // self.space_ratio)
        return min(64, max(2, 2**16 // places))

    def guided(
        self, x: Tensor, t: Tensor, null: Condition, condition: Condition, guidance: float
    ) -> Tensor:
        """Classifier-free guidance in two calls: one clip at a time is large enough.

        Args:
            x: Noisy latents of N clips.
            t: Timesteps [N].
            null: The empty prompt, N rows.
            condition: The prompts, N rows.
            guidance: The guidance scale s.

        Returns:
            ε(∅) + s·(ε(c) − ε(∅)), of the shape of x.
        """
        ε_null = self.predict(x, t, null)
        return ε_null + guidance * (self.predict(x, t, condition) - ε_null)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode one clip after the other: the autoencoder takes more memory than the denoiser.

        Args:
            latents: Latents of N clips.

        Returns:
            Clips [N, frames, 3, height, width] in [0, 1].
        """
        return torch.cat([self.decode_batch(clip) for clip in latents.split(1)])


class CausalVideoModel(VideoModel):
    """Families whose autoencoder compresses time, 4 or more frames to one.

    The autoencoder reads and returns [N, C, F, H, W]; a family scales its latents.
    """

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        names = ("vae_scale_factor_temporal", "vae_temporal_compression_ratio")
        self.time_ratio = first_number(pipe, names)
        self.frame_step = self.time_ratio

    def latent_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the autoencoder's latents, of 0 dimensions or
        [1, C, 1, 1, 1]; by default 0 and the inverse of its scaling factor.
        """
        return torch.tensor(0.0), torch.tensor(1 / self.pipe.vae.config["scaling_factor"])

    def to_vae(self, latents: Tensor) -> Tensor:
        """Latents of the denoiser [N, ...] as the autoencoder's [N, C, F, H, W].

        Args:
            latents: Of N clips; [N, F, C, H, W] in families whose time axis is 1.
        """
        mean, std = (value.to(self.device) for value in self.latent_statistics())
        return latents * std + mean

    def from_vae(self, latents: Tensor) -> Tensor:
        """Latents of the autoencoder [N, C, F, H, W] as the denoiser's.

        Args:
            latents: Scaled as the autoencoder's encoder returns them.
        """
        mean, std = (value.to(self.device) for value in self.latent_statistics())
        return (latents - mean) / std

    def decode_batch(self, latents: Tensor) -> Tensor:
        clean = self.to_vae(latents).to(self.pipe.vae.dtype)
        video = self.pipe.vae.decode(clean, return_dict=False)[0]
        return to_unit_range(video.transpose(1, 2))

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        """Encode clips to latents: the mean of the autoencoder's distribution.

        Args:
            images: Clips [N, frames, 3, height, width] in [0, 1].

        Returns:
            Latents of N clips.
        """
        video = (images.transpose(1, 2) * 2 - 1).to(self.device, self.pipe.vae.dtype)
        clips = [self.pipe.vae.encode(clip).latent_dist.mode() for clip in video.split(1)]
        return self.from_vae(torch.cat(clips)).to(self.dtype)


def first_number(pipe: Any, names: Sequence[str]) -> int:
    """The first attribute that a pipeline has: pipelines name the same number differently.

    Args:
        pipe: A pipeline of diffusers.
        names: Of attributes; it has one of them.
    """
    return int(next(getattr(pipe, name) for name in names if hasattr(pipe, name)))
