"""The page of several concepts at once."""

from .rows import (
    PIXELS,
    QUESTIONS,
    Page,
    Row,
    cell,
    find_row,
    read_results,
    score_row,
    table,
)

METHODS = {"all-but-one": "All but One", "speed": "SPEED", "uce": "UCE"}
COUNTS = (1, 5, 10, 20)


def several_concepts() -> Page:
    rows, summary = [], []
    panels: dict = {title: {label: [] for label in METHODS.values()} for title in QUESTIONS}
    for count in COUNTS:
        case = f"{count} concepts" if count > 1 else "1 concept"
        for name, label in METHODS.items():
            _, result = next(read_results("several", f"{count}-{name}-*.json"))
            own = [score_row(case, label, score) for score in result["scores"]]
            rows += [*own, Row(case, label, "CPU seconds", after=result["cpu_seconds"])]
            shares = {title: find_row(own, *measure) for title, measure in QUESTIONS.items()}
            for title, row in shares.items():
                panels[title][label].append((count, row))
            moved = cell(find_row(own, PIXELS, "unrelated"))
            seconds = f"{result['cpu_seconds']:.1f}"
            summary.append([str(count), label, *map(cell, shares.values()), moved, seconds])
    columns = ["concepts", "method", *QUESTIONS, "unrelated moved", "CPU seconds"]
    return Page(rows, {"summary": table(columns, summary)}, panels, "concepts")
