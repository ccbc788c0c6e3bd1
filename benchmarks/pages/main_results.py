"""The page of the five erasures."""

from collections.abc import Sequence

from .rows import (
    PIXELS,
    QUESTIONS,
    Page,
    Row,
    cell,
    file_name,
    find_row,
    interval_of,
    number,
    read_results,
    score_row,
    table,
)

ERASURES = ("pig=cow", "castle=house", "watercolor=pencil sketch", "weapon", "three at once")
WORDINGS = {"target": "name", "synonym": "synonym"}
OUTRIGHT = "prompted for outright"  # the untouched model, with the alternative in the prompt
SEEN = f"beside what is {OUTRIGHT}"


def main_results() -> Page:
    rows, summary, alternatives, worst = [], [], [], []
    for case in ERASURES:
        for _, result in read_results("erasures", f"{file_name(case)}-*.json"):
            scores = [score_row(case, "default", score) for score in result["scores"]]
            rows += scores + cost_rows(case, result)
            cells = [
                cell(find_row(scores, *question), interval=True) for question in QUESTIONS.values()
            ]
            moved = number(find_row(scores, PIXELS, "unrelated").after, PIXELS)
            summary.append([case, *cells, moved])
            worst.append(neighbour_that_lost_most(case, scores))
        for _, result in read_results("erasures/outright", f"{file_name(case)}-*.json"):
            scores = [score_row(case, SEEN, score) for score in result["scores"]]
            rows += scores
            for group, wording in WORDINGS.items():
                alternatives += beside_outright(case, wording, group, scores)
    neighbours = ["erased", "neighbour that lost most", "right before", "right after", "n"]
    outright = ["erased", "prompted by", f"untouched model, {OUTRIGHT}", "after erasing", "n"]
    return Page(
        rows,
        {
            "summary": table(["erased", *QUESTIONS, "unrelated moved"], summary),
            "alternative": table(outright, alternatives),
            "neighbours": table(neighbours, worst),
        },
    )


def cost_rows(case: str, result: dict) -> list[Row]:
    """What the edit cost, as rows of the CSV file."""
    memory = round(result["peak_memory_bytes"] / 2**30, 2)
    return [
        Row(case, "default", "peak memory, GiB", after=memory),
        Row(case, "default", "network calls", after=result["network_calls"]),
    ]


def beside_outright(case: str, wording: str, group: str, rows: Sequence[Row]) -> list[list[str]]:
    """How often the alternative is shown, beside the untouched model prompted for it: one line, or
    none where a concept has no synonym.
    """
    for row in rows:
        if (row.measure, row.group) == ("alternative", group) and row.n:
            low, high = interval_of(round(row.before * row.n), row.n)
            bound = Row(case, OUTRIGHT, "alternative", group, None, row.before, low, high, row.n)
            cells = [cell(shown, interval=True) for shown in (bound, row)]
            return [[case, wording, *cells, str(row.n)]]
    return []


def neighbour_that_lost_most(case: str, rows: Sequence[Row]) -> list[str]:
    """Of the neighbours that the untouched model can draw, the one that is right less often."""
    neighbours = [row for row in rows if row.measure.startswith("right: ") and row.before]
    loser = min(neighbours, key=lambda row: row.after / row.before)
    name = loser.measure.removeprefix("right: ")
    return [case, name, number(loser.before, "right"), cell(loser, interval=True), str(loser.n)]
