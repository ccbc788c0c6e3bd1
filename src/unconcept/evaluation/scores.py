"""Scores: rows {name, group, before, after, n, ci95, better} out of pictures before and after (report.json, schema 1); shares have their paired
difference besides.

What could not be measured is null and says why. It is never 0.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .benchmark import GROUPS
from .features import Features
from .metrics.distribution import feature_change
from .metrics.proportions import difference, proportion
from .metrics.similarity import background_change, edge_change, layout_change, pixel_change, ssim

BETTER = {
    "concept": "lower", "alternative": "higher", "right": "higher", "other": "higher", "style": "higher", "background": "higher", "all": "higher",
}  # fmt: skip

# Of pairs. The name says the convention; ssim rises with likeness, the others fall.
CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pixel change, L1": pixel_change,
    "layout change, 8x8 L1": layout_change,
    "edge change, 1-F1": edge_change,
    "background change, rim L1": background_change,
    "ssim, gaussian 11": ssim,
}

PIXELS = "pixel change, L1"


def scores(benchmark, before: Tensor, after: Tensor, features: Features | None = None) -> list[dict]:
    """For each group: shares by the judge's marks, in all and, where it matters, part by part; then the changes of the pairs."""
    rows, (marks, values) = [], zip(*((benchmark.marks(pictures), benchmark.values(pictures)) for pictures in (before, after)))
    broken = ~torch.stack([before, after]).isfinite().flatten(2).all(2).all(0)

    def share(name: str, group: str, of: Tensor, part: str = "") -> None:
        if broken[of].any():
            rows.append(unmeasured_score(name, group, f"{int(broken[of].sum())} pictures hold values that are no numbers", BETTER[name]))
            return
        first, then = (proportion(m[name][of]) for m in marks)
        if first and then:
            rows.append({"name": f"{name}: {part}" if part else name, "group": group, "before": first["value"], "after": then["value"], "n": then["n"], "ci95": then["ci95"], "better": BETTER[name], "difference": difference(*(m[name][of] for m in marks))})  # fmt: skip

    for group in GROUPS:
        of = torch.tensor([q.group == group for q in benchmark.cases])
        if not of.any():
            continue
        for name in marks[0]:
            if name == "right" and group in ("target", "synonym"):
                continue  # there the right answer is the one that is erased: `concept` says it
            share(name, group, of)
            named = list(dict.fromkeys(q.name for q in benchmark.cases if q.group == group and q.name))
            if name in ("concept", "alternative") and group in ("target", "synonym", "implied") and len(named) > 1:
                for word in named:
                    share(name, group, torch.tensor([q.group == group and q.name == word for q in benchmark.cases]), word)
            if (name, group) in (("concept", "target"), ("alternative", "target")):
                for way in dict.fromkeys(q.way for q in benchmark.cases if q.group == group):
                    share(name, group, torch.tensor([q.group == group and q.way == way for q in benchmark.cases]), way)
            if (name, group) == ("right", "neighbour"):
                for word in named:
                    share(name, group, torch.tensor([q.group == group and q.name == word for q in benchmark.cases]), word)
        for name, then in values[1].items():
            now, was = (median_score(name, group, v[of], "higher") for v in (then, values[0][name]))
            rows.append(was if was["after"] is None else {**now, "before": was["after"]})
        rows += change_scores(before[of], after[of], group, "", "lower", features)
    return rows


def change_scores(before: Tensor, after: Tensor, group: str, prefix: str, better: str | None, features: Features | None) -> list[dict]:
    """One row for each way to measure how far pairs of pictures are apart."""
    opposite = better and "higher"
    rows = [
        median_score(prefix + name, group, change(before, after), opposite if name.startswith("ssim") else better)
        for name, change in CHANGES.items()
    ]
    if features is not None:
        rows.append(
            median_score(f"{prefix}feature change, 1-cos {features.name}", group, feature_change(features(before), features(after)), better)
        )
    return rows


def median_score(name: str, group: str, values: Tensor, better: str | None) -> dict:
    """Median over pairs, with a bootstrap interval. Pictures that are no numbers have no median: null, and the reason."""
    if not values.isfinite().all():
        return unmeasured_score(name, group, f"{int((~values.isfinite()).sum())} of {len(values)} values are no numbers", better)
    medians = values[bootstrap_indices(len(values))].quantile(0.5, dim=1)
    low, high = medians.quantile(torch.tensor([0.025, 0.975])).tolist()
    return {"name": name, "group": group, "before": None, "after": round(values.quantile(0.5).item(), 4), "n": len(values), "ci95": [round(low, 4), round(high, 4)], "better": better}  # fmt: skip


def bootstrap_indices(n: int, times: int = 2000, seed: int = 0) -> Tensor:
    """Bootstrap: [times, n] indices, always the same ones for a seed: two sets that are no pairs take two."""
    return torch.randint(n, (times, n), generator=torch.Generator().manual_seed(seed))


def unmeasured_score(name: str, group: str, reason: str, better: str | None = None) -> dict:
    return {"name": name, "group": group, "before": None, "after": None, "n": 0, "ci95": None, "better": better, "reason": reason}


def selectivity(benchmark, before: Tensor, after: Tensor) -> dict:
    """How many times more the concept's pictures changed than unrelated ones: a ratio of median pixel changes; 1 is no aim at all."""
    name = "selectivity, pixel change of target / unrelated"
    change = pixel_change(before, after)
    hit, rest = (change[torch.tensor([q.group == group for q in benchmark.cases])] for group in ("target", "unrelated"))
    if not len(hit) or not len(rest):
        return unmeasured_score(name, "structure", "it needs both target and unrelated prompts", "higher")
    if not change.isfinite().all():
        return unmeasured_score(name, "structure", "pictures hold values that are no numbers", "higher")
    if not (rest.quantile(0.5) > 0):
        return unmeasured_score(name, "structure", "unrelated pictures did not change at all", "higher")
    medians = [values[bootstrap_indices(len(values), seed=i)].quantile(0.5, dim=1) for i, values in enumerate((hit, rest))]
    ratios = medians[0] / medians[1].clamp(min=1e-6)
    low, high = ratios.quantile(torch.tensor([0.025, 0.975])).tolist()
    return {"name": name, "group": "structure", "before": None, "after": round((hit.quantile(0.5) / rest.quantile(0.5)).item(), 2), "n": len(hit) + len(rest), "ci95": [round(low, 2), round(high, 2)], "better": "higher"}  # fmt: skip


def find_score(rows: Sequence[dict], name: str, group: str) -> dict | None:
    return next((row for row in rows if (row["name"], row["group"]) == (name, group) and row["after"] is not None), None)
