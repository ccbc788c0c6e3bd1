"""The page of the five erasures."""

from collections.abc import Sequence

from .rows import (
    QUESTIONS,
    Page,
    Row,
    cell,
    file_name,
    find_row,
    interval_of,
    number,
    pool,
    read_results,
    score_row,
    table,
)

ERASURES = ("pig=cow", "castle=house", "watercolor=pencil sketch", "weapon", "three at once")
REPLICATIONS = {"first": "", "second": "again", "third": "outright"}


def main_results() -> Page:
    rows, summary, alternatives = [], [], []
    for case in ERASURES:
        for replication, subfolder in REPLICATIONS.items():
            for _, result in read_results(f"erasures/{subfolder}", f"{file_name(case)}-*.json"):
                own = [score_row(case, replication, score) for score in result["scores"]]
                rows += own
                if replication == "third":
                    continue
                rows.append(Row(case, replication, "seconds of erasing", after=result["seconds"]))
                rows.append(
                    Row(
                        case,
                        replication,
                        "seconds of training",
                        after=result["training"]["seconds"],
                    )
                )
                rows.append(
                    Row(
                        case,
                        replication,
                        "peak memory, GiB",
                        after=round(result["peak_memory_bytes"] / 2**30, 2),
                    )
                )
                cells = [
                    cell(find_row(own, *question), interval=True) for question in QUESTIONS.values()
                ]
                summary.append([case, replication, *cells, f"{result['seconds']:.0f}"])
        for group, wording in (("target", "name"), ("synonym", "synonym")):
            all_three = [
                row
                for row in rows
                if (row.case, row.measure, row.group) == (case, "alternative", group)
            ]
            if len(all_three) < 3:
                continue
            together = pool(
                [
                    Row(r.case, r.setting, r.measure, r.group, None, r.after, n=r.n)
                    for r in all_three
                ],
                case,
                "all three",
            )
            rows.append(together)
            # The third `before` is the untouched model, prompted for the alternative itself.
            direct = all_three[-1]
            low, high = interval_of(round(direct.before * direct.n), direct.n)
            bound = Row(
                case,
                "untouched model, prompted directly",
                "alternative",
                group,
                None,
                direct.before,
                low,
                high,
                direct.n,
            )
            rows.append(bound)
            cells = [cell(row, interval=True) for row in (bound, direct, together)]
            alternatives.append([case, wording, *cells])
    worst = []
    for case in ERASURES:
        together = pooled_neighbours([row for row in rows if row.case == case], case)
        rows += together
        loser = min(together, key=lambda row: row.after / row.before)
        worst.append(
            [
                case,
                loser.measure.removeprefix("right: "),
                number(loser.before, "right"),
                cell(loser, interval=True),
                str(loser.n),
            ]
        )
    columns = ["erased", "replication", *QUESTIONS, "seconds"]
    heads = [
        "erased",
        "prompted by",
        "untouched model, prompted directly (n 1000)",
        "third replication (n 1000)",
        "all three (n 1400)",
    ]
    neighbours = table(
        ["erased", "neighbour that lost most", "right before", "right after", "n"], worst
    )
    return Page(
        rows,
        {
            "summary": table(columns, summary),
            "alternative": table(heads, alternatives),
            "neighbours": neighbours,
        },
    )


def pooled_neighbours(rows: Sequence[Row], case: str) -> list[Row]:
    """Each neighbour that the untouched model can draw, over the first two replications."""
    names = [
        row.measure
        for row in rows
        if row.setting == "first" and row.measure.startswith("right: ") and row.before
    ]
    pooled = []
    for name in names:
        own = [row for row in rows if row.measure == name and row.setting in ("first", "second")]
        pooled.append(pool(own, case, "first and second"))
    return pooled
