"""The page of network calls."""

import statistics

from .rows import (
    QUESTIONS,
    Page,
    Row,
    cell,
    file_name,
    find_row,
    interval_of,
    need_row,
    number,
    pool,
    read_results,
    score_row,
    table,
)

SPEED_CASES = ("pig=cow", "castle=house", "guitar=violin", "rose=tulip", "watercolor=pencil sketch")
SPEED_SETTINGS = {
    "All but One": ("4, 6, 12", "8, 8, 25", "8, 8, 100", "12, 12, 75", "defaults", "32, 12, 100"),
    "ESD-x, lr 1e-5": ("1000",),
    "ESD-x, lr 3e-4": ("60", "250"),
}
SPEED_MEASURES = {**QUESTIONS, "concept left, synonyms": ("concept", "synonym")}


def speed() -> Page:
    rows, points = [], []
    for method, settings in SPEED_SETTINGS.items():
        for setting in settings:
            results = [
                next(read_results("speed", f"{file_name(f'{method} {setting} {case}')}-*.json"))[1]
                for case in SPEED_CASES
            ]
            name = f"{method}: {setting}"
            for measure in SPEED_MEASURES.values():
                own = []
                for case, result in zip(SPEED_CASES, results, strict=True):
                    own += [
                        score_row(case, name, score)
                        for score in result["scores"]
                        if (score["name"], score["group"]) == measure
                    ]
                rows += [*own, pool(own, "all concepts", name)]
            for cost in ("network_calls", "seconds"):
                values = [result[cost] for result in results]
                mean = statistics.mean(values)
                rows.append(
                    Row(
                        "all concepts",
                        name,
                        cost.replace("_", " "),
                        "",
                        None,
                        round(mean, 1),
                        min(values),
                        max(values),
                        len(values),
                    )
                )
            points.append((method, setting, name))
    pooled = [row for row in rows if row.case == "all concepts"]
    longest = max(row.after for row in pooled if row.measure == "network calls")
    first = [need_row(pooled, *measure, setting=points[0][2]) for measure in QUESTIONS.values()]
    for measure in SPEED_MEASURES.values():
        row = need_row(pooled, *measure, setting=points[0][2])
        low, high = interval_of(round(row.before * row.n), row.n)
        rows.append(
            Row("all concepts", "untouched model", *measure, None, row.before, low, high, row.n)
        )
    summary = [
        ["untouched model", "–", "–", "–", *(number(row.before, row.measure) for row in first)]
    ]
    panels: dict = {title: {} for title in QUESTIONS}
    for method, setting, name in points:
        calls, seconds = (
            need_row(pooled, measure, "", setting=name).after
            for measure in ("network calls", "seconds")
        )
        shares = {
            title: find_row(pooled, *measure, setting=name) for title, measure in QUESTIONS.items()
        }
        for title, row in shares.items():
            panels[title].setdefault(method, []).append((calls, row))
        summary.append(
            [
                f"{method}: {setting}",
                f"{calls:,.0f}",
                f"1/{longest / calls:.1f}",
                f"{seconds:,.0f}",
                *map(cell, shares.values()),
            ]
        )
    columns = ["method and setting", "network calls", "of ESD's 1,000 steps", "seconds", *QUESTIONS]
    return Page(rows, {"summary": table(columns, summary)}, panels, "network calls")
