"""Scores: what is measured on images of the same prompts and seeds before and after an edit.

A `Score` is one row of report.json (schema 1). Shares also have their paired difference. What could
not be measured is null and has a reason; it is never 0.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, SupportsIndex, overload

import torch
from torch import Tensor

from .benchmark import GROUPS, Benchmark
from .features import Features
from .metrics.distribution import feature_change
from .metrics.proportions import difference, proportion
from .metrics.similarity import (
    background_change,
    edge_change,
    layout_change,
    per_sample,
    pixel_change,
    ssim,
)

# Shares of the judge's marks, and which direction is better.
BETTER = {
    "concept": "lower",
    "alternative": "higher",
    "right": "higher",
    "other": "higher",
    "style": "higher",
    "background": "higher",
    "all": "higher",
    "motion": "higher",
    "object": "higher",
    "late return": "lower",
}

# Changes of image pairs. The name states the convention; ssim rises with similarity, the others
# fall.
CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pixel change, L1": pixel_change,
    "layout change, 8x8 L1": layout_change,
    "edge change, 1-F1": edge_change,
    "background change, rim L1": background_change,
    "ssim, gaussian 11": ssim,
}

PIXELS = "pixel change, L1"

FEATURES = "feature change, 1-cos "  # the name of the feature space follows

ANOTHER_SEED = "control, another seed: "  # the name of the change follows

SELECTIVITY = "selectivity, pixel change of target / unrelated"

BOOTSTRAP_SAMPLES = 2000

# Shares that are also scored for parts of a group: (mark, groups, field of a case that splits
# them). Splitting by name takes several names.
PARTS = (
    ("concept", ("target", "synonym", "implied"), "name"),
    ("alternative", ("target", "synonym", "implied"), "name"),
    ("concept", ("target",), "way"),
    ("alternative", ("target",), "way"),
    ("right", ("neighbour",), "name"),
)


@dataclass(frozen=True)
class Score:
    """One measured number with its uncertainty.

    name        what is measured: "concept", "pixel change, L1"
    group       the prompt group that it is about; "structure" for controls and ratios
    before      value without the edit; None where there is none, as for changes
    after       value with the edit; None where it could not be measured
    n           number of images, pairs or features behind it
    ci95        95 % interval of `after`; None where it could not be measured
    better      "lower", "higher", or None where neither is
    difference  of shares: {value, ci95} of after - before, of paired images
    reason      why it could not be measured
    part        the part of the group that it is about: a concept, a word, a prompt style; "" for
                all
    """

    name: str
    group: str
    before: float | None
    after: float | None
    n: int
    ci95: list[float] | None
    better: str | None
    difference: dict | None = None
    reason: str | None = None
    part: str = ""

    @property
    def label(self) -> str:
        """Name and part as reports write them: "concept: pig"."""
        return f"{self.name}: {self.part}" if self.part else self.name

    def to_json(self) -> dict[str, Any]:
        """The row of report.json, schema 1: `difference` and `reason` only where there is one."""
        row: dict[str, Any] = {
            "name": self.label,
            "group": self.group,
            "before": self.before,
            "after": self.after,
            "n": self.n,
            "ci95": self.ci95,
            "better": self.better,
        }
        if self.difference is not None:
            row["difference"] = self.difference
        if self.reason is not None:
            row["reason"] = self.reason
        return row


class Scores(list[Score]):
    """Scores in the order of the report; `scores[label, group]` is the measured one, or None."""

    @overload
    def __getitem__(self, index: tuple[str, str]) -> Score | None: ...
    @overload
    def __getitem__(self, index: SupportsIndex) -> Score: ...
    @overload
    def __getitem__(self, index: slice) -> list[Score]: ...
    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, tuple):
            return super().__getitem__(index)
        for score in self:
            if (score.label, score.group) == index and score.after is not None:
                return score
        return None

    def to_json(self) -> list[dict[str, Any]]:
        """The rows of report.json, schema 1."""
        return [score.to_json() for score in self]


def find_score(rows: Sequence[dict], name: str, group: str) -> dict | None:
    """Look a measured score up in the rows of a report.json.

    Args:
        rows: `scores` of the report.
        name: Name of the score, with its part: "concept: pig".
        group: Its group.

    Returns:
        The row; None where there is none or it could not be measured.
    """
    for row in rows:
        if (row["name"], row["group"]) == (name, group) and row["after"] is not None:
            return row
    return None


def compute_scores(
    benchmark: Benchmark, before: Tensor, after: Tensor, features: Features | None = None
) -> Scores:
    """Score every group of a benchmark's cases.

    Args:
        benchmark: Its cases have N images each in `before` and `after`, in their order.
        before: Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1] of the model without the
            edit.
        after: Images of the same prompts and seeds with the edit.
        features: Feature space of an additional change; None leaves that out.

    Returns:
        For each group: shares of the judge's marks, in all and for parts; the judge's values; the
        changes of the image pairs.
    """
    scores = Scores()
    shares = _Shares(benchmark, before, after)
    values_before, values_after = benchmark.values(before), benchmark.values(after)
    for group in GROUPS:
        members = torch.tensor([case.group == group for case in benchmark.cases])
        if not members.any():
            continue
        scores += shares.of_group(group, members)
        for name, values in values_after.items():
            now = median_score(name, group, values[members], "higher")
            earlier = median_score(name, group, values_before[name][members], "higher")
            unmeasured = earlier.after is None
            scores.append(earlier if unmeasured else replace(now, before=earlier.after))
        scores += change_scores(before[members], after[members], group, features=features)
    return scores


class _Shares:
    """Shares of a judge's marks before and after, group by group."""

    def __init__(self, benchmark: Benchmark, before: Tensor, after: Tensor):
        self.cases = benchmark.cases
        self.before = benchmark.marks(before)
        self.after = benchmark.marks(after)
        finite = torch.stack([before, after]).isfinite().flatten(2).all(2).all(0)
        self.broken = ~finite

    def of_group(self, group: str, members: Tensor) -> Iterator[Score]:
        for name in self.before:
            if name == "right" and group in ("target", "synonym"):
                continue  # the right answer is the one that is erased: `concept` measures it
            yield from self.share(name, group, members)
            for part_name, groups, field in PARTS:
                if part_name == name and group in groups:
                    yield from self.parts(name, group, field)

    def parts(self, name: str, group: str, field: str) -> Iterator[Score]:
        """One share per value of a field of the cases."""
        parts = dict.fromkeys(getattr(case, field) for case in self.cases if case.group == group)
        if field == "name":
            parts.pop("", None)
            if name != "right" and len(parts) < 2:
                return  # that part would be the whole
        for part in parts:
            members = [case.group == group and getattr(case, field) == part for case in self.cases]
            yield from self.share(name, group, torch.tensor(members), part)

    def share(self, name: str, group: str, members: Tensor, part: str = "") -> Iterator[Score]:
        """The share of one mark; nothing where it applies to none of the images."""
        broken = int(self.broken[members].sum())
        if broken:
            reason = f"{broken} images contain values that are not finite"
            yield unmeasured_score(name, group, reason, BETTER[name])
            return
        marks_before, marks_after = self.before[name][members], self.after[name][members]
        earlier, now = proportion(marks_before), proportion(marks_after)
        if earlier and now:
            yield Score(
                name=name,
                group=group,
                before=earlier["value"],
                after=now["value"],
                n=now["n"],
                ci95=now["ci95"],
                better=BETTER[name],
                difference=difference(marks_before, marks_after),
                part=part,
            )


def change_scores(
    before: Tensor,
    after: Tensor,
    group: str,
    prefix: str = "",
    better: str | None = "lower",
    features: Features | None = None,
) -> list[Score]:
    """One score for each way to measure how far image pairs are apart.

    Args:
        before: Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1].
        after: Images or clips of the same seeds.
        group: The prompt group that they belong to.
        prefix: Put before every name: "control, another seed: ".
        better: "lower", or None where neither direction is better.
        features: Feature space of an additional change; None leaves that out.

    Returns:
        One score per entry of `CHANGES`, and one in the feature space.
    """
    scores = []
    for name, change in CHANGES.items():
        direction = better and ("higher" if name.startswith("ssim") else better)
        values = per_sample(change, before, after)
        scores.append(median_score(prefix + name, group, values, direction))
    if features is not None:
        name = f"{prefix}{FEATURES}{features.name}"
        values = per_sample(partial(change_in_features, features), before, after)
        scores.append(median_score(name, group, values, better))
    return scores


def change_in_features(features: Features, before: Tensor, after: Tensor) -> Tensor:
    """How far pairs of images are apart in a feature space.

    Args:
        features: The feature space.
        before: Images [N, 3, H, W] in [0, 1].
        after: Images of the same seeds.

    Returns:
        1 - cosine [N].
    """
    return feature_change(features(before), features(after))


def median_score(name: str, group: str, values: Tensor, better: str | None) -> Score:
    """The median over images, with a bootstrap interval.

    Args:
        name: Of the score.
        group: The prompt group that the images belong to.
        values: [N], one per image.
        better: "lower", "higher" or None.

    Returns:
        The score; unmeasured where a value is not finite.
    """
    if not values.isfinite().all():
        broken = int((~values.isfinite()).sum())
        reason = f"{broken} of {len(values)} values are not finite"
        return unmeasured_score(name, group, reason, better)
    medians = values[bootstrap_indices(len(values))].quantile(0.5, dim=1)
    low, high = medians.quantile(torch.tensor([0.025, 0.975])).tolist()
    return Score(
        name=name,
        group=group,
        before=None,
        after=round(values.quantile(0.5).item(), 4),
        n=len(values),
        ci95=[round(low, 4), round(high, 4)],
        better=better,
    )


def bootstrap_indices(n: int, seed: int = 0) -> Tensor:
    """Indices of bootstrap samples, always the same for a seed.

    Args:
        n: Number of values.
        seed: Two sets of values that are not pairs need two seeds.

    Returns:
        [BOOTSTRAP_SAMPLES, n].
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(n, (BOOTSTRAP_SAMPLES, n), generator=generator)


def unmeasured_score(name: str, group: str, reason: str, better: str | None = None) -> Score:
    """The score of what could not be measured.

    Args:
        name: Of the score.
        group: Its prompt group.
        reason: Why it could not be measured.
        better: "lower", "higher" or None.

    Returns:
        A score without a value.
    """
    return Score(name, group, None, None, 0, None, better, reason=reason)


def selectivity(benchmark: Benchmark, before: Tensor, after: Tensor) -> Score:
    """How many times more the concept's images changed than unrelated ones.

    Args:
        benchmark: Its cases belong to the images, in their order.
        before: Images [N, 3, H, W] in [0, 1].
        after: Images of the same prompts and seeds.

    Returns:
        The ratio of the median pixel changes, with a bootstrap interval; 1 means that the edit does
        not distinguish them.
    """
    change = per_sample(pixel_change, before, after)
    target = change[torch.tensor([case.group == "target" for case in benchmark.cases])]
    rest = change[torch.tensor([case.group == "unrelated" for case in benchmark.cases])]
    reason = ""
    if not len(target) or not len(rest):
        reason = "it needs both target and unrelated prompts"
    elif not change.isfinite().all():
        reason = "images contain values that are not finite"
    elif not (rest.quantile(0.5) > 0):
        reason = "unrelated images did not change at all"
    if reason:
        return unmeasured_score(SELECTIVITY, "structure", reason, "higher")
    target_medians = target[bootstrap_indices(len(target), seed=0)].quantile(0.5, dim=1)
    rest_medians = rest[bootstrap_indices(len(rest), seed=1)].quantile(0.5, dim=1)
    ratios = target_medians / rest_medians.clamp(min=1e-6)
    low, high = ratios.quantile(torch.tensor([0.025, 0.975])).tolist()
    return Score(
        name=SELECTIVITY,
        group="structure",
        before=None,
        after=round((target.quantile(0.5) / rest.quantile(0.5)).item(), 2),
        n=len(target) + len(rest),
        ci95=[round(low, 2), round(high, 2)],
        better="higher",
    )
