"""The end of `unconcept compare` in a terminal: one line per method, at most 80 columns."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..evaluation.scores import PIXELS, find_score
from .verdict import samples_of

COLUMNS, NAME, SECONDS = 80, 17, 6  # of a line, of the method's name, of the last column


@dataclass(frozen=True)
class Column:
    """A score of every method. Shares are printed in percent, other scores as they are."""

    name: str
    group: str
    title: str
    share: bool = True

    @property
    def width(self) -> int:
        """Columns of the terminal that a cell takes."""
        return 14 if self.share else 21

    def cell(self, row: Mapping[str, Any] | None) -> str:
        """The score after the edit with its interval: "0 [0–16]".

        Args:
            row: A measured score of compare.json; None: it was not measured.
        """
        if row is None:
            return "–"
        after, low, high = (self.number(value) for value in (row["after"], *row["ci95"]))
        return f"{after} [{low}–{high}]"

    def number(self, value: float) -> str:
        """A value in the unit of the column.

        Args:
            value: A share in [0, 1], or another score.
        """
        return f"{100 * value:.0f}" if self.share else f"{value:.3f}"


# As many of them as were measured and fit, in this order.
SCORES = (
    Column("concept", "target", "concept %"),
    Column("alternative", "target", "alternative %"),
    Column("right", "neighbour", "neighbours %"),
    Column("right", "unrelated", "unrelated %"),
    Column(PIXELS, "neighbour", "neighbours moved", share=False),
    Column(PIXELS, "unrelated", "unrelated moved", share=False),
)


def comparison_lines(result: Mapping[str, Any]) -> list[str]:
    """The table of a comparison.

    Args:
        result: The content of compare.json.

    Returns:
        Lines of at most 80 columns: titles, numbers of images, the untouched model, each method,
        and what went wrong.
    """
    rows = {entry["name"]: entry for entry in result["methods"]}
    columns, first = [], []
    room = COLUMNS - NAME - SECONDS
    for column in SCORES:
        scores = [find_score(entry["scores"], column.name, column.group) for entry in rows.values()]
        measured = next((row for row in scores if row), None)
        if measured and column.width <= room:
            columns.append(column)
            first.append(measured)
            room -= column.width
    untouched = []
    for column, row in zip(columns, first, strict=True):
        before = row.get("before")
        untouched.append("–" if before is None else column.number(before))
    lines = [
        line_of("method", columns, [column.title for column in columns], "sec"),
        line_of(
            samples_of(result),
            columns,
            [str(row["n"]) for row in first],
            "",
        ),
        line_of("before", columns, untouched, ""),
    ]
    failures = []
    for name, entry in rows.items():
        cells = []
        for column in columns:
            cells.append(column.cell(find_score(entry["scores"], column.name, column.group)))
        lines.append(line_of(name, columns, cells, f"{entry['cost']['seconds']:.0f}"))
        if entry["failure"]:
            kind, _, reason = entry["failure"].partition(": ")
            text = f"not erased, {reason}" if kind == "no-op" else entry["failure"]
            failures += textwrap.wrap(f"{name}: {text}", COLUMNS)
    return lines + ([""] if failures else []) + failures


def line_of(name: str, columns: list[Column], cells: list[str], seconds: str) -> str:
    """A line of the table.

    Args:
        name: Of the line; cut to the first column.
        columns: The scores.
        cells: One text per score.
        seconds: The last cell.

    Returns:
        At most 80 columns.
    """
    text = f"{name[: NAME - 1]:<{NAME}}"
    for column, cell in zip(columns, cells, strict=True):
        text += f"{cell:<{column.width}}"
    return f"{text}{seconds:>{SECONDS}}".rstrip()
