"""The shares of report.json as a figure for a paper: before and after, with Wilson intervals."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ..evaluation.metrics.proportions import wilson
from .verdict import GROUP_TITLES

ARROWS = {
    "concept": "↓",
    "alternative": "↑",
    "right": "↑",
    "other": "↑",
    "style": "↑",
    "background": "↑",
    "motion": "↑",
    "object": "↑",
    "late return": "↓",
}

LEAST_IMAGES = 8  # of fewer the interval is nearly the whole axis

# Inches.
WIDTH, LEFT, RIGHT, LINE, FOOT = 5.5, 1.35, 0.5, 0.2, 0.5

FONT = 8.5  # points

BEFORE: dict[str, Any] = {
    "marker": "o",
    "markersize": 4,
    "linewidth": 1.3,
    "color": "0.45",
    "markerfacecolor": "white",
    "zorder": 3,
}

AFTER: dict[str, Any] = {**BEFORE, "color": "#1f4fb0", "markerfacecolor": "#1f4fb0"}


def draw(scores: Sequence[dict], path: str, title: str = "", samples: str = "images") -> bool:
    """Write a PNG for a paper.

    Args:
        scores: Rows of report.json; shares of fewer than eight images are left out.
        path: The file to write.
        title: Above the axes.
        samples: What the shares are of: "images" or "clips".

    Returns:
        False, and no file, if there are no shares, or matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    lines = figure_lines(scores)
    if not lines:
        return False
    title = textwrap.fill(title, 46)  # beside the legend
    head = 0.4 + 0.17 * title.count("\n")
    height = head + LINE * len(lines) + FOOT
    figure = Figure(figsize=(WIDTH, height), dpi=300)
    plot_width = (WIDTH - LEFT - RIGHT) / WIDTH
    axes = figure.add_axes((LEFT / WIDTH, FOOT / height, plot_width, LINE * len(lines) / height))
    axes.set(xlim=(0, 100), ylim=(len(lines) - 0.5, -0.5), yticks=[], xticks=range(0, 101, 25))
    axes.set_xlabel(f"share of {samples}, % (bars: 95 % Wilson intervals)", fontsize=FONT)
    axes.tick_params(labelsize=FONT)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    beside: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "va": "center_baseline",
        "fontsize": FONT,
    }
    for y, row in enumerate(lines):
        if isinstance(row, str):
            axes.text(-0.345, y, row, weight="bold", **beside)
            continue
        axes.text(-0.03, y, f"{row['name']} {ARROWS[row['name']]}", ha="right", **beside)
        axes.text(1.1, y, row["n"], ha="right", color="0.45", **beside)
        before_interval = wilson(row["before"] * row["n"], row["n"])
        draw_share(axes, y - 0.16, row["before"], before_interval, BEFORE)
        draw_share(axes, y + 0.16, row["after"], row["ci95"], AFTER)
    axes.text(1.1, 0, "n", ha="right", color="0.45", **beside)
    keys = [
        axes.plot([], [], label="before", **BEFORE)[0],
        axes.plot([], [], label="after", **AFTER)[0],
    ]
    figure.legend(
        handles=keys, loc="upper right", ncols=2, frameon=False, fontsize=FONT, borderaxespad=0.3
    )
    figure.text(0.016, 1 - 0.08 / height, title, va="top", fontsize=9.5, parse_math=False)
    figure.savefig(path)
    return True


def figure_lines(scores: Sequence[dict]) -> list[str | dict]:
    """The lines of the figure: a title for each group, and its shares.

    Args:
        scores: Of report.json, in its order: those of one group follow each other. Shares that were
            not measured, or on less than LEAST_IMAGES images, are left out.

    Returns:
        From top to bottom, titles as text and scores as they are in report.json.
    """
    shares = []
    for row in scores:
        if row["name"] in ARROWS and row["after"] is not None and row["n"] >= LEAST_IMAGES:
            shares.append(row)
    lines: list[str | dict] = []
    for group, rows in groupby(shares, key=lambda row: row["group"]):
        lines += [GROUP_TITLES[group], *rows]
    return lines


def draw_share(
    axes: Any, y: float, share: float, interval: Sequence[float], look: Mapping[str, Any]
) -> None:
    """A dot and its interval.

    Args:
        axes: Where to draw.
        y: The line.
        share: In [0, 1].
        interval: (low, high) in [0, 1].
        look: Colour and marker.
    """
    ends = [100 * end for end in interval]
    axes.plot(ends, [y, y], **{**look, "marker": "", "zorder": 2}, solid_capstyle="butt")
    axes.plot(100 * share, y, **look, clip_on=False)
