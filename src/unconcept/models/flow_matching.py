"""Flow matching: a straight way from picture to noise, x_t = (1 − σ) x_0 + σ n with σ = t / 1000; the denoiser says v = n − x_0."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_heun_discrete import FlowMatchHeunDiscreteScheduler
from torch import Tensor

from .pipeline_model import PipelineModel

SCHEDULERS = {"euler": FlowMatchEulerDiscreteScheduler, "heun": FlowMatchHeunDiscreteScheduler}


class FlowModel(PipelineModel):
    """What flow-matching families share. Their own sampler is Euler's; timesteps are real numbers."""

    schedulers = SCHEDULERS
    evenly: bool = False  # noise levels from 1 down to 1 / steps, before the shift; else the scheduler's own

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        self.scheduler = self.schedule(pipe.scheduler.config)
        self.timesteps = int(self.scheduler.config["num_train_timesteps"])

    @staticmethod
    def schedule(config: Any) -> Any:
        """The scheduler of the family's own sampler, out of the pipeline's."""
        return FlowMatchEulerDiscreteScheduler.from_config(config)

    def steps(self, sampler: str, steps: int) -> Any:
        """Some models shift the noise schedule with the number of tokens of a picture (Esser et al. 2024, §5.3.2)."""
        if sampler != "euler":
            return super().steps(sampler, steps)
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(self.scheduler.config)
        given: dict[str, Any] = {"sigmas": np.linspace(1.0, 1 / steps, steps)} if self.evenly else {}
        if scheduler.config["use_dynamic_shifting"]:
            given["mu"] = self.shifted(steps)
        scheduler.set_timesteps(steps, **given)
        return scheduler

    def shifted(self, steps: int) -> float:
        """μ of the shift: a straight line over the number of tokens."""
        config = self.scheduler.config
        few, many = config["base_image_seq_len"], config["max_image_seq_len"]
        return config["base_shift"] + (config["max_shift"] - config["base_shift"]) / (many - few) * (self.tokens - few)

    @property
    def tokens(self) -> int:
        """Of a picture, as the transformer sees it: latents in patches of 2 × 2."""
        return self.latent_shape[1] * self.latent_shape[2] // 4

    def sigma(self, t: Tensor) -> Tensor:
        """How much of x_t is noise [N] in [0, 1]."""
        return t / self.timesteps

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        sigma = self.sigma(t).to(x).view(-1, 1, 1, 1)
        return (1 - sigma) * x + sigma * noise

    def weight(self, t: Tensor) -> Tensor:
        """n = x_t + (1 − σ) v, so an error of v counts (1 − σ)²."""
        return (1 - self.sigma(t)).square()

    @torch.no_grad()
    def invert(self, latents: Tensor, prompts: Sequence[str], *, steps: int, upto: int) -> Tensor:
        """Euler's steps the other way, without guidance; exact as far as a prediction is the same at both ends of a step."""
        scheduler, x, c = self.steps(self.samplers[0], steps), latents, self.encode(prompts)
        for i in reversed(range(steps - upto, steps)):
            t = scheduler.timesteps[i].expand(len(x)).to(self.device)
            x = x + (scheduler.sigmas[i] - scheduler.sigmas[i + 1]) * self.predict(x, t, c)
        return x
