"""The page of the defaults on other weights."""

from .rows import PIXELS, Page, Row, cell, find_row, read_results, score_row, table

MEASURES = {
    "concept left": ("concept", "target"),
    "alternative shown": ("alternative", "target"),
    "neighbours right": ("right", "neighbour"),
    "unrelated right": ("right", "unrelated"),
    "unrelated moved": (PIXELS, "unrelated"),
}

# In the order of the table.
MODELS = (
    "emoji",
    "emoji, cross-attention / 4",
    "emoji, cross-attention x 4",
    "emoji, predicts the noise",
    "emoji-flow",
)


def default_transfer() -> Page:
    """Erasures with the defaults, and how far variants of `emoji` differ from it."""
    rows, erased, differences = [], [], []
    results = [result for _, result in read_results("default-transfer")]
    results = [result for result in results if result["method"] == "closed form"]
    for result in sorted(results, key=by_model):
        case, model = result["pair"], result["model"]
        own = [score_row(case, model, score) for score in result["scores"]]
        rows += own
        cells = []
        for measure, group in MEASURES.values():
            cells.append(cell(find_row(own, measure, group), interval=True, arrow=True))
        erased.append([model, *cells])
        if difference := result.get("difference from emoji"):
            line = [model]
            for name, value in difference.items():
                rows.append(Row(case, model, f"difference from emoji: {name}", after=value))
                line.append(f"{value:.2g}")
            differences.append(line)
    return Page(
        rows,
        {
            "summary": table(["model", *MEASURES], erased),
            "difference": table(
                ["model", "edit, relative", "images before", "images after"], differences
            ),
        },
    )


def by_model(result: dict) -> int:
    """Where a result stands in the table."""
    return MODELS.index(result["model"])
