"""The paper's claims, measured: All but One against its own ablations and against ESD's loss, on one seam, from the same seeds.

    python benchmarks/claims.py [--seeds 3]  # hours; what is done is not done again
    python benchmarks/claims.py --write docs/claims.md                 # the tables of what is done

(1) Do objects fall apart?  (2) Does the picture of the same seed drift?  (3) Does the rest suffer?  (4) What does it cost?
"""

import functools
import itertools
import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from common import arguments, machine, once, page

from unconcept import AllButOne, Concept, load
from unconcept.cost import counted
from unconcept.detect import verdict
from unconcept.evaluate import before_edit, evaluate
from unconcept.features import lite0
from unconcept.gallery import cache_folder
from unconcept.methods.all_but_one import mse
from unconcept.models.emoji.exam import Exam, complete
from unconcept.scores import PIXELS, find, resample

CASES = ("pig=cow", "castle=house", "guitar=violin", "rose=tulip", "watercolor=pencil sketch", "neon=sepia", "weapon")
NOTE = "Mean over concepts and seeds, with 95 % intervals: a bootstrap of concepts, since the seeds of one concept are no new concepts.\n"
ASKED = {"target": 32, "synonym": 12, "neighbour": 24, "unrelated": 24}


@dataclass(frozen=True, kw_only=True)
class EsdLoss(AllButOne):
    """ESD's loss (Gandikota et al. 2023) on our replay, weights and schedule: ε_θ(x, c) → ε*(x, ∅) − η (ε*(x, c) − ε*(x, ∅)), and no other term.

    This compares losses. ESD as its authors run it differs in more: where x_t comes from, learning rate, number of steps.
    """

    def loss(self, student, z, kappa, eta):
        ε_c = student(z.x, z.t, z.asked["c"])
        return mse(ε_c, z.said["null"] - eta * (z.said["c"] - z.said["null"]))


BASE = AllButOne()
METHODS: dict[str, AllButOne] = {
    "all but one": BASE,
    "without the ∅ term": replace(BASE, lam=0.0),
    "joint instead of surgical": replace(BASE, surgical=False),
    "without replay, at equal cost": replace(BASE, points=1),  # one point of each trajectory, as in methods that sample anew for every step
    "without an alternative": BASE,
    "without the keep term": replace(BASE, keep=0.0),
    "without weight decay": replace(BASE, tune=replace(BASE.tune, decay=0.0)),
    "without whitening": replace(BASE, tune=replace(BASE.tune, whiten=None)),
    "ESD's loss, η = 1": EsdLoss(keep=0.0, lam=0.0, eta=1.0),
}
KID = "KID EffLite0 to the alternative's own pictures"
TABLES = {
    "1. Do objects fall apart? (the concept's pictures)": (
        ("confidence of the judge", "target"), (KID, "target"),
    ),
    "2. Does the picture of the same seed drift? (the concept's pictures)": (
        ("layout change, 8x8 L1", "target"), ("background change, rim L1", "target"), ("background", "target"), ("other", "target"),
    ),
    "3. Does the rest suffer?": (
        ("right", "neighbour"), ("right", "unrelated"), (PIXELS, "neighbour"), (PIXELS, "unrelated"), ("drift of the unconditional prediction", "structure"),
    ),
    "Is it erased at all?": (("concept", "target"), ("concept", "synonym"), ("alternative", "target")),
}  # fmt: skip


def measure(case: str, name: str, seed: int) -> dict[str, Any]:
    model, method = load("emoji"), METHODS[name]
    concept = complete(Concept.parse(case))
    exam = Exam([concept], ASKED, seed=2000 + seed)
    look: dict[str, Any] = dict(seed=60 + seed, cache=cache_folder())
    before = before_edit(model, exam, **look)
    if name == "without an alternative":
        concept = concept.with_(alternative=None)
    with counted(model) as calls:
        edit = replace(method, tune=replace(method.tune, seed=seed))(model, concept)
    found = evaluate(model, edit, exam, before=before, controls=8, full=True, features=lite0(), **look)
    cost = {"network_calls": calls["n"], "training_seconds": edit.card["training"]["seconds"], "steps": edit.card["training"]["steps"]}
    return {
        "case": case,
        "method": name,
        "seed": seed,
        "machine": machine(),
        "cost": cost,
        "scores": [row for row in found.rows if (row["name"], row["group"]) in itertools.chain(*TABLES.values())],
        "failure": verdict(found.rows, before, found.after),
    }


def mean(values: list[tuple[str, float]]) -> str:
    """Mean of (concept, value), every concept weighing the same, with a 95 % bootstrap interval over concepts."""
    cases = list(dict.fromkeys(case for case, _ in values))
    v = torch.tensor([statistics.mean(value for case, value in values if case == c) for c in cases])
    low, high = v[resample(len(v))].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
    return f"{v.mean().item():.3f} [{low:.3f}, {high:.3f}]"


def write(out: Path) -> str:
    """The tables in Markdown, of every run that is done."""
    runs = [json.loads(file.read_text()) for file in sorted(out.glob("*.json"))]
    lines = []
    for title, columns in TABLES.items():
        lines += [
            f"## {title}",
            "",
            "| | runs | " + " | ".join(f"{name} ({group})" for name, group in columns) + " |",
            "|---" * (2 + len(columns)) + "|",
        ]
        first = ["untouched model", ""]
        for column in columns:
            values = [
                (run["case"], row["before"])
                for run in runs
                if run["method"] == "all but one" and (row := find(run["scores"], *column)) and row["before"] is not None
            ]
            first.append(mean(values) if values else "–")
        lines.append("| " + " | ".join(first) + " |")
        for name in METHODS:
            own = [run for run in runs if run["method"] == name]
            cells = []
            for column in columns:
                values = [(run["case"], row["after"]) for run in own if (row := find(run["scores"], *column))]
                cells.append(mean(values) if values else "–")
            if own:
                lines.append(f"| {name} | {len(own)} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["## 4. What does it cost?", "", "| | network calls | seconds | what the detectors found |", "|---|---|---|---|"]
    for name in METHODS:
        if own := [run for run in runs if run["method"] == name]:
            failures = [run["failure"].split(":")[0] for run in own if run["failure"]]
            found = ", ".join(f"{failures.count(f)} of {len(own)} {f}" for f in dict.fromkeys(failures)) or "nothing"
            lines.append(
                f"| {name} | {mean([(run['case'], run['cost']['network_calls']) for run in own])} | {mean([(run['case'], run['cost']['training_seconds']) for run in own])} | {found} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    given = arguments(__doc__, "claims", None, seeds={"type": int, "default": 3})
    if given.write:
        given.write.write_text(page("The claims, measured", "claims.py", [NOTE, write(given.out)]))
        return
    for seed in range(given.seeds):
        for case in CASES:
            for name in METHODS:
                if name == "without an alternative" and "=" not in case:
                    continue  # it has none
                once(given.out / f"{case}-{name}-{seed}.json", functools.partial(measure, case, name, seed))


if __name__ == "__main__":
    main()
