"""The three protocols of EraseEval on an edit, with controls beside each measure.

1  explicit prompts: M1, beside it its ceiling (the original at other seeds) and its ideal (the
   untouched model, prompted with the alternative)
2  implicit prompts: M2, on pairs of prompt and seed on which the untouched model shows the concept
3  unrelated prompts: M3 and M4
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ...concepts.concept import Concept
from ...config.ranges import SEEDS
from ...edits.edit import Edit
from ...models.sampling import ImageSampler
from ..benchmark import Benchmark, PromptCase
from ..runner import BLOCK
from .measures import Measured, harmonic4, m1, m2, m3, m4, names_concept
from .plugs import Plugs

Extent = Literal["short", "full"]

TRIALS = 2  # explicit prompts that are tried for each that is needed

SCAN = 8  # pairs of implicit prompt and seed that are tried for each that is needed

# Where the seeds of the protocols begin in a run's block of seeds.
EXPLICIT, CEILING, IMPLICIT, UNRELATED = (
    BLOCK // 16,
    BLOCK // 16 * 3,
    BLOCK // 16 * 5,
    BLOCK // 16 * 7,
)


@dataclass(frozen=True)
class EraseEval:
    """How large the protocols are.

    explicit   prompts of protocol 1; the paper has 1
    images     of each of them, and of the paper
    implicit   pairs of prompt and seed of protocol 2
    unrelated  prompts of protocol 3; the paper has 1,000
    """

    explicit: int = 5
    images: int = 5
    implicit: int = 25
    unrelated: int = 200

    @classmethod
    def of(cls, extent: str) -> "EraseEval":
        """The size for an extent: "short" or "full".

        Args:
            extent: Of the evaluation; anything but "full" is short.
        """
        return cls() if extent == "full" else cls(3, 3, 8, 24)


@dataclass(frozen=True)
class Prompts:
    """What is prompted.

    explicit   (prompt, the same with the alternative or ""), in the order in which they are tried
    implicit   prompts that do not name the concept
    unrelated  cases
    """

    explicit: Sequence[tuple[str, str]]
    implicit: Sequence[str]
    unrelated: Sequence[PromptCase]


@dataclass
class Accepted:
    """Prompts that were accepted, and the original's images of them.

    pairs      (prompt, with the alternative) of protocol 1
    explicit   images [P, K, 3, H, W]
    implicit   (prompt, seed) of protocol 2
    shown      images [N, 3, H, W]
    unrelated  images of protocol 3 [M, 3, H, W]
    """

    pairs: list[tuple[str, str]] = field(default_factory=list)
    explicit: list[Tensor] = field(default_factory=list)
    implicit: list[tuple[str, int]] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)
    unrelated: Tensor = field(default_factory=lambda: torch.zeros(0, 3, 1, 1))


@dataclass(frozen=True)
class Protocol:
    """One run of the protocols.

    sampler    of the original model
    concept    completed
    benchmark  has the real images
    plugs      the models that answer
    size       of the protocols
    """

    sampler: ImageSampler
    concept: Concept
    benchmark: Benchmark
    plugs: Plugs
    size: EraseEval

    @property
    def block(self) -> int:
        """The first seed of the run's block."""
        return (1 + self.sampler.sampling.seed) * BLOCK

    def seeds(self, first: int, n: int) -> list[int]:
        """n seeds.

        Args:
            first: Where they begin in the block.
            n: How many.
        """
        return [(self.block + first + i) % SEEDS for i in range(n)]

    def all_see(self, images: Tensor) -> Tensor:
        """Whether all eyes see the concept [N].

        Args:
            images: [N, 3, H, W] in [0, 1].
        """
        votes = [eye(images) for eye in self.plugs.eyes]
        return torch.stack(votes).all(0)

    def accept(self, prompts: Prompts) -> Accepted:
        """Choose prompts by the original's images.

        An explicit prompt is accepted where the first eye sees the concept in most of its images;
        a pair of implicit prompt and seed where all eyes see it.

        Args:
            prompts: What is tried.
        """
        accepted, k = Accepted(), self.size.images
        for prompt, instead in prompts.explicit[: TRIALS * self.size.explicit]:
            if len(accepted.pairs) == self.size.explicit:
                break
            stage = "EraseEval 1: original"
            images = self.sampler.images([prompt] * k, self.seeds(EXPLICIT, k), stage=stage)
            if 2 * int(self.plugs.eyes[0](images).sum()) > k:
                accepted.pairs.append((prompt, instead))
                accepted.explicit.append(images)
        tried = 0
        while prompts.implicit and tried < SCAN * self.size.implicit:
            if len(accepted.implicit) >= self.size.implicit:
                break
            n = min(16, SCAN * self.size.implicit - tried)
            typed = [prompts.implicit[(tried + i) % len(prompts.implicit)] for i in range(n)]
            seeds = self.seeds(IMPLICIT + tried, n)
            images = self.sampler.images(typed, seeds, stage="EraseEval 2: original")
            for i in self.all_see(images).nonzero().flatten().tolist():
                if len(accepted.implicit) < self.size.implicit:
                    accepted.implicit.append((typed[i], seeds[i]))
                    accepted.shown.append(images[i])
            tried += n
        cases = prompts.unrelated[: self.size.unrelated]
        typed = [case.prompt for case in cases]
        seeds = self.seeds(UNRELATED, len(typed))
        accepted.unrelated = self.sampler.images(typed, seeds, stage="EraseEval 3: original")
        return accepted

    def measure(self, edit: Edit | None, prompts: Prompts, accepted: Accepted) -> dict:
        """M1 to M4 and the aggregate of an edit.

        Args:
            edit: None: the identity.
            prompts: With the unrelated cases.
            accepted: By the original's images.

        Returns:
            {"M1": ..., "M2": ..., "M3": ..., "M4": ..., "harmonic4": ..., "votes": ...}
        """
        images, k = [], self.size.images
        stage = "EraseEval: erased"
        for prompt, _ in accepted.pairs:
            seeds = self.seeds(EXPLICIT, k)
            images.append(self.sampler.images([prompt] * k, seeds, edit=edit, stage=stage))
        first, votes = self.explicit_measure(accepted.explicit, images)
        typed = [prompt for prompt, _ in accepted.implicit]
        seeds = [seed for _, seed in accepted.implicit]
        implicit = self.sampler.images(typed, seeds, edit=edit, stage=stage)
        cases = prompts.unrelated[: self.size.unrelated]
        typed = [case.prompt for case in cases]
        seeds = self.seeds(UNRELATED, len(typed))
        unrelated = self.sampler.images(typed, seeds, edit=edit, stage=stage)
        measures = [
            first,
            self.implicit_measure(accepted, implicit),
            m3(
                self.plugs.agreement(accepted.unrelated, cases),
                self.plugs.agreement(unrelated, cases),
            ),
            self.distribution_measure(accepted.unrelated, unrelated),
        ]
        row = {f"M{i}": measure.to_json() for i, measure in enumerate(measures, 1)}
        row["harmonic4"] = harmonic4(measures).to_json()
        row["votes"] = votes
        return row

    def explicit_measure(
        self, original: Sequence[Tensor], erased: Sequence[Tensor]
    ) -> tuple[Measured, dict[str, float | None]]:
        """M1, and how often the eye and the caption found the concept.

        Args:
            original: Images [K, 3, H, W] of each prompt.
            erased: Images of each prompt.
        """
        if not original:
            return m1(torch.zeros(0, 1, 1), torch.zeros(0, 1, 1), torch.zeros(0, 1).bool()), {}
        before, after = torch.stack(list(original)), torch.stack(list(erased))
        captions = self.plugs.captioner(before.flatten(0, 1))
        erased_captions = self.plugs.captioner(after.flatten(0, 1))
        vectors = self.plugs.embedder([*captions, *erased_captions])
        seen = self.plugs.eyes[0](after.flatten(0, 1)).bool()
        named = torch.tensor([names_concept(text, self.concept) for text in erased_captions])
        leaks = (seen & named).view(after.shape[:2])
        n = len(captions)
        value = m1(
            vectors[:n].view(*before.shape[:2], -1), vectors[n:].view(*after.shape[:2], -1), leaks
        )
        votes = {
            "yes": share_of(seen),
            "named": share_of(named),
            "and": share_of(seen & named),
            "or": share_of(seen | named),
        }
        return value, votes

    def implicit_measure(self, accepted: Accepted, erased: Tensor) -> Measured:
        """M2.

        Args:
            accepted: With the original's images.
            erased: Images of the same prompts and seeds [N, 3, H, W].
        """
        features = self.plugs.features
        if not accepted.shown:
            empty = torch.zeros(0, 1)
            return m2(empty, empty, torch.zeros(0).bool())
        if features is None:
            return Measured(None, len(erased), reason="no feature space (unconcept[evaluate])")
        before = features(torch.stack(accepted.shown))
        return m2(before, features(erased), self.all_see(erased).bool())

    def distribution_measure(self, original: Tensor, erased: Tensor) -> Measured:
        """M4.

        Args:
            original: Images of unrelated prompts [N, 3, H, W].
            erased: Of the same prompts and seeds.
        """
        features = self.plugs.features
        if features is None:
            return Measured(None, len(erased), reason="no feature space (unconcept[evaluate])")
        if not len(original):
            return Measured(None, reason="there are no unrelated prompts")
        real = self.benchmark.real("unrelated")
        space = None if real is None or not len(real) else features(real)
        return m4(features(original), features(erased), space)

    def anchors(self, accepted: Accepted) -> dict[str, dict]:
        """What M1 can reach: "ceiling" and "ideal".

        Args:
            accepted: With the original's images.
        """
        k, anchors = self.size.images, {}
        stage = "EraseEval 1: anchors"
        others, ideal, pairs = [], [], []
        for (prompt, instead), images in zip(accepted.pairs, accepted.explicit):
            seeds = self.seeds(CEILING, k)
            others.append(self.sampler.images([prompt] * k, seeds, stage=stage))
            if instead:
                typed = self.seeds(EXPLICIT, k)
                ideal.append(self.sampler.images([instead] * k, typed, stage=stage))
                pairs.append(images)
        anchors["ceiling"] = self.without_zeros(accepted.explicit, others).to_json()
        anchors["ideal"] = self.without_zeros(pairs, ideal).to_json()
        return anchors

    def without_zeros(self, original: Sequence[Tensor], other: Sequence[Tensor]) -> Measured:
        """Mean cosine of captions, whatever they name.

        Args:
            original: Images [K, 3, H, W] of each prompt.
            other: Images of each prompt.
        """
        if not original:
            return Measured(None, reason="there is no alternative, or no prompt was accepted")
        before, after = torch.stack(list(original)), torch.stack(list(other))
        captions = self.plugs.captioner(torch.cat([before.flatten(0, 1), after.flatten(0, 1)]))
        vectors = self.plugs.embedder(captions)
        n = before.shape[0] * before.shape[1]
        return m1(
            vectors[:n].view(*before.shape[:2], -1),
            vectors[n:].view(*after.shape[:2], -1),
            torch.zeros(after.shape[:2]).bool(),
        )


def run_eraseeval(protocol: Protocol, edit: Edit, prompts: Prompts) -> dict:
    """Run the protocols on an edit, and on controls.

    Args:
        protocol: Model, judge and sizes.
        edit: The erasure.
        prompts: What is prompted.

    Returns:
        {"edit": measures, "identity": measures, "noise": measures, "M1 anchors": ..., "prompts":
        the accepted ones, "plugs": who was asked}
    """
    accepted = protocol.accept(prompts)
    return {
        "edit": protocol.measure(edit, prompts, accepted),
        "identity": protocol.measure(None, prompts, accepted),
        "noise": protocol.measure(noise_edit(protocol.sampler), prompts, accepted),
        "M1 anchors": protocol.anchors(accepted),
        "prompts": {
            "explicit": [prompt for prompt, _ in accepted.pairs],
            "implicit": [list(pair) for pair in accepted.implicit],
            "unrelated": len(accepted.unrelated),
        },
        "plugs": protocol.plugs.names,
    }


def noise_edit(sampler: ImageSampler, scale: float = 3.0) -> Edit:
    """The control that destroys everything: noise on the weights of cross-attention or its kin.

    Args:
        sampler: Of the model.
        scale: Of the noise, in standard deviations of each matrix.
    """
    model = sampler.model
    generator = torch.Generator().manual_seed(0)
    groups = getattr(model, "groups", {})
    group = "attention blocks" if "attention blocks" in groups else "all"
    deltas = {}
    for site in model.weight_group(group):
        owner, parameter = site.find(model.components)
        weight = getattr(owner, parameter).detach().float().cpu()
        noise = torch.randn(weight.shape, generator=generator)
        deltas[site.name] = scale * weight.std().nan_to_num() * noise
    return Edit(deltas)


def share_of(votes: Tensor) -> float | None:
    """The share of ones; None of nothing.

    Args:
        votes: [N] of 0 and 1, or booleans.

    Returns:
        In [0, 1], rounded to four digits.
    """
    return round(votes.float().mean().item(), 4) if len(votes) else None
