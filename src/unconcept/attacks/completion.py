"""Diffusion completion: the original model begins an image, the erased model finishes it.

Source      When Are Concepts Erased From Diffusion Models?, arXiv 2505.17013, §4
Idea        an edit that only turns the prompt's guidance away finishes what has begun
Equation    x_k from the original with prompt c;  x_T-k … x_0 from the erased model with prompt w
Access      whoever sets the latents, and has the original
Differs     the paper finishes with the concept's prompt alone; here also with the empty prompt and
            with the alternative's name, where guidance does not lead away from the concept
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from ..errors import InputError
from .interface import Access, Attacked, Cases, Plain, Target, Victim
from .sampling import Reworded, Walk, sample, sample_latents, variants, with_prompts, worded

LABEL = "after {share:.0%} of the steps, {words} prompt"


@dataclass(frozen=True)
class Completion(Plain):
    """Hyperparameters.

    shares  of the sampling steps that the original takes; the paper's 5 and 10 of 50
    words   what the erased model is prompted with: "concept", "empty", "alternative"
    """

    access: ClassVar[Access] = "weights and original"
    clips: ClassVar[bool] = True
    chance_means: ClassVar[str] = "the original finishes with an unrelated prompt"

    shares: tuple[float, ...] = (0.1, 0.2)
    words: tuple[str, ...] = ("concept",)

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """One row for each share and wording.

        Args:
            victim: The model that finishes.
            target: Says how images are sampled.

        Raises:
            InputError: The attacker lacks the original.
        """
        rows = {}
        for label, share, words in variants(self.shares, self.words, target, LABEL):
            rows[label] = self.finished(victim, target, share, partial(worded, words=words))
        return rows

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """What the beginning alone decides.

        Args:
            victim: Its original finishes.
            target: Its other prompts are typed.
        """
        assert victim.original is not None
        original = Victim(victim.original, None, victim.original)
        other = partial(with_prompts, prompts=target.others.prompts)
        rows = {}
        for label, share, _ in variants(self.shares, self.words, target, LABEL):
            rows[label] = self.finished(original, target, share, other)
        return rows

    def finished(
        self, victim: Victim, target: Target, share: float, reworded: Reworded
    ) -> Attacked:
        """The victim finishes what the original began.

        Args:
            victim: Finishes.
            target: Says how images are sampled.
            share: Of the steps that the original takes.
            reworded: Cases -> cases with the prompts of the victim.
        """
        if victim.original is None:
            raise InputError("completion needs the original model")
        beginner = Victim(victim.original)
        k = max(1, round(share * target.sampling.steps))

        def sample_cases(cases: Cases) -> Tensor:
            begun = sample_latents(beginner, cases, Walk(target.sampling), stop=k)
            return sample(victim, reworded(cases), Walk(target.sampling, latents=begun, skip=k))

        return Attacked(sample_cases)
