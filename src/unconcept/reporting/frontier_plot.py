"""The erasure-preservation frontier as a figure."""

import itertools
from collections.abc import Mapping, Sequence

from ..evaluation.frontier import Point, area

# The axes, as the figure calls them.
REMOVED = "concept removed\n1 − share of its pictures that show it / before"

KEPT = "neighbours and unrelated pictures kept\n1 − their pixel change / that of another seed"


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
