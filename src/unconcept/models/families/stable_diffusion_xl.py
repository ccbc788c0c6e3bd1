"""Stable Diffusion XL: the same U-Net asked with two text encoders, a pooled state of the whole prompt, and the sizes of the picture."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from torch import Tensor

from ..interface import Condition
from ..pipeline_model import STATES
from .stable_diffusion import StableDiffusion

POOLED, SIZES = "text_embeds", "time_ids"  # [N, width of the second encoder] and [N, 6]


class StableDiffusionXL(StableDiffusion):
    """The `Model` around a StableDiffusionXLPipeline (base; the refiner has one encoder and other sizes and is not supported).

    ∅ is what the pipeline itself guides away from: zeros where it says `force_zeros_for_empty_prompt`, else the states of "".
    """

    family = "stable-diffusion-xl"
    encoders = ("text_encoder", "text_encoder_2")

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        if pipe.vae.dtype == torch.float16 and pipe.vae.config["force_upcast"]:
            pipe.vae.to(torch.float32)  # this autoencoder overflows in half precision

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, StableDiffusionXLPipeline)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Both encoders' last but one hidden states side by side, the second one's pooled state, and (height, width, 0, 0, height, width)."""
        self.warn_of_cuts(prompts)
        states, _, pooled, _ = self.pipe.encode_prompt(list(prompts), device=self.device, do_classifier_free_guidance=False)
        if self.pipe.config["force_zeros_for_empty_prompt"]:
            said = torch.tensor([bool(prompt) for prompt in prompts], device=states.device)
            states, pooled = states * said[:, None, None], pooled * said[:, None]
        side = self.image_size
        sizes = torch.tensor([[side, side, 0, 0, side, side]] * len(prompts))
        return {STATES: states.to(self.dtype), POOLED: pooled.to(self.dtype), SIZES: sizes.to(self.device, self.dtype)}

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        added = {POOLED: condition[POOLED], SIZES: condition[SIZES]}
        return self.pipe.unet(x, t, condition[STATES], added_cond_kwargs=added, return_dict=False)[0]
