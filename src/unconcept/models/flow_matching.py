"""Flow matching: a straight line from image to noise, x_t = (1 − σ) x_0 + σ n with σ = t / 1000.

The denoiser predicts v = n − x_0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from diffusers.schedulers.scheduling_flow_match_heun_discrete import FlowMatchHeunDiscreteScheduler
from torch import Tensor

from .conditioning import per_row
from .pipeline_model import PipelineModel

SCHEDULERS = {"euler": FlowMatchEulerDiscreteScheduler, "heun": FlowMatchHeunDiscreteScheduler}


class FlowModel(PipelineModel):
    """What flow-matching families share. Their own sampler is Euler's; timesteps are real numbers.

    evenly_spaced  noise levels from 1 to 1 / steps before the shift, or the scheduler's own
    """

    schedulers = SCHEDULERS
    evenly_spaced: bool = False

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        self.scheduler = self.own_scheduler(pipe.scheduler.config)
        self.timesteps = int(self.scheduler.config["num_train_timesteps"])

    @classmethod
    def own_scheduler(cls, config: Any) -> Any:
        """The scheduler of the family's own sampler.

        Args:
            config: Configuration of the pipeline's scheduler.
        """
        return FlowMatchEulerDiscreteScheduler.from_config(config)

    def make_scheduler(self, sampler: str, steps: int) -> Any:
        """Some models shift the noise schedule with the number of an image's tokens.

        Esser et al. 2024, arXiv 2403.03206, §5.3.2.

        Args:
            sampler: One of `samplers`.
            steps: Sampling steps.
        """
        if sampler != "euler":
            return super().make_scheduler(sampler, steps)
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(self.scheduler.config)
        settings: dict[str, Any] = {}
        if self.evenly_spaced:
            settings["sigmas"] = np.linspace(1.0, 1 / steps, steps)
        if scheduler.config["use_dynamic_shifting"]:
            settings["mu"] = self.schedule_shift(steps)
        scheduler.set_timesteps(steps, **settings)
        return scheduler

    def schedule_shift(self, steps: int) -> float:
        """μ of the shift: linear in the number of tokens.

        Args:
            steps: Sampling steps; not all families use them.
        """
        config = self.scheduler.config
        low_tokens, high_tokens = config["base_image_seq_len"], config["max_image_seq_len"]
        low, high = config["base_shift"], config["max_shift"]
        return low + (high - low) / (high_tokens - low_tokens) * (self.image_tokens - low_tokens)

    @property
    def image_tokens(self) -> int:
        """Tokens of an image in the transformer: latents in patches of 2 x 2."""
        return self.latent_shape[1] * self.latent_shape[2] // 4

    def sigma(self, t: Tensor) -> Tensor:
        """Share of noise in x_t [N], in [0, 1].

        Args:
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
        """
        return t / self.timesteps

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = (1 − σ) x + σ n.

        Args:
            x: Clean latents [N, C, H, W].
            noise: Standard normal noise n [N, C, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.

        Returns:
            x_t [N, C, H, W].
        """
        sigma = per_row(self.sigma(t).to(x), x)
        return (1 - sigma) * x + sigma * noise

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The flow v = n − x, at every t.

        Args:
            x: Clean latents [N, C, H, W].
            noise: Standard normal noise n [N, C, H, W].
            t: Timesteps [N].

        Returns:
            v [N, C, H, W].
        """
        return noise - x

    def weight(self, t: Tensor) -> Tensor:
        """n = x_t + (1 − σ) v, so that an error of v counts (1 − σ)²."""
        return (1 - self.sigma(t)).square()

    @torch.no_grad()
    def invert(self, latents: Tensor, prompts: Sequence[str], *, steps: int, upto: int) -> Tensor:
        """Euler's steps in reverse, without guidance.

        Exact as far as predictions at both ends of a step are the same.

        Args:
            latents: Clean latents x_0 [N, C, H, W].
            prompts: N prompts that describe them.
            steps: Sampling steps of the whole trajectory.
            upto: How many of them are inverted, 1 to `steps`.

        Returns:
            Noisy latents [N, C, H, W] from which `trajectory(..., skip=steps - upto)` continues.
        """
        scheduler = self.make_scheduler(self.samplers[0], steps)
        x = latents
        condition = self.encode(prompts)
        for i in reversed(range(steps - upto, steps)):
            t = scheduler.timesteps[i].expand(len(x)).to(self.device)
            step = scheduler.sigmas[i] - scheduler.sigmas[i + 1]
            x = x + step * self.predict(x, t, condition)
        return x


class MultistepFlowModel(FlowModel):
    """Flow matching whose own sampler is a multistep solver of diffusers, with a fixed shift.

    multistep  the solver's scheduler, which knows flow matching's noise levels
    """

    multistep: Any

    @classmethod
    def own_scheduler(cls, config: Any) -> Any:
        shift = float(config.get("flow_shift") or config.get("shift") or 1.0)
        return cls.multistep.from_config(
            config, use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=shift
        )

    def make_scheduler(self, sampler: str, steps: int) -> Any:
        """The multistep solver or Euler, with the model's shift of the noise schedule.

        Args:
            sampler: One of `samplers`.
            steps: Sampling steps.

        Returns:
            The scheduler, set to these steps.
        """
        if sampler != "euler":
            return super().make_scheduler(sampler, steps)
        scheduler = FlowMatchEulerDiscreteScheduler(
            num_train_timesteps=self.timesteps, shift=self.scheduler.config["flow_shift"]
        )
        scheduler.set_timesteps(steps)
        return scheduler
