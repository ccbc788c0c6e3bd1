"""The page that compares all methods."""

import statistics

from .ablations import DRIFT
from .rows import (
    PIXELS,
    QUESTIONS,
    Page,
    Row,
    cell,
    file_name,
    number,
    pool,
    read_results,
    score_row,
    table,
)

COMPARED = (
    "pig=cow",
    "castle=house",
    "guitar=violin",
    "rose=tulip",
    "bus=car",
    "watercolor=pencil sketch",
)
COMPARISON = (
    ("concept", "target"),
    ("concept", "synonym"),
    ("alternative", "target"),
    ("right", "neighbour"),
    ("right", "unrelated"),
    (PIXELS, "neighbour"),
    (PIXELS, "unrelated"),
    ("layout change, 8x8 L1", "target"),
    (DRIFT, "structure"),
)


def method_comparison() -> Page:
    rows: list[Row] = []
    for case in COMPARED:
        _, result = next(read_results("methods", f"{file_name(case)}.json"))
        for entry in result["methods"]:
            for score in entry["scores"]:
                if (score["name"], score["group"]) in COMPARISON:
                    rows.append(score_row(case, entry["name"], score))
            rows.append(Row(case, entry["name"], "area", after=entry["area"]))
            for cost in ("network_calls", "calls_for_a_picture", "seconds", "peak_memory_bytes"):
                rows.append(
                    Row(case, entry["name"], cost.replace("_", " "), after=entry["cost"][cost])
                )
            if entry["failure"]:
                rows.append(
                    Row(
                        case, entry["name"], entry["failure"].partition(":")[0], "detected", after=1
                    )
                )
    names = list(dict.fromkeys(row.setting for row in rows))
    summary, failures = [], []
    for name in names:
        own = [row for row in rows if row.setting == name]
        pooled = [
            pool([row for row in own if (row.measure, row.group) == measure], "all concepts", name)
            for measure in COMPARISON[:5]
        ]
        rows += [row for row in pooled if row]
        shares = [pooled[i] for i in (0, 2, 3, 4)]
        if name == names[0]:
            summary.append(
                [
                    "untouched model",
                    *(number(share.before, "concept") if share else "–" for share in shares),
                    "–",
                    "–",
                    "–",
                ]
            )
        areas = [row.after for row in own if row.measure == "area" and row.after is not None]
        calls, seconds = (
            statistics.mean(row.after for row in own if row.measure == cost)
            for cost in ("network calls", "seconds")
        )
        area = f"{statistics.mean(areas):.2f}" if areas else "–"
        summary.append([name, *map(cell, shares), area, f"{calls:,.0f}", f"{seconds:,.0f}"])
        kinds = [row.measure for row in own if row.group == "detected"]
        if kinds:
            counts = [
                f"{kind}: {kinds.count(kind)} of {len(COMPARED)}" for kind in dict.fromkeys(kinds)
            ]
            failures.append([name, ", ".join(counts)])
    columns = ["method", *QUESTIONS, "area", "network calls", "seconds"]
    return Page(
        rows,
        {
            "summary": table(columns, summary),
            "failures": table(["method", "detected failures"], failures),
        },
    )
