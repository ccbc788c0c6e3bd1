"""The page of the transformer."""

from .rows import PIXELS, Page, Row, cell, find_row, read_results, score_row, table

TRANSFORMER = {
    "concept left": ("concept", "target"),
    "alternative shown": ("alternative", "target"),
    "other object": ("other", "target"),
    "neighbours right": ("right", "neighbour"),
    "unrelated right": ("right", "unrelated"),
    "unrelated moved": (PIXELS, "unrelated"),
}


def transformer() -> Page:
    """The search for weights on cat=dog, and five erasures with `emoji-flow`'s defaults."""
    rows, weights, erased = [], [], []
    for name, result in read_results("transformer"):
        concepts = " + ".join(result["concepts"])
        search = concepts == "cat=dog"
        case, setting = (
            (concepts, name.rpartition("-")[0]) if search else (concepts, "defaults of emoji-flow")
        )
        own = [score_row(case, setting, score) for score in result["scores"]]
        rows += [*own, Row(case, setting, "seconds", after=result["seconds"])]
        cells = [
            cell(find_row(own, *measure), arrow=not search) for measure in TRANSFORMER.values()
        ]
        (weights if search else erased).append([setting if search else case, *cells])
    columns = list(TRANSFORMER)
    return Page(
        rows,
        {
            "summary": table(["erased", *columns], erased),
            "weights": table(["weights", *columns], weights),
        },
    )
