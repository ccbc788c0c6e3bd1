"""The page of several concepts at once."""

from .rows import (
    PIXELS,
    QUESTIONS,
    Page,
    Row,
    cell,
    file_name,
    find_row,
    read_results,
    score_row,
    table,
)

WAYS = ("in groups of three", "in one run", "one by one")


def several_concepts() -> Page:
    rows, summary = [], []
    panels: dict = {title: {way: [] for way in WAYS} for title in QUESTIONS}
    for count in (1, 5, 10, 20):
        for way in WAYS[:1] if count == 1 else WAYS:
            _, result = next(read_results("several", f"{file_name(f'{count}-{way}')}-*.json"))
            case = f"{count} concepts" if count > 1 else "1 concept"
            own = [score_row(case, way, score) for score in result["scores"]]
            rows += own
            for cost in ("seconds", "network_calls"):
                rows.append(Row(case, way, cost.replace("_", " "), after=result[cost]))
            shares = {title: find_row(own, *measure) for title, measure in QUESTIONS.items()}
            for title, row in shares.items():
                for line in WAYS if count == 1 else [way]:
                    panels[title][line].append((count, row))
            moved = cell(find_row(own, PIXELS, "unrelated"))
            summary.append(
                [str(count), way, f"{result['seconds']:.0f}", *map(cell, shares.values()), moved]
            )
    columns = ["concepts", "erased", "seconds", *QUESTIONS, "unrelated moved"]
    return Page(rows, {"summary": table(columns, summary)}, panels, "concepts")
