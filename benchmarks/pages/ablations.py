"""The page of the ablations."""

import math
import statistics
from collections.abc import Sequence

from scipy.stats import t

from .rows import PIXELS, SHARES, Page, Row, find_row, need_row, read_results, table

VARIANTS = (
    "all but one",
    "without the ∅ term",
    "joint instead of surgical",
    "without replay, at equal cost",
    "without an alternative",
    "ESD's loss, η = 1",
    "without the keep term",
    "without weight decay",
    "without whitening",
)
KID_ALTERNATIVE = "KID EffLite0 to the alternative's own pictures"
KID_REAL = "KID EffLite0 to real pictures"
DRIFT = "drift of the unconditional prediction"
MEASURES = (
    ("confidence of the judge", "target"),
    (KID_ALTERNATIVE, "target"),
    (KID_REAL, "target"),
    ("layout change, 8x8 L1", "target"),
    ("background change, rim L1", "target"),
    ("background", "target"),
    ("other", "target"),
    ("right", "neighbour"),
    ("right", "unrelated"),
    (PIXELS, "neighbour"),
    (PIXELS, "unrelated"),
    (KID_REAL, "unrelated"),
    (DRIFT, "structure"),
    ("concept", "target"),
    ("concept", "synonym"),
    ("alternative", "target"),
)
ABLATION_COLUMNS = {
    "concept left": ("concept", "target"),
    "alternative shown": ("alternative", "target"),
    "neighbours right": ("right", "neighbour"),
    "unrelated moved": (PIXELS, "unrelated"),
    "drift of ε(∅)": (DRIFT, "structure"),
}


def ablations() -> Page:
    runs = [run for _, run in read_results("claims")]
    rows = []
    for name in VARIANTS:
        rows += variant_rows(name, runs)
    summary, costs = [], []
    for name in ("untouched model", *VARIANTS):
        own = [row for row in rows if row.setting == name]
        if not own:
            continue
        measured = [find_row(own, *measure) for measure in ABLATION_COLUMNS.values()]
        summary.append([name, *map(ablation_cell, measured)])
        if name != "untouched model":
            costs.append([name, *cost_cells(own)])
    heads = ["variant", "network calls", "seconds on one core", "detected failures"]
    tables = {
        "summary": table(["variant", *ABLATION_COLUMNS], summary),
        "cost": table(heads, costs),
    }
    return Page(rows, tables)


def variant_rows(name: str, runs: Sequence[dict]) -> list[Row]:
    """The rows of one variant; the first variant also gets the rows of the untouched model.

    Args:
        name: One of VARIANTS; it is compared with the first of them.
        runs: The results of all variants.

    Returns:
        Means over concepts of every measure, the costs, and the detected failures.
    """
    own = [run for run in runs if run["method"] == name]
    if not own:
        return []
    baseline = [run for run in runs if run["method"] == VARIANTS[0]]
    better = better_directions(runs)
    rows = []
    for measure in MEASURES:
        values = run_values(own, measure)
        if not values:
            continue
        row = concept_mean(name, measure, values, len(own))
        differences = paired_differences(values, run_values(baseline, measure))
        if name != VARIANTS[0]:
            row.note = verdict(differences, better[measure])
        else:
            before = run_values(own, measure, "before")
            if before:
                rows.append(concept_mean("untouched model", measure, before, len(own)))
        rows.append(row)
    for cost in ("network_calls", "seconds"):
        values = {(run["case"], run["seed"]): run["cost"][cost] for run in own}
        rows.append(concept_mean(name, (cost.replace("_", " "), ""), values, len(own)))
    return rows + detected(name, own)


def better_directions(runs: Sequence[dict]) -> dict[tuple[str, str], str | None]:
    """By (measure, group): "higher" or "lower" is better; None: neither."""
    better = {}
    for run in runs:
        for score in run["scores"]:
            better[score["name"], score["group"]] = score["better"]
    return better


def ablation_cell(row: Row | None) -> str:
    if row is None:
        return "–"
    return f"{row.after:.3f} [{row.low:.3f}, {row.high:.3f}] {row.note}".strip()


def cost_cells(rows: Sequence[Row]) -> list[str]:
    """Network calls and seconds with their intervals, and the detected failures."""
    cells = []
    for measure in ("network calls", "seconds"):
        row = need_row(rows, measure, "")
        cells.append(f"{row.after:.0f} [{row.low:.0f}, {row.high:.0f}]")
    failures = []
    for row in rows:
        if row.group == "detected":
            failures.append(f"{row.measure}: {row.after:.0f} of {row.n}")
    return [*cells, ", ".join(failures) or "nothing"]


def detected(name: str, runs: Sequence[dict]) -> list[Row]:
    """How many runs ended with each kind of failure."""
    kinds = [run["failure"].partition(":")[0] for run in runs if run["failure"]]
    return [
        Row("all concepts", name, kind, "detected", after=kinds.count(kind), n=len(runs))
        for kind in dict.fromkeys(kinds)
    ]


def run_values(
    runs: Sequence[dict], measure: tuple[str, str], when: str = "after"
) -> dict[tuple[str, int], float]:
    """One measure of one variant, by concept and seed."""
    values = {}
    for run in runs:
        for score in run["scores"]:
            if (score["name"], score["group"]) == measure and score[when] is not None:
                values[run["case"], run["seed"]] = score[when]
    return values


def paired_differences(values: dict, baseline: dict) -> dict:
    return {run: value - baseline[run] for run, value in values.items() if run in baseline}


def student_interval(values: dict[tuple[str, int], float]) -> tuple[float, float, float]:
    """Mean over concepts, each the mean over its seeds, and Student's 95 % interval."""
    by_concept: dict[str, list[float]] = {}
    for (case, _), value in values.items():
        by_concept.setdefault(case, []).append(value)
    means = [statistics.mean(own) for own in by_concept.values()]
    mean = statistics.mean(means)
    half = math.inf
    if len(means) > 1:
        half = t.ppf(0.975, len(means) - 1) * statistics.stdev(means) / len(means) ** 0.5
    return mean, mean - half, mean + half


def concept_mean(setting: str, measure: tuple[str, str], values: dict, runs: int) -> Row:
    """A row over concepts; its interval is clipped to the range of the measure."""
    mean, low, high = student_interval(values)
    if "KID" not in measure[0] and measure[0] not in ("network calls", "seconds"):
        low = max(low, 0.0)
    if measure[0] in SHARES or "confidence" in measure[0]:
        high = min(high, 1.0)
    return Row(
        "all concepts", setting, *measure, None, round(mean, 6), round(low, 6), round(high, 6), runs
    )


def verdict(differences: dict, better: str | None) -> str:
    """ "better" or "worse" where the interval of the paired difference excludes 0."""
    mean, low, high = student_interval(differences)
    if not better or low * high <= 0:
        return ""
    return "better" if (mean > 0) == (better == "higher") else "worse"
