"""The two-axis view of an erasure: how much of the concept is removed, against how much of everything else is kept, as the edit is dialled.

    removed(s) = 1 - share of the concept's pictures, synonyms' too, that show it at strength s / the same without the edit
    kept(s)    = 1 - median pixel change of neighbours and unrelated pictures / the same between two seeds without any edit

An edit that does nothing sits at (0, 1), one that makes other pictures of everything at (1, 0). The area under the best points is one
number for both: 1 would be a concept removed entirely while no other pixel moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .metrics.similarity import pixel_change


@dataclass(frozen=True)
class Point:
    strength: float
    removed: float
    kept: float


def point(benchmark, strength: float, before: Tensor, after: Tensor, other_seed: float) -> Point:
    """One point of the plane. other_seed: the median pixel change between two seeds of the untouched model."""
    asks, rest = (
        torch.tensor([q.group in groups for q in benchmark.cases]) for groups in (("target", "synonym"), ("neighbour", "unrelated"))
    )
    first, then = (benchmark.marks(p)["concept"][asks].nanmean().item() for p in (before, after))
    moved = pixel_change(before[rest], after[rest]).quantile(0.5).item()
    removed, kept = (round(min(1.0, max(0.0, 1 - share)), 4) for share in (then / first, moved / other_seed))
    return Point(strength, removed, kept)


def area(points: Sequence[Point]) -> float:
    """Area in [0, 1] under the best points: for every x, the most that is kept by any point that removes x or more; 0 beyond the last."""
    total, x, best = 0.0, 0.0, sorted([Point(0, 0, 1), *points], key=lambda p: p.removed)
    for p in best:
        kept = max(q.kept for q in best if q.removed >= p.removed)
        total, x = total + (p.removed - x) * kept, p.removed
    return total
