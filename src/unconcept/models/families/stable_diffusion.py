"""Stable Diffusion 1.x and 2.x: a U-Net with cross-attention on CLIP's token states, predicting noise (eps) or velocity (v)."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddim_inverse import DDIMInverseScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from ...errors import InputError
from ..cross_attention import GROUPS, CrossModel
from ..interface import Condition
from ..pipeline_model import STATES

SCHEDULERS = {"ddim": DDIMScheduler, "dpm-solver++": DPMSolverMultistepScheduler}

UNET = {
    **GROUPS,
    "attention blocks": lambda path: ".attentions." in path and path.endswith(".weight") and "norm" not in path,
    "all but cross-attention": lambda path: (
        ".attn2." not in path and not path.startswith(("conv_out", "conv_norm_out", "time_embed", "add_embed"))
    ),
}


class StableDiffusion(CrossModel):
    """The `Model` around a StableDiffusionPipeline. Its own sampler is DDIM."""

    family = "stable-diffusion"
    network = "unet"
    encoders = ("text_encoder",)
    schedulers = SCHEDULERS
    groups = UNET

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        told = pipe.scheduler.config
        self.scheduler = DDIMScheduler.from_config(told, clip_sample=told.get("clip_sample", False))  # latents are not bounded by 1
        self.prediction = str(self.scheduler.config["prediction_type"])
        if self.prediction not in ("epsilon", "v_prediction"):
            raise InputError(f"this model predicts {self.prediction}; Stable Diffusion with epsilon or v_prediction is supported")
        self.alphas = self.scheduler.alphas_cumprod
        self.timesteps = len(self.alphas)

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, StableDiffusionPipeline)

    def encode(self, prompts: Sequence[str]) -> Condition:
        """CLIP's last hidden states; a prompt that is too long is cut, and the log says what went."""
        tokenizer, limit = self.pipe.tokenizer, self.pipe.tokenizer.model_max_length
        whole = tokenizer(list(prompts), padding="max_length", max_length=limit, truncation=True, return_tensors="pt").input_ids
        self.warn_of_cuts(prompts)
        with torch.no_grad():
            return {STATES: self.pipe.text_encoder(whole.to(self.device))[0].to(self.dtype)}

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self.scheduler.add_noise(x, noise, t)

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.pipe.unet(x, t, condition[STATES], return_dict=False)[0]

    def weight(self, t: Tensor) -> Tensor:
        """1 for eps; for v, eps = √ᾱ v + √(1−ᾱ) x_t, so an error of v counts ᾱ."""
        return torch.ones_like(self.alphas[t]) if self.prediction == "epsilon" else self.alphas[t]

    @torch.no_grad()
    def invert(self, latents: Tensor, prompts: Sequence[str], *, steps: int, upto: int) -> Tensor:
        """DDIM inversion without guidance; exact as far as a prediction is the same at two neighbouring steps."""
        scheduler: Any = DDIMInverseScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(steps)
        x, c = latents, self.encode(prompts)
        for step in scheduler.timesteps[:upto]:
            x = scheduler.step(self.predict(x, step.expand(len(x)).to(self.device), c), step, x, return_dict=False)[0]
        return x
