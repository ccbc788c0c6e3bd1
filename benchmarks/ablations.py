"""The paper's claims, measured: All but One against its own ablations and against ESD's loss, on one seam, from the same seeds.

    python benchmarks/claims.py [--seeds 3]  # hours; what is done is not done again
    python benchmarks/claims.py --write docs/claims.md                 # the tables of what is done

(1) Do objects fall apart?  (2) Does the picture of the same seed drift?  (3) Does the rest suffer?  (4) What does it cost?
"""

import functools
import itertools
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common import alone, arguments, head, machine, once, page, plain
from scipy.stats import t

from unconcept import AllButOne, Concept, Edit, load
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark
from unconcept.evaluation.failure_detection import detect_failure
from unconcept.evaluation.features import features_or_none
from unconcept.evaluation.runner import evaluate, images_before
from unconcept.evaluation.scores import BETTER, PIXELS, find_score
from unconcept.methods import all_but_one
from unconcept.methods.all_but_one import mse
from unconcept.models.emoji.concepts import complete
from unconcept.models.image_cache import cache_folder
from unconcept.models.interface import Model
from unconcept.profiling.usage import count_calls
from unconcept.training.replay import Replay, ReplayPlan, record

CASES = ("pig=cow", "castle=house", "guitar=violin", "watercolor=pencil sketch", "neon=sepia", "weapon")
NOTE = """All but One as `unconcept erase` runs it, against itself without one of its parts, and against ESD's loss on the same replay, weights and schedule.
The mean over concepts, each of which is the mean over its seeds, and Student's interval over concepts: the seeds of one concept are no new concepts.
An interval ends where the measure does. A kernel distance is to the alternative's pictures, for methods that do not aim at one, too.
"better" and "worse" stand where the difference to All but One, of the same concepts and seeds, has an interval without 0; without a word there is none to be seen.
"""
ASKED = {"target": 32, "synonym": 8, "neighbour": 24, "unrelated": 24}


@dataclass(frozen=True, kw_only=True)
class EsdLoss(AllButOne):
    """ESD's loss (Gandikota et al. 2023) on our replay, weights and schedule: ε_θ(x, c) → ε*(x, ∅) − η (ε*(x, c) − ε*(x, ∅)), and no other term.

    This compares losses. ESD as its authors run it differs in more: where x_t comes from, learning rate, number of steps.
    """

    def loss(self, student, z, kappa, eta):
        ε_c = student(z.x, z.t, z.conditions["c"])
        return mse(ε_c, z.targets["null"] - eta * (z.targets["c"] - z.targets["null"]))


BASE = AllButOne()
METHODS: dict[str, AllButOne] = {
    "all but one": BASE,
    "without the ∅ term": replace(BASE, lam=0.0),
    "joint instead of surgical": replace(BASE, surgical=False),
    "without replay, at equal cost": replace(BASE, points=1),  # one point of each trajectory, as in methods that sample anew for every step
    "without an alternative": BASE,
    "ESD's loss, η = 1": EsdLoss(rho=0.0, lam=0.0, eta=1.0),
    "without the keep term": replace(BASE, rho=0.0),
    "without weight decay": replace(BASE, tune=replace(BASE.tune, decay=0.0)),
    "without whitening": replace(BASE, tune=replace(BASE.tune, whiten=None)),
}
OWN, REAL = "KID EffLite0 to the alternative's own pictures", "KID EffLite0 to real pictures"
TABLES = {
    "1. Do objects fall apart? (the concept's pictures)": (
        ("confidence of the judge", "target"), (OWN, "target"), (REAL, "target"),
    ),
    "2. Does the picture of the same seed drift? (the concept's pictures)": (
        ("layout change, 8x8 L1", "target"), ("background change, rim L1", "target"), ("background", "target"), ("other", "target"),
    ),
    "3. Does the rest suffer?": (
        ("right", "neighbour"), ("right", "unrelated"), (PIXELS, "neighbour"), (PIXELS, "unrelated"), (REAL, "unrelated"),
        ("drift of the unconditional prediction", "structure"),
    ),
    "Is it erased at all?": (("concept", "target"), ("concept", "synonym"), ("alternative", "target")),
}  # fmt: skip


class Recorder:
    """`record`, which makes every replay once: methods of one concept and seed walk the same trajectories. What was saved counts as spent."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[Replay, int, float]] = {}
        self.calls, self.seconds = 0, 0.0  # saved so far

    def __call__(self, model: Model, plan: ReplayPlan) -> Replay:
        key = json.dumps(asdict(plan))
        if key in self.made:
            replay, calls, seconds = self.made[key]
            self.calls += calls
            self.seconds += seconds
            return replay
        began = time.perf_counter()
        with count_calls(model) as calls:
            replay = record(model, plan)
        self.made[key] = replay, calls["n"], time.perf_counter() - began
        return replay


def erased(model: Model, case: str, name: str, seed: int, file: Path) -> Edit:
    """The edit in `file`, made now when it is not there. Its card says what it cost."""
    if file.exists():
        return Edit.load(file)
    method, concept, recorder = METHODS[name], complete(Concept.parse(case)), all_but_one.record
    if name == "without an alternative":
        concept = concept.with_(alternative=None)
    calls_saved, seconds_saved, began = recorder.calls, recorder.seconds, time.perf_counter()
    with count_calls(model) as calls:
        edit = replace(method, tune=replace(method.tune, seed=seed))(model, concept)
    seconds = time.perf_counter() - began + recorder.seconds - seconds_saved
    cost = {"network_calls": calls["n"] + recorder.calls - calls_saved, "seconds": round(seconds, 1)}
    edit = replace(edit, card={**edit.card, "cost": cost})
    edit.save(file)
    return edit


def measure(case: str, name: str, seed: int, file: Path) -> dict[str, Any]:
    model = load("emoji")
    edit = erased(model, case, name, seed, file)
    exam = EmojiBenchmark([complete(Concept.parse(case))], ASKED, seed=2000 + seed)
    look: dict[str, Any] = dict(seed=60 + seed, cache=cache_folder())
    before = images_before(model, exam, **look)
    found = evaluate(model, edit, exam, before=before, controls=8, full=True, features=features_or_none(), **look)
    return {
        "case": case,
        "method": name,
        "seed": seed,
        "machine": machine(),
        "cost": {**edit.card["cost"], "steps": edit.card["training"]["steps"]},
        "scores": [row for row in found.rows if (row["name"], row["group"]) in itertools.chain(*TABLES.values())],
        "failure": detect_failure(found.rows, before, found.after),
    }


def mean(values: Mapping[str, Sequence[float]]) -> tuple[float, float, float]:
    """Mean over concepts, each the mean of its seeds, and Student's 95 % interval over concepts."""
    each = [statistics.mean(of) for of in values.values()]
    middle = statistics.mean(each)
    half = t.ppf(0.975, len(each) - 1) * statistics.stdev(each) / len(each) ** 0.5 if len(each) > 1 else math.inf
    return middle, middle - half, middle + half


def said(values: Mapping[str, Sequence[float]], digits: int = 3, least: float = -math.inf, most: float = math.inf) -> str:
    """least, most: beyond which no value can lie, and so no interval is told."""
    middle, low, high = mean(values)
    low, high = max(low, least), min(high, most)
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def by_concept(values: Mapping[tuple[str, int], float]) -> dict[str, list[float]]:
    cases = dict.fromkeys(case for case, _ in values)
    return {case: [v for (c, _), v in values.items() if c == case] for case in cases}


def possible(name: str) -> dict[str, float]:
    """The ends of a measure: shares and probabilities end at 1, all but unbiased kernel distances begin at 0."""
    return {**({} if "KID" in name else {"least": 0.0}), **({"most": 1.0} if name in BETTER or "confidence" in name else {})}


def values(runs: Sequence[dict], name: str, column: tuple[str, str], when: str = "after") -> dict[tuple[str, int], float]:
    """What a column says of a method, by concept and seed."""
    rows = {(run["case"], run["seed"]): find_score(run["scores"], *column) for run in runs if run["method"] == name}
    return {run: row[when] for run, row in rows.items() if row and row[when] is not None}


def differs(own: Mapping[tuple[str, int], float], base: Mapping[tuple[str, int], float], better: str | None) -> str:
    """ "better" or "worse" than All but One where the difference, of the same concepts and seeds, has an interval without 0; else nothing."""
    middle, low, high = mean(by_concept({run: own[run] - base[run] for run in own if run in base}))
    if not better or low * high <= 0:
        return ""
    return "better" if (middle > 0) == (better == "higher") else "worse"


def direction(runs: Sequence[dict], column: tuple[str, str]) -> str | None:
    return next(row["better"] for run in runs if (row := find_score(run["scores"], *column)))


def in_words(runs: Sequence[dict], names: Sequence[str]) -> list[str]:
    """Where each method can be told from All but One, so that nobody has to search the tables for it."""
    lines, nobody = ["## In words, against all but one", ""], ""
    for name in names[1:]:
        told: dict[str, list[str]] = {"worse": [], "better": [], nobody: []}
        for column in itertools.chain(*TABLES.values()):
            if own := values(runs, name, column):
                told[differs(own, values(runs, names[0], column), direction(runs, column))].append("{} ({})".format(*column))
        parts = [f"{word} in {', '.join(told[word])}" for word in ("worse", "better") if told[word]]
        rest = (
            f"the other {len(told[nobody])} measures tell nothing apart"
            if parts
            else f"none of {len(told[nobody])} measures tells them apart"
        )
        lines.append(f"- *{name}*: {'; '.join([*parts, rest])}.")
    return [*lines, ""]


def measures(runs: Sequence[dict], names: Sequence[str]) -> list[str]:
    lines = []
    for title, columns in TABLES.items():
        better = {column: direction(runs, column) for column in columns}
        lines += [f"## {title}", "", *head(["", "runs", *(f"{c[0]} ({c[1]}), {better[c]} is better" for c in columns)])]
        for name, when in [(names[0], "before"), *((name, "after") for name in names)]:
            cells = []
            for column in columns:
                own, base = values(runs, name, column, when), values(runs, names[0], column)
                word = differs(own, base, better[column]) if own and when == "after" else ""
                cells.append(f"{said(by_concept(own), **possible(column[0]))} {word}".strip() if own else "–")
            count = "" if when == "before" else sum(run["method"] == name for run in runs)
            lines.append(f"| {'untouched model' if when == 'before' else name} | {count} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def costs(runs: Sequence[dict], names: Sequence[str]) -> list[str]:
    lines = ["## 4. What does it cost?", "", *head(["", "network calls", "seconds on one core", "what the detectors found"])]
    for name in names:
        own = [run for run in runs if run["method"] == name]
        failures = [run["failure"].split(":")[0] for run in own if run["failure"]]
        found = ", ".join(f"{failures.count(f)} of {len(own)} {f}" for f in dict.fromkeys(failures)) or "nothing"
        cost = [{(run["case"], run["seed"]): run["cost"][what] for run in own} for what in ("network_calls", "seconds")]
        lines.append(f"| {name} | " + " | ".join(said(by_concept(c), 0) for c in cost) + f" | {found} |")
    return lines


def write(out: Path) -> str:
    """Words and tables in Markdown, of every run that is done."""
    runs = [json.loads(file.read_text()) for file in sorted(out.glob("*.json"))]
    names = [name for name in METHODS if any(run["method"] == name for run in runs)]
    return "\n".join([*in_words(runs, names), *measures(runs, names), *costs(runs, names)]) + "\n"


def main() -> None:
    only = {"nargs": "+", "choices": METHODS, "default": list(METHODS), "metavar": "METHOD"}
    given = arguments(__doc__, "claims", None, seeds={"type": int, "default": 3}, only=only)
    if given.write:
        given.write.write_text(page("The claims, measured", "claims.py", [NOTE, write(given.out)], "means with 95 % intervals"))
        return
    for seed, case in itertools.product(range(given.seeds), CASES):
        with alone(given.out / f"{case}-{seed}") as mine:
            if not mine:
                continue  # another process is at it
            all_but_one.record = Recorder()
            for name in given.only:
                if name == "without an alternative" and "=" not in case:
                    continue  # it has none
                file = plain(given.out / f"{case}-{name}-{seed}.safetensors")
                once(file.with_suffix(".json"), functools.partial(measure, case, name, seed, file))


if __name__ == "__main__":
    main()
