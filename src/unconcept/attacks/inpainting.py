"""Inpainting: the middle of an image of the concept is drawn again by the erased model.

Source      When Are Concepts Erased From Diffusion Models?, arXiv 2505.17013, §4
Idea        the rim shows what belongs in the middle
Equation    after every step, outside the middle: x_t ← √ᾱ_t z_0 + √(1−ᾱ_t) n with the image's z_0
Access      whoever sets the latents, and has an image
Differs     the paper uses the inpainting pipeline and scores the middle alone; here known latents
            are put back, and the whole image is judged. The rim alone may show the concept: see the
            control
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import InputError
from ..models.interface import LatentChange, Model
from .interface import Access, Attacked, Cases, Plain, Target, Victim
from .sampling import Reworded, Walk, possible_words, sample, sample_latents, with_prompts, worded


@dataclass(frozen=True)
class Inpainting(Plain):
    """Hyperparameters.

    side   of the square that is drawn again, as a share of the image's; the paper's 256 of 512
    words  what the erased model is prompted with: "concept", "empty", "alternative"
    """

    access: ClassVar[Access] = "images"
    chance_means: ClassVar[str] = "the original draws the middle for an unrelated prompt"

    side: float = 0.5
    words: tuple[str, ...] = ("concept",)

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """One row for each wording.

        Args:
            victim: Draws the middle.
            target: Says how images are sampled.

        Raises:
            InputError: There are no images of the concept, because the original is missing.
        """
        rows = {}
        for words in possible_words(self.words, target):
            reworded = partial(worded, words=words)
            rows[f"{words} prompt"] = self.inpainted(victim, target, reworded)
        return rows

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """What the rim alone shows.

        Args:
            victim: Its original draws the middle.
            target: Its other prompts are typed.
        """
        assert victim.original is not None
        original = Victim(victim.original, None, victim.original)
        other = partial(with_prompts, prompts=target.others.prompts)
        control = self.inpainted(original, target, other)
        return dict.fromkeys(self.prepare(victim, target), control)

    def inpainted(self, victim: Victim, target: Target, reworded: Reworded) -> Attacked:
        """The victim draws the middle of the original's images.

        Args:
            victim: Draws.
            target: Says how images are sampled.
            reworded: Cases -> cases with the prompts of the victim.
        """
        if victim.original is None:
            raise InputError("inpainting needs images of the concept: the original makes them")
        painter = Victim(victim.original)

        def sample_cases(cases: Cases) -> Tensor:
            known = sample_latents(painter, cases, Walk(target.sampling))
            generator = torch.Generator().manual_seed(target.seed)
            noise = torch.randn(known.shape, generator=generator)
            change = partial(put_back, victim.model, known, noise, middle(known, self.side))
            return sample(victim, reworded(cases), Walk(target.sampling, change=change))

        return Attacked(sample_cases)


def middle(latents: Tensor, side: float) -> Tensor:
    """The square in the middle.

    Args:
        latents: [N, C, H, W].
        side: Of the square, as a share of the image's.

    Returns:
        Booleans [H, W].
    """
    h, w = latents.shape[-2:]
    rim_h, rim_w = round(h * (1 - side) / 2), round(w * (1 - side) / 2)
    inside = torch.zeros(h, w, dtype=torch.bool)
    inside[rim_h : h - rim_h, rim_w : w - rim_w] = True
    return inside


def put_back(
    model: Model, known: Tensor, noise: Tensor, inside: Tensor, rows: slice
) -> LatentChange:
    """What is done after every step: outside the square, the image's own noised latents.

    Args:
        model: Mixes the noise.
        known: Clean latents of all images [N, C, H, W].
        noise: [N, C, H, W].
        inside: Booleans [H, W]: what is drawn again.
        rows: Which of the images are sampled.
    """

    def change(x: Tensor, t: Tensor) -> Tensor:
        clean = known[rows].to(x)
        outside = clean
        if t[0] >= 0:
            outside = model.add_noise(clean, noise[rows].to(x), t)
        return torch.where(inside.to(x.device), x, outside)

    return change
