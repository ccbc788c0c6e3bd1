"""The page that compares all methods."""

import statistics
from collections.abc import Sequence

from unconcept.methods import METHODS

from .rows import PIXELS, Page, Row, cell, pool, read_results, table

SHARES = (
    ("concept", "target"),
    ("alternative", "target"),
    ("right", "neighbour"),
    ("right", "unrelated"),
)
HEADS = ("concept left", "alternative shown", "neighbours right", "unrelated right")
COSTS = ("network calls", "CPU seconds")


def method_comparison() -> Page:
    """Two tables: every method with its settings for the model, and with its authors'."""
    rows = stored_rows()
    names = list(dict.fromkeys(row.setting for row in rows))
    names.sort(key=lambda name: (list(METHODS).index(name.partition("@")[0]), name))
    everywhere = set.intersection(*(pairs_of(rows, n) for n in names if "@" not in n))
    tables = {"summary": [], "authors": []}
    pooled: list[Row] = []
    for name in names:
        cases = pairs_of(rows, name) & everywhere
        own = [row for row in rows if row.setting == name and row.case in cases]
        shares = pool_shares(own, name)
        pooled += [row for row in shares if row]
        line = [name, *(cell(row, interval=True) for row in shares), *medians(own)]
        if "@" in name:
            tables["authors"].append([name.partition("@")[0], str(len(cases)), *line[1:]])
        else:
            tables["summary"].append(line)
    columns = (*HEADS, "neighbours moved", "unrelated moved", *COSTS)
    untouched = [row for row in rows if row.setting == "uce" and row.case in everywhere]
    tables["summary"].insert(0, ["untouched model", *before(untouched)])
    return Page(
        rows + pooled,
        {
            "summary": table(("method", *columns), tables["summary"]),
            "authors": table(("method", "pairs", *columns), tables["authors"]),
        },
    )


def stored_rows() -> list[Row]:
    rows = []
    for _, result in read_results("methods", "*/*.json"):
        own = [Row(**row) for row in result["rows"]]
        calls = result["network_calls"]
        rows += [*own, Row(own[0].case, own[0].setting, "network calls", after=calls)]
    return rows


def pairs_of(rows: Sequence[Row], setting: str) -> set[str]:
    return {row.case for row in rows if row.setting == setting}


def pool_shares(rows: Sequence[Row], setting: str) -> list[Row | None]:
    """The four shares over the images of all pairs."""
    results = []
    for measure in SHARES:
        chosen = [row for row in rows if (row.measure, row.group) == measure]
        results.append(pool(chosen, "all pairs", setting))
    return results


def medians(rows: Sequence[Row]) -> list[str]:
    """How far images moved and what an erasure cost: medians over the pairs."""
    cells = []
    for measure, group, text in (
        (PIXELS, "neighbour", ".3f"),
        (PIXELS, "unrelated", ".3f"),
        ("network calls", "", ",.0f"),
        ("CPU seconds", "", ",.0f"),
    ):
        values = [row.after for row in rows if (row.measure, row.group) == (measure, group)]
        cells.append(format(statistics.median(v for v in values if v is not None), text))
    return cells


def before(rows: Sequence[Row]) -> list[str]:
    """The untouched model: the alternative where the prompt names it, and what is right."""
    pooled = pool_shares(rows, "")
    alternative, *right = (f"{100 * row.before:.1f} %" for row in pooled[1:] if row)
    return ["–", f"{alternative} (prompted for)", *right, "–", "–", "–", "–"]
