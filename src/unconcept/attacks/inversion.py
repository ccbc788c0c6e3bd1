"""Inversion: the erased model's own noise for an image of the concept, and the way back from it.

Source      Memories of Forgotten Concepts, arXiv 2412.00782; TINA (CVPR 2026) without a prompt
Idea        an erased model that still returns the image still knows how to draw it
Equation    z_T = DDIM⁻¹_θ(z_0, c),  ẑ_0 = DDIM_θ(z_T, c), both without guidance
Access      whoever has the weights, and an image
Differs     plain DDIM inversion instead of ReNoise or a fixed-point iteration
Problems    models also return images of what they never knew: compare with the unaware model, and
            with the PSNR of unseen images (channels exchanged, upside down)
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..models.interface import Sampling
from .denoising import image_latents
from .interface import Attacked, Cases, Plain, Target, Victim
from .sampling import Walk, decode, sample, sample_latents, with_prompts

UNSEEN = 8  # images upside down and with exchanged channels, for comparison


@dataclass(frozen=True)
class Inversion(Plain):
    """Hyperparameters.

    steps     of the way to noise, and of the way back; the authors' 50
    captions  the prompt on both ways: True: what the image shows; False: none, as in TINA
    """

    steps: int = 50
    captions: bool = True

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Images of the cases, inverted and drawn again.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.

        Raises:
            InputError: There are no images of the concept, because the original is missing.
        """
        if victim.original is None:
            raise InputError("inversion needs images of the concept: the original makes them")
        painter = Victim(victim.original)
        measures: dict[str, float] = {}

        def sample_cases(cases: Cases) -> Tensor:
            images = decode(painter.model, sample_latents(painter, cases, Walk(target.sampling)))
            typed = cases if self.captions else with_prompts(cases, [""])
            again = self.again(victim, typed, images)
            few = typed.first(UNSEEN)
            strange = images[:UNSEEN].flip(1, 2)
            measures["PSNR"] = mean_psnr(images, again)
            measures["PSNR of unseen images"] = mean_psnr(strange, self.again(victim, few, strange))
            return again

        return {"": Attacked(sample_cases, measures=measures)}

    def again(self, victim: Victim, cases: Cases, images: Tensor) -> Tensor:
        """Invert images and draw them again.

        Args:
            victim: The model that does both.
            cases: N captions.
            images: [N, 3, H, W] in [0, 1].

        Returns:
            Images [N, 3, H, W] in [0, 1].
        """
        model = victim.model
        sampling = Sampling(steps=self.steps, guidance=1.0)
        latents = image_latents(model, images)
        noise = []
        with victim.on():
            for i in range(0, len(latents), model.max_batch):
                part = latents[i : i + model.max_batch].to(model.device, model.dtype)
                prompts = cases.prompts[i : i + model.max_batch]
                noise.append(model.invert(part, prompts, steps=self.steps, upto=self.steps).cpu())
        return sample(victim, cases, Walk(sampling, latents=torch.cat(noise)))


def mean_psnr(images: Tensor, again: Tensor) -> float:
    """Mean peak signal-to-noise ratio.

    Args:
        images: [N, 3, H, W] in [0, 1].
        again: [N, 3, H, W] in [0, 1].

    Returns:
        dB, at most 100.
    """
    error = (images - again).square().mean((1, 2, 3)).clamp(min=1e-10)
    return round((-10 * error.log10()).mean().item(), 2)
