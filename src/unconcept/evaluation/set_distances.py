"""Are the pictures whole? Distances between sets of pictures in a feature space: to real ones, to the original's, to the alternative's own."""

from collections.abc import Callable

import torch
from torch import Tensor

from .features import Features
from .metrics.distribution import fid, kid
from .scores import unmeasured_score

LEAST = 16  # pictures on each side of a kernel distance

MANY = 5000  # below, FID says more about the number of pictures than about them (Binkowski et al. 2018)

REAL, ORIGINAL, OWN = "real pictures", "the original's pictures", "the alternative's own pictures"


def distances(benchmark, before: Tensor, after: Tensor, features: Features | None, own: Callable[[], tuple[Tensor, Tensor]]) -> list[dict]:
    """Rows of kernel distances, by group.

    own: makes the untouched model's pictures of the alternative, of as many seeds as there are such questions, twice.
    """
    name = f"KID {features.name if features else 'EffLite0'} to "
    if features is None:
        return [
            unmeasured_score(name + REAL, group, "no feature network: pip install unconcept[evaluate]", "lower")
            for group in ("target", "unrelated")
        ]
    rows, see = [], lambda pictures: features(pictures) if len(pictures) else torch.zeros(0, 1)
    asked = lambda group: torch.tensor([q.group == group for q in benchmark.cases])
    real: dict[str, Tensor] = {}
    for group in ("target", "neighbour", "unrelated"):
        of = asked(group)
        was, now, ideal = see(before[of]), see(after[of]), benchmark.real(group)
        real[group] = see(ideal) if ideal is not None else torch.zeros(0, 1)
        reason = "" if ideal is not None else "no real pictures of these prompts are known (--real FOLDER: of the unrelated ones)"
        rows.append(row(name + REAL, group, real[group], now, was, reason))
        if group == "unrelated":
            rows.append(row(f"FID {features.name} to {REAL}", group, real[group], now, was, reason, fid, MANY))
        if group != "target":
            rows.append(row(name + ORIGINAL, group, was, now))
    instead = asked("target") & torch.tensor([bool(q.instead) for q in benchmark.cases])
    if instead.sum() < LEAST:
        reason = f"{int(instead.sum())} prompts have an alternative; it takes {LEAST}"
        return [*rows, unmeasured_score(name + OWN, "target", reason, "lower")]
    reference, again = (see(pictures) for pictures in own())
    rows.append(row(name + OWN, "target", reference, see(after[instead]), see(before[instead])))
    rows.append(control(row(f"control: {name}{OWN}, those themselves", "structure", reference, again)))
    if len(real["target"]):
        rows.append(control(row(f"control: {name}{REAL}, the alternative's own", "structure", real["target"], reference)))
    return rows


def row(
    name: str, group: str, reference: Tensor, now: Tensor, was: Tensor | None = None, reason: str = "",
    distance: Callable[[Tensor, Tensor], dict] = kid, least: int = LEAST,
) -> dict:  # fmt: skip
    """The distance of features `now` [N, D], and of those before, to a reference [M, D]; null and why where it cannot be told."""
    n = min(len(reference), len(now))
    if not reason and n < least:
        reason = f"{n} pictures; it takes {least}"
    if not reason and any(not f.isfinite().all() or f.std(0).max() == 0 for f in (reference, now, *([] if was is None else [was]))):
        reason = "features are no numbers, or all the same"
    if reason:
        return unmeasured_score(name, group, reason, "lower")
    measured = distance(reference, now)
    first = None if was is None else distance(reference, was)["value"]
    return {"name": name, "group": group, "before": first, "after": measured["value"], "n": measured["n"], "ci95": measured["ci95"], "better": "lower"}  # fmt: skip


def control(row: dict) -> dict:
    return {**row, "better": None}
