"""A reference image: the erased model starts from the noised image of the concept.

Source      RECALL, Image Can Bring Your Memory Back, arXiv 2507.07139, eq. 6 to 8
Idea        the start of a trajectory carries the concept past the prompt
Equation    z ← .25 z_ref + .75 n, then for each t:  z ← z − α sign(m),
            m ← μ m + ∇_z ‖ε_θ(z_ref,t, t, c) − ε_θ(z_t, t, c)‖² / ‖·‖₁,  z ← z + .05 z_ref every
            fifth time; then image-to-image from z
Access      whoever sets the latents, and has an image; the search needs the weights, too
Differs     the authors' code adds the sign of the gradient, which ascends the stated distance; this
            one descends. `timesteps: 0` leaves the search out and starts from the image itself
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from .interface import Access, Attacked, Cases, Plain, Target, Victim
from .sampling import Reworded, Walk, sample, sample_latents, variants, with_prompts, worded

LABEL = "{share:.0%} of the steps left, {words} prompt"


@dataclass(frozen=True)
class ReferenceImage(Plain):
    """Hyperparameters.

    strengths   shares of the sampling steps that are left for the erased model
    words       what it is prompted with: "concept", "empty", "alternative"
    timesteps   of the search for a start; 0: none
    iterations  at each of them
    alpha, mu   step size and momentum
    """

    access: ClassVar[Access] = "images"
    chance_means: ClassVar[str] = "the original starts from the image with an unrelated prompt"

    strengths: tuple[float, ...] = (0.8,)
    words: tuple[str, ...] = ("concept",)
    timesteps: int = 50
    iterations: int = 20
    alpha: float = 1e-3
    mu: float = 0.9

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """One row for each strength and wording.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.

        Raises:
            InputError: There are no images of the concept, because the original is missing.
        """
        rows = {}
        for label, strength, words in variants(self.strengths, self.words, target, LABEL):
            rows[label] = self.started(victim, target, strength, partial(worded, words=words))
        return rows

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """What the start alone shows, without a search.

        Args:
            victim: Its original continues.
            target: Its other prompts are typed.
        """
        assert victim.original is not None
        original = Victim(victim.original, None, victim.original)
        other = partial(with_prompts, prompts=target.others.prompts)
        without_search = ReferenceImage(self.strengths, self.words, timesteps=0)
        rows = {}
        for label, strength, _ in variants(self.strengths, self.words, target, LABEL):
            rows[label] = without_search.started(original, target, strength, other)
        return rows

    def started(
        self, victim: Victim, target: Target, strength: float, reworded: Reworded
    ) -> Attacked:
        """The victim continues from the noised image.

        Args:
            victim: Continues.
            target: Says how images are sampled.
            strength: Share of the steps that are left.
            reworded: Cases -> cases with the prompts of the victim.
        """
        if victim.original is None:
            raise InputError("a reference image is needed: the original makes it")
        painter = Victim(victim.original)
        sampling = target.sampling
        skip = min(sampling.steps - 1, round((1 - strength) * sampling.steps))

        def sample_cases(cases: Cases) -> Tensor:
            z = sample_latents(painter, cases, Walk(sampling))
            typed = reworded(cases)
            generator = torch.Generator().manual_seed(target.seed)
            noise = torch.randn(z.shape, generator=generator)
            if self.timesteps:
                z = self.search(victim, typed, z, generator)
            first = victim.model.trajectory(typed.prompts[:1], (0,), sampling, skip=skip)
            t = next(iter(first))[1].cpu().expand(len(z))
            start = victim.model.add_noise(z, noise, t)
            return sample(victim, typed, Walk(sampling, latents=start, skip=skip))

        return Attacked(sample_cases)

    def search(
        self, victim: Victim, cases: Cases, z_ref: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Find starts that the erased model predicts as it predicts the reference.

        Args:
            victim: The model that is attacked.
            cases: N cases.
            z_ref: Clean latents of the reference images [N, C, H, W].
            generator: Draws the noise.

        Returns:
            z [N, C, H, W] on the CPU.
        """
        model = victim.model
        starts = []
        batch = max(1, model.max_batch // 2)
        with victim.on():
            for i in range(0, len(z_ref), batch):
                reference = z_ref[i : i + batch].to(model.device)
                noise = torch.randn(reference.shape, generator=generator).to(model.device)
                condition = model.encode(cases.prompts[i : i + batch])
                z = 0.25 * reference + 0.75 * noise
                momentum = torch.zeros_like(z)
                for k in range(self.timesteps):
                    step = model.timesteps - 1 - k * model.timesteps // self.timesteps
                    t = torch.full((len(z),), step, device=model.device)
                    with torch.no_grad():
                        aim = model.predict(model.add_noise(reference, noise, t), t, condition)
                    for j in range(1, self.iterations + 1):
                        z.requires_grad_()
                        with torch.enable_grad():
                            student = model.predict(model.add_noise(z, noise, t), t, condition)
                            loss = (student - aim).square().mean()
                            (gradient,) = torch.autograd.grad(loss, [z])
                        z, momentum = descend(z.detach(), momentum, gradient, self.alpha, self.mu)
                        if j % 5 == 0:
                            z = z + 0.05 * reference
                starts.append(z.cpu())
        return torch.cat(starts)


def descend(
    z: Tensor, momentum: Tensor, gradient: Tensor, alpha: float, mu: float
) -> tuple[Tensor, Tensor]:
    """One step of sign descent with momentum.

    Args:
        z: [N, ...].
        momentum: [N, ...].
        gradient: [N, ...], divided by its 1-norm.
        alpha: Step size.
        mu: Share of the momentum that stays.

    Returns:
        (z, momentum)
    """
    momentum = mu * momentum + gradient / gradient.abs().sum().clamp(min=1e-12)
    return z - alpha * momentum.sign(), momentum
