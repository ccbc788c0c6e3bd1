"""What can go wrong with an erasure, found in its scores and pictures."""

import math
from collections.abc import Sequence

from torch import Tensor

from .benchmark import PROMPT_STYLES
from .scores import PIXELS, find_score


def detect_failure(rows: Sequence[dict], before: Tensor, after: Tensor) -> str | None:
    """What went wrong, in one line, or None.

    collapse          pictures are no numbers, blank or all alike, or unrelated objects are right half as often
    no-op             the concept, or one of several, is still there; where no judge ever found it, its pictures hardly moved
    over-erasure      unrelated pictures changed more than the concept's own
    alternative       the concept is gone, and what should come instead is hardly ever there
    """
    if not len(after):
        return None
    value = lambda name, group: row["after"] if (row := find_score(rows, name, group)) else math.nan
    rest, instead = find_score(rows, "right", "unrelated"), find_score(rows, "alternative", "target")
    if not after.isfinite().all():
        return "collapse: pictures hold values that are no numbers"
    spread = lambda p: (p.std((2, 3)).mean(1).median(), p.std(0).mean())
    if any(a < 0.25 * b for a, b in zip(spread(after), spread(before))):
        return "collapse: the pictures are nearly blank or all alike"
    if rest and rest["after"] < 0.5 * rest["before"]:
        return f"collapse: unrelated objects are right in {rest['after']:.0%} of their pictures (before: {rest['before']:.0%})"
    concept, change, other_seed = (
        find_score(rows, "concept", "target"),
        value(PIXELS, "target"),
        value(f"control, another seed: {PIXELS}", "structure"),
    )
    for row in concept_scores(rows):
        if row["before"] > 0 and row["after"] > 0.5 * row["before"]:
            what = row["name"].partition(": ")[2] or "the concept"
            return f"no-op: {what} is still in {row['after']:.0%} of its pictures (before: {row['before']:.0%})"
    if not (concept and concept["before"]) and change < 0.1 * other_seed:
        return "no-op: the pictures of the concept are nearly the same as before"
    if value(PIXELS, "unrelated") > change:
        return "over-erasure: unrelated pictures changed more than those of the concept"
    if instead and instead["after"] < 0.25:
        return f"alternative ignored: it is seen in {instead['after']:.0%} of the concept's pictures"
    return None


def concept_scores(rows: Sequence[dict]) -> list[dict]:
    """The share of all concepts together, and that of each where there are several."""
    return [
        r
        for r in rows
        if r["group"] == "target"
        and r["after"] is not None
        and (r["name"] == "concept" or (r["name"].startswith("concept: ") and r["name"][9:] not in PROMPT_STYLES))
    ]
