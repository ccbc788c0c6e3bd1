"""The page of the lexicon: what the words of a concept are worth on a stranger's model."""

from collections.abc import Sequence

from .rows import PIXELS, Page, Row, cell, find_row, pool, read_results, score_row, table

MEASURES = {
    "concept left": ("concept", "target"),
    "synonyms left": ("concept", "synonym"),
    "alternative shown": ("alternative", "target"),
    "neighbours right": ("right", "neighbour"),
    "unrelated right": ("right", "unrelated"),
}
COMPLETIONS = ("templates", "lexicon", "world")
KINDS = ("object", "two words", "style", "category")


def lexicon() -> Page:
    """Shares over all concepts and by kind, and one line per concept."""
    rows: list[Row] = []
    kinds: dict[str, str] = {}
    for _, result in read_results("lexicon"):
        name, completion = result["name"], result["completion"]
        kinds[name] = result["kind"]
        rows += [score_row(name, completion, score) for score in result["scores"]]
    lines = [summary_line("all", completion, rows) for completion in COMPLETIONS]
    for kind in KINDS:
        names = [name for name in kinds if kinds[name] == kind]
        of_kind = [row for row in rows if row.case in names]
        for completion in COMPLETIONS:
            lines.append(summary_line(kind, completion, of_kind))
    concepts = []
    for name in sorted(kinds, key=lambda name: (KINDS.index(kinds[name]), name)):
        for completion in COMPLETIONS:
            cells = [
                cell(find_row(rows, measure, group, name, completion), arrow=True)
                for measure, group in MEASURES.values()
            ]
            moved = cell(find_row(rows, PIXELS, "unrelated", name, completion))
            concepts.append([name, completion, *cells, moved])
    return Page(
        rows,
        {
            "summary": table(["concepts", "words from", *MEASURES, "unrelated moved"], lines),
            "concepts": table(["concept", "words from", *MEASURES, "unrelated moved"], concepts),
        },
    )


def summary_line(label: str, completion: str, rows: Sequence[Row]) -> list[str]:
    """Shares over all images of some concepts, and the median of how far images moved.

    Args:
        label: Of the line.
        completion: One of `COMPLETIONS`.
        rows: Of some concepts, with every completion.

    Returns:
        The cells of the line.
    """
    measured = [row for row in rows if row.setting == completion]
    cells = []
    for measure, group in MEASURES.values():
        same = [row for row in measured if (row.measure, row.group) == (measure, group)]
        cells.append(cell(pool(same, label, completion), interval=True))
    moved = []
    for row in measured:
        if (row.measure, row.group) == (PIXELS, "unrelated") and row.after is not None:
            moved.append(row.after)
    median = f"{sorted(moved)[len(moved) // 2]:.3f}" if moved else "–"
    return [label, completion, *cells, median]
