"""AnimateDiff: Stable Diffusion's U-Net with motion modules between its layers, for short clips.

The weights that read the prompt are the image model's, under the same names: an edit of the image
model fits the video model.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline
from diffusers.pipelines.animatediff.pipeline_animatediff_sdxl import AnimateDiffSDXLPipeline
from torch import Tensor

from ..cross_attention import is_temporal
from ..interface import Condition
from ..pipeline_model import STATES, PathTest, in_all
from ..video import ClipSize, VideoModel
from .stable_diffusion import UNET, StableDiffusion
from .stable_diffusion_xl import StableDiffusionXL


def without_motion(belongs: PathTest) -> PathTest:
    """The test of a weight group, motion modules left out.

    Args:
        belongs: Of the image model.
    """

    def test(path: str) -> bool:
        return belongs(path) and not is_temporal(path)

    return test


def video_groups() -> dict[str, PathTest]:
    """The image model's weight groups, and "motion": the motion modules."""
    groups = {name: without_motion(belongs) for name, belongs in UNET.items()}
    return {**groups, "motion": is_temporal, "all": in_all}


class Animated(VideoModel):
    """What AnimateDiff adds to the `Model` of an image model. Latents are [N, C, F, H, W]."""

    groups: ClassVar[Mapping[str, PathTest]] = video_groups()

    def usual_clip_size(self) -> ClipSize:
        side = self.denoiser.config["sample_size"] * self.space_ratio
        return ClipSize(frames=16, height=side, width=side)

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict noise or velocity; the U-Net receives the states once for every frame.

        Args:
            x: Noisy latents [N, C, F, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.

        Returns:
            ε or v [N, C, F, H, W].
        """
        states = condition[STATES].repeat_interleave(x.shape[2], 0)
        return super().predict(x, t, {**condition, STATES: states})

    def token_frames(self, x: Tensor) -> int:
        return x.shape[2]

    def decode_batch(self, latents: Tensor) -> Tensor:
        """Decode latents [N, C, F, H, W] as N · F images."""
        frames = latents.transpose(1, 2)
        images = [super(Animated, self).decode_batch(f) for f in frames.flatten(0, 1).split(1)]
        return torch.cat(images).unflatten(0, frames.shape[:2])

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        """Encode the frames of clips.

        Args:
            images: Clips [N, frames, 3, height, width] in [0, 1].

        Returns:
            Latents [N, C, F, H, W].
        """
        frames = super().latents(images.flatten(0, 1))
        return frames.unflatten(0, images.shape[:2]).transpose(1, 2)


class AnimateDiff(Animated, StableDiffusion):
    """The `Model` around an AnimateDiffPipeline (Stable Diffusion 1.x)."""

    family = "animatediff"

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, AnimateDiffPipeline)


class AnimateDiffXL(Animated, StableDiffusionXL):
    """The `Model` around an AnimateDiffSDXLPipeline."""

    family = "animatediff-xl"

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, AnimateDiffSDXLPipeline)
