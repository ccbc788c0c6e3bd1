"""Write the tables, CSV files and plots of docs/results from what benchmarks/results holds.

    python benchmarks/result_pages.py                       # every page
    python benchmarks/result_pages.py speed robustness      # these pages

The text of a page is written by hand. This script replaces the lines between
`<!-- table: NAME -->` and `<!-- /table -->` and writes the CSV file beside the page, with one
row per measurement.
"""

import argparse
import csv
import json
import math
import re
import shutil
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scipy.stats import t

from unconcept.evaluation.metrics import wilson

RESULTS = Path(__file__).parent / "results"
PAGES = Path(__file__).parent.parent / "docs" / "results"
COLUMNS = ("case", "setting", "measure", "group", "before", "after", "low", "high", "n", "note")
PIXELS = "pixel change, L1"
SHARES = {"concept", "alternative", "right", "other", "style", "background", "all"}


@dataclass
class Row:
    """One line of a CSV file. `low` and `high` are the ends of the 95 % interval of `after`."""

    case: str
    setting: str
    measure: str
    group: str = ""
    before: float | None = None
    after: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: str = ""


@dataclass
class Page:
    """The generated parts of one page: tables by name, rows of its CSV file, and its plot."""

    rows: list[Row]
    tables: dict[str, list[str]]
    panels: dict[str, dict[str, list[tuple[float, Row]]]] = field(default_factory=dict)
    x_label: str = ""


# Reading results


def read_results(folder: str, pattern: str = "*.json") -> Iterator[tuple[str, dict]]:
    """Yield (file name without its ending, content) of every result in `folder`."""
    for file in sorted((RESULTS / folder).glob(pattern)):
        yield file.stem, json.loads(file.read_text())


def file_name(text: str) -> str:
    """The name under which a result is kept: without characters that a shell would trip over."""
    return text.replace(" ", "-").replace(",", "").replace("'", "")


def score_row(case: str, setting: str, score: dict) -> Row:
    low, high = score["ci95"] or (None, None)
    return Row(
        case,
        setting,
        score["name"],
        score["group"],
        score["before"],
        score["after"],
        low,
        high,
        score["n"],
    )


def with_share(row: Row, share: dict, key: str) -> Row:
    """The row with a measured value, its interval and n.

    Args:
        row: A row without numbers.
        share: Has `key`, "ci95" and "n".
        key: Where the value stands: "value" or "after".

    Returns:
        A new row.
    """
    low, high = share["ci95"]
    return replace(row, after=share[key], low=low, high=high, n=share["n"])


def need_row(
    rows: Iterable[Row],
    measure: str,
    group: str,
    case: str | None = None,
    setting: str | None = None,
) -> Row:
    """As `find_row`, of a row that must be there."""
    row = find_row(rows, measure, group, case, setting)
    if row is None:
        raise LookupError(f"no measurement of {measure} ({group}), {case or setting or 'any'}")
    return row


def find_row(
    rows: Iterable[Row],
    measure: str,
    group: str,
    case: str | None = None,
    setting: str | None = None,
) -> Row | None:
    for row in rows:
        if (
            (row.measure, row.group) == (measure, group)
            and case in (None, row.case)
            and setting in (None, row.setting)
        ):
            return row
    return None


def pool(rows: Sequence[Row], case: str, setting: str) -> Row | None:
    """The share over all images of several rows, with Wilson's interval; None without rows."""
    rows = [row for row in rows if row.after is not None]
    if not rows:
        return None
    n = sum(row.n for row in rows)
    after = sum(round(row.after * row.n) for row in rows)
    low, high = interval_of(after, n)
    before = None
    if all(row.before is not None for row in rows):
        before = round(sum(round(row.before * row.n) for row in rows) / n, 4)
    return Row(
        case, setting, rows[0].measure, rows[0].group, before, round(after / n, 4), low, high, n
    )


def interval_of(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval, rounded as in report.json."""
    low, high = wilson(hits, n)
    return round(low, 4), round(high, 4)


# Cells and tables


def number(value: float | None, measure: str) -> str:
    """A share in percent; anything else with three digits."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if measure.split(":")[0] in SHARES else f"{value:.3f}"


def cell(row: Row | None, *, interval: bool = False, arrow: bool = False) -> str:
    """The value of a row, if wanted with its value before and its interval."""
    if row is None or row.after is None:
        return "–"
    text = number(row.after, row.measure)
    if arrow and row.before is not None:
        text = f"{number(row.before, row.measure)} → {text}"
    if interval:
        ends = [number(end, row.measure).removesuffix(" %") for end in (row.low, row.high)]
        text += f" [{' – '.join(ends)}]"
    return text


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    rows = [columns, ["---"] * len(columns), *lines]
    return ["| " + " | ".join(row) + " |" for row in rows]


# Pages

ERASURES = ("pig=cow", "castle=house", "watercolor=pencil sketch", "weapon", "three at once")
REPLICATIONS = {"first": "", "second": "again", "third": "outright"}
QUESTIONS = {
    "concept left": ("concept", "target"),
    "alternative shown": ("alternative", "target"),
    "neighbours right": ("right", "neighbour"),
    "unrelated right": ("right", "unrelated"),
}


def main_results() -> Page:
    rows, summary, alternatives = [], [], []
    for case in ERASURES:
        for replication, subfolder in REPLICATIONS.items():
            for _, result in read_results(f"erasures/{subfolder}", f"{file_name(case)}-*.json"):
                own = [score_row(case, replication, score) for score in result["scores"]]
                rows += own
                if replication == "third":
                    continue
                rows.append(Row(case, replication, "seconds of erasing", after=result["seconds"]))
                rows.append(
                    Row(
                        case,
                        replication,
                        "seconds of training",
                        after=result["training"]["seconds"],
                    )
                )
                rows.append(
                    Row(
                        case,
                        replication,
                        "peak memory, GiB",
                        after=round(result["peak_memory_bytes"] / 2**30, 2),
                    )
                )
                cells = [
                    cell(find_row(own, *question), interval=True) for question in QUESTIONS.values()
                ]
                summary.append([case, replication, *cells, f"{result['seconds']:.0f}"])
        for group, wording in (("target", "name"), ("synonym", "synonym")):
            all_three = [
                row
                for row in rows
                if (row.case, row.measure, row.group) == (case, "alternative", group)
            ]
            if len(all_three) < 3:
                continue
            together = pool(
                [
                    Row(r.case, r.setting, r.measure, r.group, None, r.after, n=r.n)
                    for r in all_three
                ],
                case,
                "all three",
            )
            rows.append(together)
            # The third `before` is the untouched model, prompted for the alternative itself.
            direct = all_three[-1]
            low, high = interval_of(round(direct.before * direct.n), direct.n)
            bound = Row(
                case,
                "untouched model, prompted directly",
                "alternative",
                group,
                None,
                direct.before,
                low,
                high,
                direct.n,
            )
            rows.append(bound)
            cells = [cell(row, interval=True) for row in (bound, direct, together)]
            alternatives.append([case, wording, *cells])
    worst = []
    for case in ERASURES:
        together = pooled_neighbours([row for row in rows if row.case == case], case)
        rows += together
        loser = min(together, key=lambda row: row.after / row.before)
        worst.append(
            [
                case,
                loser.measure.removeprefix("right: "),
                number(loser.before, "right"),
                cell(loser, interval=True),
                str(loser.n),
            ]
        )
    columns = ["erased", "replication", *QUESTIONS, "seconds"]
    heads = [
        "erased",
        "prompted by",
        "untouched model, prompted directly (n 1000)",
        "third replication (n 1000)",
        "all three (n 1400)",
    ]
    neighbours = table(
        ["erased", "neighbour that lost most", "right before", "right after", "n"], worst
    )
    return Page(
        rows,
        {
            "summary": table(columns, summary),
            "alternative": table(heads, alternatives),
            "neighbours": neighbours,
        },
    )


def pooled_neighbours(rows: Sequence[Row], case: str) -> list[Row]:
    """Each neighbour that the untouched model can draw, over the first two replications."""
    names = [
        row.measure
        for row in rows
        if row.setting == "first" and row.measure.startswith("right: ") and row.before
    ]
    pooled = []
    for name in names:
        own = [row for row in rows if row.measure == name and row.setting in ("first", "second")]
        pooled.append(pool(own, case, "first and second"))
    return pooled


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
    """The rows of one variant; before those of the first, the ones of the untouched model.

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
    """A row over concepts; its interval is cut off where the measure ends."""
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


COMPARED = (
    "pig=cow",
    "castle=house",
    "guitar=violin",
    "rose=tulip",
    "bus=car",
    "watercolor=pencil sketch",
)
COMPARISON = (
    ("concept", "target"),
    ("concept", "synonym"),
    ("alternative", "target"),
    ("right", "neighbour"),
    ("right", "unrelated"),
    (PIXELS, "neighbour"),
    (PIXELS, "unrelated"),
    ("layout change, 8x8 L1", "target"),
    (DRIFT, "structure"),
)


def method_comparison() -> Page:
    rows: list[Row] = []
    for case in COMPARED:
        _, result = next(read_results("methods", f"{file_name(case)}.json"))
        for entry in result["methods"]:
            for score in entry["scores"]:
                if (score["name"], score["group"]) in COMPARISON:
                    rows.append(score_row(case, entry["name"], score))
            rows.append(Row(case, entry["name"], "area", after=entry["area"]))
            for cost in ("network_calls", "calls_for_a_picture", "seconds", "peak_memory_bytes"):
                rows.append(
                    Row(case, entry["name"], cost.replace("_", " "), after=entry["cost"][cost])
                )
            if entry["failure"]:
                rows.append(
                    Row(
                        case, entry["name"], entry["failure"].partition(":")[0], "detected", after=1
                    )
                )
    names = list(dict.fromkeys(row.setting for row in rows))
    summary, failures = [], []
    for name in names:
        own = [row for row in rows if row.setting == name]
        pooled = [
            pool([row for row in own if (row.measure, row.group) == measure], "all concepts", name)
            for measure in COMPARISON[:5]
        ]
        rows += [row for row in pooled if row]
        shares = [pooled[i] for i in (0, 2, 3, 4)]
        if name == names[0]:
            summary.append(
                [
                    "untouched model",
                    *(number(share.before, "concept") if share else "–" for share in shares),
                    "–",
                    "–",
                    "–",
                ]
            )
        areas = [row.after for row in own if row.measure == "area" and row.after is not None]
        calls, seconds = (
            statistics.mean(row.after for row in own if row.measure == cost)
            for cost in ("network calls", "seconds")
        )
        area = f"{statistics.mean(areas):.2f}" if areas else "–"
        summary.append([name, *map(cell, shares), area, f"{calls:,.0f}", f"{seconds:,.0f}"])
        kinds = [row.measure for row in own if row.group == "detected"]
        if kinds:
            counts = [
                f"{kind}: {kinds.count(kind)} of {len(COMPARED)}" for kind in dict.fromkeys(kinds)
            ]
            failures.append([name, ", ".join(counts)])
    columns = ["method", *QUESTIONS, "area", "network calls", "seconds"]
    return Page(
        rows,
        {
            "summary": table(columns, summary),
            "failures": table(["method", "detected failures"], failures),
        },
    )


SPEED_CASES = ("pig=cow", "castle=house", "guitar=violin", "rose=tulip", "watercolor=pencil sketch")
SPEED_SETTINGS = {
    "All but One": ("4, 6, 12", "8, 8, 25", "8, 8, 100", "12, 12, 75", "defaults", "32, 12, 100"),
    "ESD-x, lr 1e-5": ("1000",),
    "ESD-x, lr 3e-4": ("60", "250"),
}
SPEED_MEASURES = {**QUESTIONS, "concept left, synonyms": ("concept", "synonym")}


def speed() -> Page:
    rows, points = [], []
    for method, settings in SPEED_SETTINGS.items():
        for setting in settings:
            results = [
                next(read_results("speed", f"{file_name(f'{method} {setting} {case}')}-*.json"))[1]
                for case in SPEED_CASES
            ]
            name = f"{method}: {setting}"
            for measure in SPEED_MEASURES.values():
                own = []
                for case, result in zip(SPEED_CASES, results, strict=True):
                    own += [
                        score_row(case, name, score)
                        for score in result["scores"]
                        if (score["name"], score["group"]) == measure
                    ]
                rows += [*own, pool(own, "all concepts", name)]
            for cost in ("network_calls", "seconds"):
                values = [result[cost] for result in results]
                mean = statistics.mean(values)
                rows.append(
                    Row(
                        "all concepts",
                        name,
                        cost.replace("_", " "),
                        "",
                        None,
                        round(mean, 1),
                        min(values),
                        max(values),
                        len(values),
                    )
                )
            points.append((method, setting, name))
    pooled = [row for row in rows if row.case == "all concepts"]
    longest = max(row.after for row in pooled if row.measure == "network calls")
    first = [need_row(pooled, *measure, setting=points[0][2]) for measure in QUESTIONS.values()]
    for measure in SPEED_MEASURES.values():
        row = need_row(pooled, *measure, setting=points[0][2])
        low, high = interval_of(round(row.before * row.n), row.n)
        rows.append(
            Row("all concepts", "untouched model", *measure, None, row.before, low, high, row.n)
        )
    summary = [
        ["untouched model", "–", "–", "–", *(number(row.before, row.measure) for row in first)]
    ]
    panels: dict = {title: {} for title in QUESTIONS}
    for method, setting, name in points:
        calls, seconds = (
            need_row(pooled, measure, "", setting=name).after
            for measure in ("network calls", "seconds")
        )
        shares = {
            title: find_row(pooled, *measure, setting=name) for title, measure in QUESTIONS.items()
        }
        for title, row in shares.items():
            panels[title].setdefault(method, []).append((calls, row))
        summary.append(
            [
                f"{method}: {setting}",
                f"{calls:,.0f}",
                f"1/{longest / calls:.1f}",
                f"{seconds:,.0f}",
                *map(cell, shares.values()),
            ]
        )
    columns = ["method and setting", "network calls", "of ESD's 1,000 steps", "seconds", *QUESTIONS]
    return Page(rows, {"summary": table(columns, summary)}, panels, "network calls")


WAYS = ("in groups of three", "in one run", "one by one")


def several_concepts() -> Page:
    rows, summary = [], []
    panels: dict = {title: {way: [] for way in WAYS} for title in QUESTIONS}
    for count in (1, 5, 10, 20):
        for way in WAYS[:1] if count == 1 else WAYS:
            _, result = next(read_results("several", f"{file_name(f'{count}-{way}')}-*.json"))
            case = f"{count} concepts" if count > 1 else "1 concept"
            own = [score_row(case, way, score) for score in result["scores"]]
            rows += own
            for cost in ("seconds", "network_calls"):
                rows.append(Row(case, way, cost.replace("_", " "), after=result[cost]))
            shares = {title: find_row(own, *measure) for title, measure in QUESTIONS.items()}
            for title, row in shares.items():
                for line in WAYS if count == 1 else [way]:
                    panels[title][line].append((count, row))
            moved = cell(find_row(own, PIXELS, "unrelated"))
            summary.append(
                [str(count), way, f"{result['seconds']:.0f}", *map(cell, shares.values()), moved]
            )
    columns = ["concepts", "erased", "seconds", *QUESTIONS, "unrelated moved"]
    return Page(rows, {"summary": table(columns, summary)}, panels, "concepts")


ROBUST_CASES = ("pig=cow", "castle=house", "guitar=violin")
ROBUST = {
    "untouched model": "untouched model",
    "All but One": "All but One",
    "All but One, adversary 4": "All but One, `adversary: 4`",
    "All but One, paraphrases .5": "All but One, `paraphrase: 0.5`",
    "All but One, told no synonym": "All but One, no synonyms in training",
    "All but One, told no synonym, paraphrases .5": "All but One, no synonyms, `paraphrase: 0.5`",
    "SAE": "SAE",
    "SAE, told no synonym": "SAE, no synonyms in training",
    "UCE": "UCE",
    "ESD": "ESD",
    "Receler": "Receler",
}
ATTACKS = {
    "as asked": "its own prompts",
    "random states": "random states",
    "learnt states": "learned states",
}
KEPT = {
    "synonym prompts": ("concept", "synonym"),
    "neighbours right": ("right", "neighbour"),
    "unrelated right": ("right", "unrelated"),
}


def robustness() -> Page:
    rows, summary = [], []
    for kept_name, name in ROBUST.items():
        results = [
            next(read_results("robustness", f"{file_name(f'{kept_name} {case}')}-*.json"))[1]
            for case in ROBUST_CASES
        ]
        shown = []
        for kept_attack, attack in ATTACKS.items():
            own = []
            for case, result in zip(ROBUST_CASES, results, strict=True):
                row = Row(case, name, "concept", attack)
                own.append(with_share(row, result["attack"][kept_attack], "value"))
            shown.append(pool(own, "all concepts", name))
            rows += [*own, shown[-1]]
        for measure in KEPT.values():
            own = []
            for case, result in zip(ROBUST_CASES, results, strict=True):
                own += [
                    score_row(case, name, score)
                    for score in result["scores"]
                    if (score["name"], score["group"]) == measure
                ]
            shown.append(pool(own, "all concepts", name))
            rows += [*own, shown[-1]]
        calls = statistics.mean(result["network_calls"] for result in results)
        rows.append(Row("all concepts", name, "network calls", after=round(calls, 1)))
        summary.append([name, *map(cell, shown), f"{calls:,.0f}"])
    columns = [
        "method",
        *(f"concept, {attack}" for attack in ATTACKS.values()),
        *KEPT,
        "network calls",
    ]
    return Page(rows, {"summary": table(columns, summary)})


PURIFIED = ("All but One", "ESD", "SDD")
SHEET = "castle=house-1.0-3.0.webp"


def purification() -> Page:
    rows, summary = [], []
    for case in ("pig=cow", "castle=house"):
        for name in PURIFIED:
            _, results = next(read_results(f"purification/{file_name(name)}", f"{case}-*.json"))
            for result in results:
                strength, guidance = result["settings"].values()
                stages = (
                    {"purified": name}
                    if name != PURIFIED[0]
                    else {"control": "none (control)", "purified": name}
                )
                for stage, edit in stages.items():
                    setting = f"{edit}, strength {strength}, guidance {guidance}"
                    marks = result["marks"][stage]
                    for mark, share in marks.items():
                        rows.append(with_share(Row(case, setting, mark, stage), share, "value"))
                    psnr = result["control_psnr"] if stage == "control" else result["changed_psnr"]
                    against = (
                        "PSNR to the real image, dB"
                        if stage == "control"
                        else "PSNR to the control, dB"
                    )
                    rows.append(with_share(Row(case, setting, against, stage), psnr, "after"))
                    if (strength, guidance) == (1.0, 3.0):
                        shares = [
                            f"{100 * marks[mark]['value']:.1f} %"
                            for mark in ("concept", "alternative", "background", "other")
                        ]
                        summary.append([case, edit, *shares])
    for name in PURIFIED:
        sheet = RESULTS / "purification" / file_name(name) / SHEET
        if sheet.exists():
            shutil.copy(sheet, PAGES / f"purification-{file_name(name).lower()}.webp")
    columns = ["case", "edit", "concept", "alternative", "background", "other object"]
    return Page(rows, {"summary": table(columns, summary)})


def training_step() -> Page:
    rows, summary = [], []
    for name in ("bare", "ours", "esd"):
        _, result = next(read_results("memory", f"{name}-32.json"))
        rows.append(
            Row(
                "latents 32 x 32",
                name,
                "seconds per step, median",
                after=round(result["seconds"], 3),
            )
        )
        rows.append(
            Row("latents 32 x 32", name, "peak memory, GiB", after=round(result["peak"] / 2**30, 3))
        )
        summary.append([name, f"{result['seconds']:.2f}", f"{result['peak'] / 2**30:.2f}"])
    return Page(
        rows,
        {
            "summary": table(
                ["", "seconds per step (median, first excluded)", "peak memory, GiB"], summary
            )
        },
    )


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


BUILDERS = {
    "main-results": main_results,
    "ablations": ablations,
    "method-comparison": method_comparison,
    "speed": speed,
    "several-concepts": several_concepts,
    "robustness": robustness,
    "purification": purification,
    "training-step": training_step,
    "transformer": transformer,
}


# Writing


def write(name: str, page: Page) -> None:
    """Write NAME.csv and NAME.png, and replace the tables of NAME.md."""
    with (PAGES / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in page.rows:
            writer.writerow([getattr(row, column) for column in COLUMNS])
    if page.panels:
        draw(PAGES / f"{name}.png", page.panels, page.x_label)
    file = PAGES / f"{name}.md"
    text = file.read_text(encoding="utf-8")
    for table_name, lines in page.tables.items():
        pattern = rf"(<!-- table: {table_name} -->\n).*?(<!-- /table -->)"
        body = "\n".join(["", *lines, "", ""])
        text, count = re.subn(
            pattern, lambda match, body=body: match[1] + body + match[2], text, flags=re.DOTALL
        )
        if not count:
            raise SystemExit(f"{file} has no place for the table {table_name}")
    file.write_text(text, encoding="utf-8")


def draw(file: Path, panels: dict[str, dict[str, list[tuple[float, Row]]]], x_label: str) -> None:
    """One panel per share; lines with 95 % intervals on a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(panels), 3.6), layout="constrained")
    every_x = set()
    for axes, (title, lines) in zip(
        figure.subplots(1, len(panels), sharex=True, sharey=True), panels.items(), strict=True
    ):
        for name, points in lines.items():
            x = [at for at, _ in points]
            y = [row.after for _, row in points]
            below = [row.after - row.low for _, row in points]
            above = [row.high - row.after for _, row in points]
            axes.errorbar(x, y, [below, above], marker="o", capsize=2, label=name)
            every_x.update(x)
        axes.set(title=title, xscale="log", xlabel=x_label, ylim=(-0.03, 1.03))
        axes.spines[["top", "right"]].set_visible(False)
        if len(every_x) < 6:
            axes.set_xticks(sorted(every_x), [f"{at:,.0f}" for at in sorted(every_x)])
            axes.minorticks_off()
    figure.axes[0].set_ylabel("share of images, 95 % interval")
    figure.axes[0].legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="*", choices=[*BUILDERS, []], help="default: every page")
    for name in parser.parse_args().pages or BUILDERS:
        page = BUILDERS[name]()
        if not page.rows:
            print(f"{name}: left as it is, there are no measurements")
            continue
        write(name, page)
        print(name)


if __name__ == "__main__":
    main()
