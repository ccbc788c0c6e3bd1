"""The page of the pair benchmark: distributions over pairs that no setting was chosen on."""

import json
import random
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pair_cases import Case, draw_cases
from pair_figures import passes, share, summary

from .rows import RESULTS, Page, Row, file_name, interval_of, table

Figures = dict[str, float | None]

PEERS = {
    "all-but-one": "All but One",
    "speed": "SPEED, ours",
    "speed-authors": "SPEED, authors' code",
    "uce": "UCE, ours",
    "uce-authors": "UCE, authors' code",
}
FEWEST_PAIRS = 10  # of a method that is in the tables
FEWEST_PAIRS_OF_A_PART = 5
# The parts of All but One, by the folder of their results (pairs.py folder_of).
PARTS = {
    "all-but-one": "closed form alone (the default)",
    "all-but-one-tune.steps100": "closed form, then the loss",
    "all-but-one-startnone": "loss alone",
    "all-but-one-startnone,lam0": "loss alone, without its ∅ term",
}
LABELS = PARTS | PEERS
SHARES = (
    ("concept", "concept", ("target", "synonym")),
    ("alternative", "alternative", ("target", "synonym")),
    ("right", "right", ("neighbour",)),
    ("right", "right", ("unrelated",)),
    ("other", "other", ("target", "synonym")),
)
BARS: dict[str, Callable[[Figures], bool]] = {
    "all bars": passes,
    "left ≤ 2 %": lambda f: value(f, "left") <= 0.02,
    "alternative ≥ 90 %": lambda f: value(f, "reached") >= 0.9,
    "no broken images": lambda f: value(f, "broken") <= 0.05,
    "neighbours ≥ .98": lambda f: value(f, "neighbour kept") >= 0.98,
}
KINDS = ("near", "far", "style", "category", "alone")
COMPARED = (
    ("left", "concept left"),
    ("reached", "alternative, share of outright"),
    ("neighbour kept", "neighbours kept"),
    ("unrelated kept", "unrelated kept"),
    ("other kept", "other object of a scene kept"),
    ("neighbour moved", "neighbours moved"),
    ("unrelated moved", "unrelated moved"),
)


def pairs() -> Page:
    cases = {file_name(case.name): case for case in draw_cases() if case.half == "reporting"}
    measured: dict[str, dict[str, Figures]] = {}
    rows: list[Row] = []
    for method in LABELS:
        for file in sorted((RESULTS / "pairs" / "emoji" / method).glob("*.json")):
            case = cases.get(file.stem)
            if case is None:
                continue
            result = json.loads(file.read_text())
            cost = {"CPU seconds": result["cpu_seconds"], "calls": result["network_calls"]}
            figures = summary(case, result["images"]) | cost
            measured.setdefault(method, {})[case.name] = figures
            rows += case_rows(case, LABELS[method], result)
    if not rows:
        return Page([], {})
    peers = {m: measured[m] for m in PEERS if len(measured.get(m, {})) >= FEWEST_PAIRS}
    kinds = {case.name: case.kind for case in cases.values()}
    tables = {
        "bars": bars_table(peers),
        "spread": spread_table(peers),
        "kinds": kinds_table(peers, kinds),
        "differences": differences_table(peers),
        "worst": worst_table(peers["all-but-one"]),
    }
    parts = {m: measured[m] for m in PARTS if len(measured.get(m, {})) >= FEWEST_PAIRS_OF_A_PART}
    if len(parts) > 1:
        tables["parts"] = parts_table(parts)
    return Page(rows, tables, figure=strip_plot(peers))


def value(figures: Figures, name: str) -> float:
    """A figure of a case; where it does not apply, one that passes every bar."""
    found = figures.get(name)
    if found is not None:
        return found
    return 1.0 if name in ("reached", "neighbour kept") else 0.0


def case_rows(case: Case, setting: str, result: Mapping[str, Any]) -> list[Row]:
    """The CSV rows of one case and method, which they call `setting`."""
    rows = []
    for measure, mark, groups in SHARES:
        images = [row for row in result["images"] if row["group"] in groups]
        before = None
        if mark == "right":
            before = round(share(images, "right before"), 4)
        values = [row[mark] for row in images if row.get(mark) is not None]
        if not values:
            continue
        low, high = interval_of(round(sum(values)), len(values))
        group = "target" if "target" in groups else groups[0]
        after = round(sum(values) / len(values), 4)
        note = case.kind
        if mark == "alternative" and case.alternative:
            before, note = round(share(images, "outright"), 4), f"{case.kind}; before: outright"
        rows.append(
            Row(
                case.name,
                setting,
                measure,
                group,
                before,
                after,
                low,
                high,
                len(values),
                note,
            )
        )
    for group in ("neighbour", "unrelated"):
        moved = [row["moved"] for row in result["images"] if row["group"] == group]
        rows.append(
            Row(
                case.name,
                setting,
                "pixel change, L1",
                group,
                after=round(statistics.median(moved), 5),
                n=len(moved),
                note=f"{case.kind}; median",
            )
        )
    rows.append(Row(case.name, setting, "CPU seconds", after=result["cpu_seconds"], note=case.kind))
    return rows


def bars_table(figures: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    """How many pairs hold each bar, by method."""
    lines = [
        [LABELS[method], str(len(by_case)), *bar_cells(by_case.values())]
        for method, by_case in figures.items()
    ]
    return table(("method", "pairs", *BARS), lines)


def bar_cells(pairs: Collection[Figures]) -> list[str]:
    """Of each bar, how many pairs hold it, among those that it applies to."""
    cells = []
    for name, bar in BARS.items():
        needs_alternative = name.startswith(("alternative", "no broken"))
        applies = [f for f in pairs if not needs_alternative or f.get("reached") is not None]
        cells.append(f"{sum(bar(f) for f in applies)} of {len(applies)}")
    return cells


def parts_table(parts: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    """What the closed form and the loss each reach, beside the closed form on the same pairs."""
    default = parts["all-but-one"]
    lines = []
    for method, by_case in parts.items():
        if by_case is default:
            continue
        same_pairs = {name: default[name] for name in by_case if name in default}
        for text, pairs in ((PARTS[method], by_case), (PARTS["all-but-one"], same_pairs)):
            lines.append([text, str(len(pairs)), *bar_cells(pairs.values()), *medians(pairs)])
    heads = ("neighbours moved", "unrelated moved", "CPU seconds", "network calls")
    return table(("part", "pairs", *BARS, *heads), lines)


def medians(pairs: Mapping[str, Figures]) -> list[str]:
    """Medians over pairs: how far images moved, and what an erasure cost."""
    cells = []
    for column, digits in (
        ("neighbour moved", 3),
        ("unrelated moved", 3),
        ("CPU seconds", 1),
        ("calls", 0),
    ):
        cells.append(f"{statistics.median(value(f, column) for f in pairs.values()):.{digits}f}")
    return cells


def spread_table(figures: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    """Median and worst pair of every measure, by method."""
    lines = []
    for method, by_case in figures.items():
        cells = [LABELS[method]]
        for column, _ in COMPARED:
            values = [f[column] for f in by_case.values() if f.get(column) is not None]
            worst = max if column in ("left", "neighbour moved", "unrelated moved") else min
            cells.append(f"{statistics.median(values):.3f} / {worst(values):.3f}")
        lines.append(cells)
    return table(("method: median / worst pair", *(label for _, label in COMPARED)), lines)


def kinds_table(
    figures: Mapping[str, Mapping[str, Figures]], kinds: Mapping[str, str]
) -> list[str]:
    """How many pairs of each kind hold all bars, by method."""
    lines = []
    for method, by_case in figures.items():
        cells = [LABELS[method]]
        for kind in KINDS:
            of_kind = [f for name, f in by_case.items() if kinds[name] == kind]
            cells.append(f"{sum(passes(f) for f in of_kind)} of {len(of_kind)}")
        lines.append(cells)
    return table(("all bars held", *KINDS), lines)


def differences_table(figures: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    """All but One minus each peer on the same pairs, with bootstrap intervals over pairs."""
    ours = figures["all-but-one"]
    lines = []
    for method, by_case in figures.items():
        if method == "all-but-one":
            continue
        cells = [f"− {LABELS[method]}"]
        for column, _ in COMPARED:
            differences = []
            for name, theirs in by_case.items():
                a, b = ours.get(name, {}).get(column), theirs.get(column)
                if a is not None and b is not None:
                    differences.append(a - b)
            mean, low, high = bootstrap(differences)
            cells.append(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        lines.append(cells)
    return table(("All but One", *(label for _, label in COMPARED)), lines)


def bootstrap(values: Sequence[float], draws: int = 10_000) -> tuple[float, float, float]:
    """The mean of values and its 95 % percentile interval (Efron 1979), seeded."""
    rng = random.Random(0)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(draws))
    return statistics.fmean(values), means[int(0.025 * draws)], means[int(0.975 * draws)]


def worst_table(figures: Mapping[str, Figures], count: int = 5) -> list[str]:
    """The pairs on which All but One does worst: the least of its shares that should be 1."""

    def least(item: tuple[str, Figures]) -> float:
        f = item[1]
        return min(1 - value(f, "left"), value(f, "reached"), value(f, "neighbour kept"))

    lines = []
    for name, f in sorted(figures.items(), key=least)[:count]:
        cells = [f"*{name}*"]
        for column, _ in COMPARED:
            cells.append("–" if f.get(column) is None else f"{f[column]:.3f}")
        lines.append(cells)
    return table(("pair", *(label for _, label in COMPARED)), lines)


def strip_plot(figures: Mapping[str, Mapping[str, Figures]]) -> Any:
    """One dot a pair, one row a method, one panel a measure."""
    from matplotlib.figure import Figure

    panels = (
        ("left", "concept left"),
        ("reached", "alternative, share of outright"),
        ("neighbour kept", "neighbours kept"),
        ("unrelated moved", "unrelated images moved"),
    )
    figure = Figure(figsize=(12, 0.5 * len(figures) + 1.4), layout="constrained")
    rng = random.Random(0)
    for axes, (column, title) in zip(figure.subplots(1, len(panels), sharey=True), panels):
        for place, by_case in enumerate(figures.values()):
            values = [f[column] for f in by_case.values() if f.get(column) is not None]
            heights = [place + rng.uniform(-0.22, 0.22) for _ in values]
            axes.plot(values, heights, "o", markersize=4, alpha=0.5, markeredgewidth=0)
            axes.plot([statistics.median(values)] * 2, [place - 0.35, place + 0.35], color="black")
        axes.set(title=title, yticks=range(len(figures)))
        axes.set_yticklabels([LABELS[method] for method in figures])
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    return figure
