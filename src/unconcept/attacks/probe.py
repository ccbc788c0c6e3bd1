"""PROBE: words learned from clips of the concept, with which an erased video model shows it again.

Source      PROBE, arXiv 2603.21547, and its authors' training code
Idea        an erasure may hold in the first frames and fail in later ones: the words are learned
            on whole clips, and the concept is then looked for frame by frame
Equation    v* = argmin_v  ‖y − y_θ(x_t, t, E("a photo of <v>"))‖² + λ ‖x_0 − x̂_0‖²,  y the native
            target of the model (noise, velocity or flow), x̂_0 the clean clip that its prediction
            implies, x_0 from clips of the concept
Access      whoever has the weights, and clips of the concept; the original is not needed for more
Differs     the words begin at the mean of all embeddings instead of at that of a chosen word
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..models.conditioning import per_row
from ..models.interface import Condition, Model
from .interface import Attacked, Target, Victim
from .textual_inversion import TextualInversion


@dataclass(frozen=True)
class Probe(TextualInversion):
    """Hyperparameters.

    steps    of the optimizer
    lr       of AdamW, the first of a cosine that ends at 0; the authors' 0.02 times the clips of a
             step, as their code scales it
    batch    clips per step; the authors' 1, accumulated over 4 steps
    vectors  embeddings that are learned, one behind the other
    lam      λ of the clean clip's term
    """

    steps: int = 3000
    lr: float = 0.08
    batch: int = 4
    vectors: int = 5
    lam: float = 1.0

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Learn the words.

        Args:
            victim: The model that is attacked.
            target: Its clips are learned from.

        Raises:
            InputError: The model makes images, or hides its text encoder's input.
        """
        if not victim.model.frames:
            raise InputError(
                "PROBE attacks text-to-video models, and this one makes images: use cce instead"
            )
        return super().prepare(victim, target)

    def lr_at(self, step: int) -> float:
        """Half a period of a cosine.

        Args:
            step: From 0 to `steps` − 1.
        """
        return self.lr * (1 + math.cos(math.pi * step / self.steps)) / 2

    def loss(
        self, model: Model, latents: Tensor, condition: Condition, generator: torch.Generator
    ) -> Tensor:
        """The error of the native prediction, and λ times that of the clean clip in it.

        Args:
            model: The erased model.
            latents: Clean latents of N clips.
            condition: N rows, through which gradients go.
            generator: Draws noise and timesteps, on the CPU.

        Returns:
            A scalar.
        """
        noise = torch.randn(latents.shape, generator=generator).to(model.device, model.dtype)
        t = torch.randint(model.timesteps, (len(latents),), generator=generator).to(model.device)
        x_0 = latents.to(model.device, model.dtype)
        x_t = model.add_noise(x_0, noise, t)
        y = model.predict(x_t, t, condition)
        error = (y - model.target(x_0, noise, t)).square().float().mean()
        clean = (clean_estimate(model, x_t, y, t) - x_0).square().float().mean()
        return error + self.lam * clean


def clean_estimate(model: Model, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
    """The clean latents x̂_0 that a native prediction implies.

    Noisy latents and target are both sums of clean latents and noise: x_t = a x_0 + b n and
    y = p x_0 + q n. Solved for x_0: (q x_t − b y) / (q a − b p).

    Args:
        model: Knows its noise schedule and what it predicts.
        x_t: Noisy latents of N images or clips.
        prediction: The model's prediction for them.
        t: Timesteps [N].

    Returns:
        x̂_0, of the shape of x_t.
    """
    one = per_row(torch.ones(len(x_t), device=x_t.device, dtype=x_t.dtype), x_t)
    zero = torch.zeros_like(one)
    a, b = model.add_noise(one, zero, t), model.add_noise(zero, one, t)
    p, q = model.target(one, zero, t), model.target(zero, one, t)
    return (q * x_t - b * prediction) / (q * a - b * p)
