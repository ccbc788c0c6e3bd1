"""The erasure-preservation frontier as a figure."""

import itertools
from collections.abc import Mapping, Sequence

from ..evaluation.frontier import Point, area

REMOVED = "concept removed\n1 − share of its images that show it / before"

KEPT = "neighbours and unrelated images kept\n1 − their pixel change / that of another seed"


def plot(curves: Mapping[str, Sequence[Point]], path: str, title: str = "") -> bool:
    """Write a PNG for a paper: one curve per method, its area in the legend.

    Args:
        curves: Points by the method's name.
        path: The file to write.
        title: Above the axes.

    Returns:
        False, and no file, if matplotlib is not installed.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6.6, 4), dpi=200, layout="constrained")
    axes = figure.subplots()
    twenty = colormaps["tab20"].colors  # type: ignore[attr-defined]
    # Ten strong colours, each with a pale one behind it: the strong ones first.
    colours = itertools.cycle([*twenty[::2], "black", *twenty[1::2]])
    markers = itertools.cycle("osD^vP*X")
    for name, points in curves.items():
        line = sorted([Point(0, 0, 1), *points], key=lambda point: point.strength)
        axes.plot(
            [point.removed for point in line],
            [point.kept for point in line],
            color=next(colours),
            marker=next(markers),
            markersize=5,
            linewidth=1.4,
            label=f"{name}  ({area(points):.2f})",
        )
    axes.plot([0, 1], [1, 0], color="0.7", linewidth=1, linestyle=":", zorder=0)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=REMOVED, ylabel=KEPT)
    axes.set_title(title, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(
        frameon=False,
        loc="outside right center",
        title="method  (area)",
        fontsize=8,
        title_fontsize=8,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.savefig(path)
    return True
