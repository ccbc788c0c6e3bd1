"""What can go wrong with an erasure, found in its scores and pictures."""

import math
from collections.abc import Sequence

from torch import Tensor

from .scores import PIXELS, find


def verdict(rows: Sequence[dict], before: Tensor, after: Tensor) -> str | None:
    """What went wrong, in one line, or None.

    collapse          pictures are no numbers, blank or all alike, or unrelated objects are right half as often
    no-op             the concept is still there
    over-erasure      unrelated pictures changed more than the concept's own
    alternative       the concept is gone, and what should come instead is hardly ever there
    """
    if not len(after):
        return None
    value = lambda name, group: row["after"] if (row := find(rows, name, group)) else math.nan
    rest, instead = find(rows, "right", "unrelated"), find(rows, "alternative", "target")
    if not after.isfinite().all():
        return "collapse: pictures hold values that are no numbers"
    spread = lambda p: (p.std((2, 3)).mean(1).median(), p.std(0).mean())
    if any(a < 0.25 * b for a, b in zip(spread(after), spread(before))):
        return "collapse: the pictures are nearly blank or all alike"
    if rest and rest["after"] < 0.5 * rest["before"]:
        return f"collapse: unrelated objects are right in {rest['after']:.0%} of their pictures (before: {rest['before']:.0%})"
    concept, change, other_seed = (
        find(rows, "concept", "target"),
        value(PIXELS, "target"),
        value(f"control, another seed: {PIXELS}", "structure"),
    )
    if concept and concept["before"] > 0 and concept["after"] > 0.5 * concept["before"]:
        return f"no-op: the concept is still in {concept['after']:.0%} of its pictures (before: {concept['before']:.0%})"
    if not concept and change < 0.1 * other_seed:
        return "no-op: the pictures of the concept are nearly the same as before"
    if value(PIXELS, "unrelated") > change:
        return "over-erasure: unrelated pictures changed more than those of the concept"
    if instead and instead["after"] < 0.25:
        return f"alternative ignored: it is seen in {instead['after']:.0%} of the concept's pictures"
    return None
