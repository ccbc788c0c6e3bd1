"""Figures of one case of the pair benchmark, and their distribution over cases."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from pair_cases import Case


def summary(case: Case, images: Sequence[dict]) -> dict[str, float | None]:
    """The figures of one case.

    Shares of images; `alternative` is relative to what the untouched model reaches.
    """
    erased = [row for row in images if row["group"] in ("target", "synonym")]
    result: dict[str, float | None] = {"left": share(erased, "concept"), "n": len(erased)}
    if case.alternative:
        outright = share(erased, "outright")
        result["alternative"], result["outright"] = share(erased, "alternative"), outright
        result["reached"] = share(erased, "alternative") / outright if outright else None
        result["broken"] = statistics.mean(is_broken(row, erased) for row in erased)
    for group in ("neighbour", "unrelated"):
        rows = [row for row in images if row["group"] == group]
        right_before = [row for row in rows if row["right before"] == 1]
        result[f"{group} kept"] = share(right_before, "right")
        result[f"{group} moved"] = statistics.median(row["moved"] for row in rows)
    scenes = [row for row in erased if row["other"] is not None]
    result["other kept"] = share(scenes, "other") if scenes else None
    return result


def share(rows: Sequence[dict], mark: str) -> float:
    values = [row[mark] for row in rows if row.get(mark) is not None]
    return sum(values) / len(values) if values else math.nan


def is_broken(row: dict, erased: Sequence[dict]) -> bool:
    """Is the image broken? The untouched model shows the alternative there, the judge sees neither
    it nor the concept, and the image is farther from all images of the alternative than 95 % of
    those are from each other.
    """
    if row["concept"] or row["alternative"] or not row.get("outright"):
        return False
    usual = sorted(r["outright distance"] for r in erased if "outright distance" in r)
    return not usual or row["feature distance"] > usual[int(0.95 * (len(usual) - 1))]


def passes(figures: dict) -> bool:
    """The bar of one pair: left <= 2 %, alternative >= 90 % of outright, neighbours >= .98, no
    broken images.
    """
    reached = figures.get("reached")
    return (
        figures["left"] <= 0.02
        and (reached is None or reached >= 0.9)
        and figures["neighbour kept"] >= 0.98
        and figures.get("broken", 0.0) <= 0.05
    )


COLUMNS = (
    "left",
    "reached",
    "broken",
    "neighbour kept",
    "unrelated kept",
    "neighbour moved",
    "unrelated moved",
    "other kept",
)


def distribution(figures: dict[str, dict]) -> Iterator[str]:
    """Lines about the cases of one method: shares of pairs that pass, medians, worst pairs."""
    rows = list(figures.values())
    with_alternative = [row for row in rows if row.get("reached") is not None]
    yield f"  all bars held      {holds(rows, passes)}"
    yield f"  left <= 2 %        {holds(rows, lambda r: r['left'] <= 0.02)}"
    yield f"  alternative >= 90 % {holds(with_alternative, lambda r: r['reached'] >= 0.9)}"
    yield f"  no broken images   {holds(with_alternative, lambda r: r['broken'] <= 0.05)}"
    yield f"  neighbours >= .98  {holds(rows, lambda r: r['neighbour kept'] >= 0.98)}"
    for column in COLUMNS:
        ranked = sorted(
            (row[column], name) for name, row in figures.items() if row.get(column) is not None
        )
        if not ranked:
            continue
        if column in ("left", "broken", "neighbour moved", "unrelated moved"):
            ranked.reverse()
        worst = ", ".join(f"{name} {value:.3f}" for value, name in ranked[:4])
        yield f"  {column:16} median {statistics.median(v for v, _ in ranked):.4f}   worst {worst}"


def holds(rows: Sequence[dict], test: Any) -> str:
    return f"{sum(bool(test(row)) for row in rows)} of {len(rows)}"
