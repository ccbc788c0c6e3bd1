"""The shares of report.json as a figure for a paper: before and after in every group, with Wilson intervals."""

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from ..evaluation.metrics.proportions import wilson
from .image_grid import GROUP_TITLES

MEASURES = {"concept": "↓", "alternative": "↑", "right": "↑", "other": "↑", "style": "↑", "background": "↑"}

WIDTH, LEFT, RIGHT, LINE, FOOT = 5.5, 1.35, 0.5, 0.2, 0.5  # inches

BEFORE: dict[str, Any] = dict(marker="o", markersize=4, linewidth=1.3, color="0.45", markerfacecolor="white", zorder=3)

AFTER: dict[str, Any] = {**BEFORE, "color": "#1f4fb0", "markerfacecolor": "#1f4fb0"}


def draw(scores: Sequence[dict], path: str, title: str = "") -> bool:
    """PNG for a paper. False, and no file, where there are no shares or matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    shares = [row for row in scores if row["name"] in MEASURES and row["after"] is not None]
    if not shares:
        return False
    lines = [line for group, rows in groupby(shares, key=lambda row: row["group"]) for line in (GROUP_TITLES[group], *rows)]
    title = textwrap.fill(title, 46)  # beside the legend
    head = 0.4 + 0.17 * title.count("\n")
    height = head + LINE * len(lines) + FOOT
    figure = Figure(figsize=(WIDTH, height), dpi=300)
    axes = figure.add_axes((LEFT / WIDTH, FOOT / height, (WIDTH - LEFT - RIGHT) / WIDTH, LINE * len(lines) / height))
    axes.set(xlim=(0, 100), ylim=(len(lines) - 0.5, -0.5), yticks=[], xticks=range(0, 101, 25))
    axes.set_xlabel("share of pictures, % (bars: 95 % Wilson intervals)", fontsize=8.5)
    axes.tick_params(labelsize=8.5)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    beside: dict[str, Any] = dict(transform=axes.get_yaxis_transform(), va="center_baseline", fontsize=8.5)
    for y, row in enumerate(lines):
        if isinstance(row, str):
            axes.text(-0.345, y, row, weight="bold", **beside)
            continue
        n, then, now = row["n"], row["before"], row["after"]
        axes.text(-0.03, y, f"{row['name']} {MEASURES[row['name']]}", ha="right", **beside)
        axes.text(1.1, y, n, ha="right", color="0.45", **beside)
        for share, ends, at, look in ((then, wilson(then * n, n), y - 0.16, BEFORE), (now, row["ci95"], y + 0.16, AFTER)):
            axes.plot([100 * end for end in ends], [at, at], **{**look, "marker": "", "zorder": 2}, solid_capstyle="butt")
            axes.plot(100 * share, at, **look, clip_on=False)
    axes.text(1.1, 0, "n", ha="right", color="0.45", **beside)
    keys = [axes.plot([], [], label=label, **look)[0] for label, look in (("before", BEFORE), ("after", AFTER))]
    figure.legend(handles=keys, loc="upper right", ncols=2, frameon=False, fontsize=8.5, borderaxespad=0.3)
    figure.text(0.016, 1 - 0.08 / height, title, va="top", fontsize=9.5, parse_math=False)
    figure.savefig(path)
    return True
