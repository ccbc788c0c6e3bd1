"""The paper's claims, measured: All but One against its own ablations and against ESD's loss, in
the same training loop and from the same seeds.

    python benchmarks/ablations.py [--seeds 3]     # hours; finished results are not computed again
    python benchmarks/result_pages.py ablations    # the tables of the finished results

(1) Do objects fall apart?  (2) Does the image of the same seed drift?  (3) Does the rest suffer?
(4) What does it cost?
"""

import functools
import itertools
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common import TRAINED, alone, arguments, machine, once, plain

from unconcept import AllButOne, Concept, Edit, load
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark
from unconcept.evaluation.failure_detection import detect_failure
from unconcept.evaluation.features import features_or_none
from unconcept.evaluation.runner import Measures, evaluate, images_before
from unconcept.evaluation.scores import PIXELS
from unconcept.methods.all_but_one import mse
from unconcept.models.emoji.concepts import complete
from unconcept.models.image_cache import cache_folder
from unconcept.models.interface import Model, Sampling
from unconcept.models.sampling import ImageSampler
from unconcept.profiling.usage import count_calls
from unconcept.training import concept_replay
from unconcept.training.replay import Replay, ReplayPlan, record

CASES = (
    "pig=cow",
    "castle=house",
    "guitar=violin",
    "watercolor=pencil sketch",
    "neon=sepia",
    "weapon",
)
PROMPTS_PER_GROUP = {"target": 32, "synonym": 8, "neighbour": 24, "unrelated": 24}


@dataclass(frozen=True, kw_only=True)
class EsdLoss(AllButOne):
    """ESD's loss (Gandikota et al. 2023) on our replay, weights and schedule: ε_θ(x, c) → ε*(x, ∅)
    − η (ε*(x, c) − ε*(x, ∅)), and no other term.

    This compares losses. The authors' ESD also differs in the source of x_t, the learning rate and
    the number of steps.
    """

    def loss(self, student, z, kappa, eta):
        ε_c = student(z.x, z.t, z.conditions["c"])
        return mse(ε_c, z.targets["null"] - eta * (z.targets["c"] - z.targets["null"]))


BASE = TRAINED
METHODS: dict[str, AllButOne] = {
    "all but one": BASE,
    "without the ∅ term": replace(BASE, lam=0.0),
    "joint instead of surgical": replace(BASE, surgical=False),
    # One point of each trajectory, as in methods that sample anew for every step.
    "without replay, at equal cost": replace(BASE, points=1),
    "without an alternative": BASE,
    "ESD's loss, η = 1": EsdLoss(start="none", rounds=1, rho=0.0, lam=0.0, eta=1.0, tune=BASE.tune),
    "without the keep term": replace(BASE, rho=0.0),
    "without weight decay": replace(BASE, tune=replace(BASE.tune, decay=0.0)),
    "without whitening": replace(BASE, tune=replace(BASE.tune, whiten=None)),
}
OWN = "KID EffLite0 to the alternative's own pictures"
REAL = "KID EffLite0 to real pictures"
TABLES = {
    "1. Do objects fall apart? (the concept's images)": (
        ("confidence of the judge", "target"),
        (OWN, "target"),
        (REAL, "target"),
    ),
    "2. Does the image of the same seed drift? (the concept's images)": (
        ("layout change, 8x8 L1", "target"),
        ("background change, rim L1", "target"),
        ("background", "target"),
        ("other", "target"),
    ),
    "3. Does the rest suffer?": (
        ("right", "neighbour"),
        ("right", "unrelated"),
        (PIXELS, "neighbour"),
        (PIXELS, "unrelated"),
        (REAL, "unrelated"),
        ("drift of the unconditional prediction", "structure"),
    ),
    "Is it erased at all?": (
        ("concept", "target"),
        ("concept", "synonym"),
        ("alternative", "target"),
    ),
}


class Recorder:
    """`record` with a cache: methods of one concept and seed share their trajectories. The cost of
    a reused replay counts for every method.
    """

    def __init__(self) -> None:
        self.replays: dict[str, tuple[Replay, int, float]] = {}
        self.calls, self.seconds = 0, 0.0  # cost of the reused replays

    def __call__(self, model: Model, plan: ReplayPlan) -> Replay:
        key = json.dumps(asdict(plan))
        if key in self.replays:
            replay, calls, seconds = self.replays[key]
            self.calls += calls
            self.seconds += seconds
            return replay
        began = time.perf_counter()
        with count_calls(model) as calls:
            replay = record(model, plan)
        self.replays[key] = replay, calls["n"], time.perf_counter() - began
        return replay


def erased(model: Model, case: str, name: str, seed: int, file: Path) -> Edit:
    """The edit in `file`, computed now if the file does not exist. Its card has the cost."""
    if file.exists():
        return Edit.load(file)
    method, concept, recorder = METHODS[name], complete(Concept.parse(case)), concept_replay.record
    if name == "without an alternative":
        concept = concept.with_(alternative=None)
    calls_saved, seconds_saved, began = recorder.calls, recorder.seconds, time.perf_counter()
    with count_calls(model) as calls:
        edit = replace(method, tune=replace(method.tune, seed=seed))(model, concept)
    seconds = time.perf_counter() - began + recorder.seconds - seconds_saved
    cost = {
        "network_calls": calls["n"] + recorder.calls - calls_saved,
        "seconds": round(seconds, 1),
    }
    edit = replace(edit, card={**edit.card, "cost": cost})
    edit.save(file)
    return edit


def measure(case: str, name: str, seed: int, file: Path) -> dict[str, Any]:
    model = load("emoji")
    edit = erased(model, case, name, seed, file)
    exam = EmojiBenchmark([complete(Concept.parse(case))], PROMPTS_PER_GROUP, seed=2000 + seed)
    sampler = ImageSampler(model, Sampling(seed=60 + seed), cache_folder())
    before = images_before(sampler, exam)
    measures = Measures(controls=8, features=features_or_none())
    found = evaluate(sampler, edit, exam, before=before, measures=measures)
    return {
        "case": case,
        "method": name,
        "seed": seed,
        "machine": machine(),
        "cost": {**edit.card["cost"], "steps": edit.card["training"]["steps"]},
        "scores": [
            row
            for row in found.scores.to_json()
            if (row["name"], row["group"]) in itertools.chain(*TABLES.values())
        ],
        "failure": detect_failure(found.scores, before, found.after),
    }


def main() -> None:
    only = {"nargs": "+", "choices": METHODS, "default": list(METHODS), "metavar": "METHOD"}
    given = arguments(__doc__, "claims", None, seeds={"type": int, "default": 3}, only=only)
    for seed, case in itertools.product(range(given.seeds), CASES):
        with alone(given.out / f"{case}-{seed}") as mine:
            if not mine:
                continue  # another process computes it
            concept_replay.record = Recorder()
            for name in given.only:
                if name == "without an alternative" and "=" not in case:
                    continue  # the case has no alternative anyway
                file = plain(given.out / f"{case}-{name}-{seed}.safetensors")
                once(file.with_suffix(".json"), functools.partial(measure, case, name, seed, file))


if __name__ == "__main__":
    main()
