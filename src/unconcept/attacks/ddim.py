"""DDIM with injected noise and with a classifier's gradient, for Stable Diffusion's schedules.

Song et al. 2021, arXiv 2010.02502, eq. 12 and 16;  Dhariwal & Nichol 2021, arXiv 2105.05233, eq. 14
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..models.families.stable_diffusion import StableDiffusion
from ..models.interface import Sampling
from .interface import Cases, Victim
from .sampling import decode

# (x_t [N, C, H, W], t [N]) -> ∇_x log p(concept | x_t, t) [N, C, H, W]
Gradient = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class NoisyWalk:
    """How a walk differs from deterministic DDIM.

    eta       1: as noisy as DDPM; 0: deterministic; above 1 noisier than any distribution
    scale     factor of the injected noise
    gradient  of a classifier; None: without
    strength  of the gradient
    seed      of the injected noise
    """

    eta: float = 0.0
    scale: float = 1.0
    gradient: Gradient | None = None
    strength: float = 0.0
    seed: int = 0


def noisy_images(victim: Victim, cases: Cases, sampling: Sampling, walk: NoisyWalk) -> Tensor:
    """Images of cases by a noisy walk, each from its own initial noise.

    x_s = √ᾱ_s x̂_0 + √|1 − ᾱ_s − σ²| ε̂ + scale σ n,   σ = η √((1 − ᾱ_s)/(1 − ᾱ_t)) √(1 − ᾱ_t/ᾱ_s)
    ε̂ = ε_cfg − strength √(1 − ᾱ_t) ∇ log p

    Args:
        victim: The model; its edit is on meanwhile.
        cases: N prompts and seeds.
        sampling: Steps and guidance.
        walk: The rest.

    Returns:
        Images [N, 3, H, W] in [0, 1].

    Raises:
        InputError: The model is not Stable Diffusion's U-Net.
    """
    model = victim.model
    if not isinstance(model, StableDiffusion):
        raise InputError("noise is injected by DDIM, which this family does not sample with")
    resolved = sampling.resolve(model)
    scheduler = model.make_scheduler("ddim", resolved.steps)
    generator = torch.Generator().manual_seed(walk.seed)
    steps = [*scheduler.timesteps.tolist(), -1]
    finished, batch = [], max(1, model.max_batch // 2)
    with victim.on(), torch.no_grad():
        for i in range(0, len(cases), batch):
            prompts = cases.prompts[i : i + batch]
            x = model.initial_noise(cases.seeds[i : i + batch]).to(model.device, model.dtype)
            condition = model.encode(prompts)
            null = model.encode([""] * len(prompts))
            for step, following in zip(steps, steps[1:]):
                t = torch.full((len(x),), step, device=model.device)
                prediction = model.guided(x, t, null, condition, resolved.guidance or 1.0)
                ᾱ, ᾱ_next = alpha(model, step), alpha(model, following)
                ε, _ = split(model.prediction, x, prediction, ᾱ)
                if walk.gradient is not None:
                    ε = ε - walk.strength * (1 - ᾱ) ** 0.5 * walk.gradient(x, t).to(x)
                noise = torch.randn(x.shape, generator=generator).to(x)
                x = ddim_step(x, ε, noise, (ᾱ, ᾱ_next), walk)
            finished.append(x.float().cpu())
    return (decode(model, torch.cat(finished)) * 255).round() / 255


def alpha(model: StableDiffusion, t: int) -> float:
    """ᾱ_t; at the end that of the schedule's last step.

    Args:
        model: Has the noise schedule.
        t: Timestep; -1: the finished image.
    """
    if t < 0:
        return float(model.scheduler.final_alpha_cumprod)
    return float(model.alphas[t])


def split(prediction: str, x: Tensor, output: Tensor, ᾱ: float) -> tuple[Tensor, Tensor]:
    """(ε, x̂_0) of a native prediction.

    Args:
        prediction: "epsilon" or "v_prediction".
        x: x_t [N, C, H, W].
        output: The network's output.
        ᾱ: Of the timestep.
    """
    if prediction == "epsilon":
        return output, (x - (1 - ᾱ) ** 0.5 * output) / ᾱ**0.5
    return ᾱ**0.5 * output + (1 - ᾱ) ** 0.5 * x, ᾱ**0.5 * x - (1 - ᾱ) ** 0.5 * output


def ddim_step(
    x: Tensor, ε: Tensor, noise: Tensor, alphas: tuple[float, float], walk: NoisyWalk
) -> Tensor:
    """x_s from x_t.

    Args:
        x: x_t [N, C, H, W].
        ε: The predicted noise.
        noise: n, to be injected.
        alphas: (ᾱ_t, ᾱ_s).
        walk: η and the scale.
    """
    ᾱ, ᾱ_next = alphas
    x_0 = (x - (1 - ᾱ) ** 0.5 * ε) / ᾱ**0.5
    σ = walk.eta * ((1 - ᾱ_next) / (1 - ᾱ) * (1 - ᾱ / ᾱ_next)) ** 0.5
    direction = abs(1 - ᾱ_next - σ**2) ** 0.5
    return ᾱ_next**0.5 * x_0 + direction * ε + walk.scale * σ * noise
