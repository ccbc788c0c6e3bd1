"""Measurements as rows, and rows as cells and tables."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unconcept.evaluation.metrics import wilson

RESULTS = Path(__file__).parents[1] / "results"
PAGES = Path(__file__).parents[2] / "docs" / "results"
COLUMNS = ("case", "setting", "measure", "group", "before", "after", "low", "high", "n", "note")
PIXELS = "pixel change, L1"
SHARES = {"concept", "alternative", "right", "other", "style", "background", "all"}


@dataclass
class Row:
    """One line of a CSV file. `low` and `high` are the ends of the 95 % interval of `after`."""

    case: str
    setting: str
    measure: str
    group: str = ""
    before: float | None = None
    after: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: str = ""


@dataclass
class Page:
    """The generated parts of one page: tables by name, rows of its CSV file, and its plot."""

    rows: list[Row]
    tables: dict[str, list[str]]
    panels: dict[str, dict[str, list[tuple[float, Row]]]] = field(default_factory=dict)
    x_label: str = ""
    figure: Any = None  # of matplotlib; in place of panels


def read_results(folder: str, pattern: str = "*.json") -> Iterator[tuple[str, dict]]:
    """Yield (file name without its ending, content) of every result in `folder`."""
    for file in sorted((RESULTS / folder).glob(pattern)):
        yield file.stem, json.loads(file.read_text())


def file_name(text: str) -> str:
    """The file name of a result: without characters that need quotes in a shell."""
    return text.replace(" ", "-").replace(",", "").replace("'", "")


def score_row(case: str, setting: str, score: dict) -> Row:
    low, high = score["ci95"] or (None, None)
    return Row(
        case,
        setting,
        score["name"],
        score["group"],
        score["before"],
        score["after"],
        low,
        high,
        score["n"],
    )


def with_share(row: Row, share: dict, key: str) -> Row:
    """The row with a measured value, its interval and n.

    Args:
        row: A row without numbers.
        share: Has `key`, "ci95" and "n".
        key: Where the value stands: "value" or "after".

    Returns:
        A new row.
    """
    low, high = share["ci95"]
    return replace(row, after=share[key], low=low, high=high, n=share["n"])


def need_row(
    rows: Iterable[Row],
    measure: str,
    group: str,
    case: str | None = None,
    setting: str | None = None,
) -> Row:
    """As `find_row`, but the row must exist."""
    row = find_row(rows, measure, group, case, setting)
    if row is None:
        raise LookupError(f"no measurement of {measure} ({group}), {case or setting or 'any'}")
    return row


def find_row(
    rows: Iterable[Row],
    measure: str,
    group: str,
    case: str | None = None,
    setting: str | None = None,
) -> Row | None:
    for row in rows:
        if (
            (row.measure, row.group) == (measure, group)
            and case in (None, row.case)
            and setting in (None, row.setting)
        ):
            return row
    return None


def pool(rows: Sequence[Row], case: str, setting: str) -> Row | None:
    """The share over all images of several rows, with Wilson's interval; None without rows."""
    rows = [row for row in rows if row.after is not None]
    if not rows:
        return None
    n = sum(row.n for row in rows)
    after = sum(round(row.after * row.n) for row in rows)
    low, high = interval_of(after, n)
    before = None
    if all(row.before is not None for row in rows):
        before = round(sum(round(row.before * row.n) for row in rows) / n, 4)
    return Row(
        case, setting, rows[0].measure, rows[0].group, before, round(after / n, 4), low, high, n
    )


def interval_of(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval, rounded as in report.json."""
    low, high = wilson(hits, n)
    return round(low, 4), round(high, 4)


def number(value: float | None, measure: str) -> str:
    """A share in percent; anything else with three digits."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if measure.split(":")[0] in SHARES else f"{value:.3f}"


def cell(row: Row | None, *, interval: bool = False, arrow: bool = False) -> str:
    """The value of a row, optionally with its value before and its interval."""
    if row is None or row.after is None:
        return "–"
    text = number(row.after, row.measure)
    if arrow and row.before is not None:
        text = f"{number(row.before, row.measure)} → {text}"
    if interval:
        ends = [number(end, row.measure).removesuffix(" %") for end in (row.low, row.high)]
        text += f" [{' – '.join(ends)}]"
    return text


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    rows = [columns, ["---"] * len(columns), *lines]
    return ["| " + " | ".join(row) + " |" for row in rows]


QUESTIONS = {
    "concept left": ("concept", "target"),
    "alternative shown": ("alternative", "target"),
    "neighbours right": ("right", "neighbour"),
    "unrelated right": ("right", "unrelated"),
}
