"""The trade-off of an erasure: how much of the concept is removed, against how much else is kept.

    removed(s) = 1 - share of target and synonym images that show the concept at strength s
                     / the same share without the edit
    kept(s)    = 1 - median pixel change of neighbour and unrelated images
                     / the same change between two seeds without any edit

An edit that does nothing lies at (0, 1); one that changes every image entirely lies at (1, 0). The
area under the best points summarizes both in one number: 1 would be a concept that is removed
entirely while no other pixel moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .benchmark import Benchmark
from .metrics.similarity import per_sample, pixel_change


@dataclass(frozen=True)
class Point:
    """One strength of an edit: removed and kept are in [0, 1]."""

    strength: float
    removed: float
    kept: float


def point(
    benchmark: Benchmark, strength: float, before: Tensor, after: Tensor, other_seed: float
) -> Point:
    """Measure one point.

    Args:
        benchmark: Its cases belong to the images, in their order; it has a judge.
        strength: Of the edit.
        before: Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1] of the model without
            the edit.
        after: Images of the same prompts and seeds with the edit at that strength.
        other_seed: Median pixel change between two seeds of the original model, above 0.

    Returns:
        The point, clipped to [0, 1] and rounded to four digits.
    """
    target = _in_groups(benchmark, ("target", "synonym"))
    rest = _in_groups(benchmark, ("neighbour", "unrelated"))
    shown_before = benchmark.marks(before)["concept"][target].nanmean().item()
    shown_after = benchmark.marks(after)["concept"][target].nanmean().item()
    changed = per_sample(pixel_change, before[rest], after[rest]).quantile(0.5).item()
    removed = _complement(shown_after / shown_before)
    return Point(strength, removed, _complement(changed / other_seed))


def _in_groups(benchmark: Benchmark, groups: Sequence[str]) -> Tensor:
    return torch.tensor([case.group in groups for case in benchmark.cases])


def _complement(share: float) -> float:
    return round(min(1.0, max(0.0, 1 - share)), 4)


def area(points: Sequence[Point]) -> float:
    """Area under the best points.

    Args:
        points: Of one edit at several strengths.

    Returns:
        In [0, 1]: the integral over x of the most that any point keeps which removes x or more.
    """
    total, x = 0.0, 0.0
    ordered = sorted([Point(0, 0, 1), *points], key=lambda p: p.removed)
    for p in ordered:
        most_kept = max(q.kept for q in ordered if q.removed >= p.removed)
        total += (p.removed - x) * most_kept
        x = p.removed
    return total
