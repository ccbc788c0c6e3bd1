"""The page of small edits: the rank of an edit against what it does."""

from collections.abc import Mapping, Sequence

from .rows import PIXELS, Page, Row, cell, find_row, read_results, score_row, table

MEASURES = {
    "concept left": ("concept", "target"),
    "alternative shown": ("alternative", "target"),
    "neighbours right": ("right", "neighbour"),
    "neighbours moved": (PIXELS, "neighbour"),
    "unrelated moved": (PIXELS, "unrelated"),
}


def trim() -> Page:
    """One table an edit (how it was made): every rank of every pair."""
    rows: list[Row] = []
    lines: dict[str, list[tuple[str, float, list[str]]]] = {}
    for _, result in read_results("trim/emoji"):
        setting = f"{result['edit']}, {rank_name(result)}"
        scores = [score_row(result["pair"], setting, score) for score in result["scores"]]
        size = Row(result["pair"], setting, "numbers in the file", after=result["numbers"])
        rows += [*scores, size]
        cells = [result["pair"], rank_name(result), f"{result['numbers']:,}"]
        for measure, group in MEASURES.values():
            cells.append(cell(find_row(scores, measure, group), interval=True))
        line = (result["pair"], result["rank"] or float("inf"), cells)
        lines.setdefault(result["edit"], []).append(line)
    tables = {}
    for edit, unsorted in lines.items():
        cells = [cells for _, _, cells in sorted(unsorted, key=by_pair_and_rank)]
        tables[edit] = table(["pair", "rank", "numbers", *MEASURES], cells)
    return Page(rows, tables)


def rank_name(result: Mapping) -> str:
    """The rank of a result, as a table says it."""
    return "whole" if result["rank"] is None else f"rank {result['rank']}"


def by_pair_and_rank(line: tuple[str, float, Sequence[str]]) -> tuple[str, float]:
    """Where a line stands in its table."""
    return line[:2]
