"""The two-axis view of an erasure: how much of the concept is removed, against how much of everything else is kept, as the edit is dialled.

    removed(s) = 1 - share of the concept's pictures, synonyms' too, that show it at strength s / the same without the edit
    kept(s)    = 1 - median pixel change of neighbours and unrelated pictures / the same between two seeds without any edit

An edit that does nothing sits at (0, 1), one that makes other pictures of everything at (1, 0). The area under the best points is one
number for both: 1 would be a concept removed entirely while no other pixel moved.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .metrics import pixel_change

# The axes, as the figure calls them.
REMOVED = "concept removed\n1 − share of its pictures that show it / before"
KEPT = "neighbours and unrelated pictures kept\n1 − their pixel change / that of another seed"


@dataclass(frozen=True)
class Point:
    strength: float
    removed: float
    kept: float


def point(exam, strength: float, before: Tensor, after: Tensor, other_seed: float) -> Point:
    """One point of the plane. other_seed: the median pixel change between two seeds of the untouched model."""
    asks, rest = (
        torch.tensor([q.group in groups for q in exam.questions]) for groups in (("target", "synonym"), ("neighbour", "unrelated"))
    )
    first, then = (exam.marks(p)["concept"][asks].nanmean().item() for p in (before, after))
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


def plot(curves: Mapping[str, Sequence[Point]], path: str, title: str = "") -> bool:
    """PNG for a paper: one curve for each method, its area in the legend. False, and no file, where matplotlib is not installed."""
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6.6, 4), dpi=200, layout="constrained")
    axes, twenty = figure.subplots(), colormaps["tab20"].colors  # type: ignore[attr-defined]  # ten strong ones, a pale one behind each
    colours = itertools.cycle([*twenty[::2], "black", *twenty[1::2]])
    for colour, marker, (name, points) in zip(colours, itertools.cycle("osD^vP*X"), curves.items()):
        line = sorted([Point(0, 0, 1), *points], key=lambda p: p.strength)
        x, y = [p.removed for p in line], [p.kept for p in line]
        axes.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1.4, label=f"{name}  ({area(points):.2f})")
    axes.plot([0, 1], [1, 0], color="0.7", linewidth=1, linestyle=":", zorder=0)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=REMOVED, ylabel=KEPT, title=title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside right center", title="method  (area)", fontsize=8, title_fontsize=8)
    figure.savefig(path)
    return True
