"""Choose each method's settings for the embedded model: a few candidates are tried on two pairs of
the pair benchmark's tuning half, and the best is used everywhere.

    python benchmarks/hyperparameter_search.py [--only esd]
    python benchmarks/hyperparameter_search.py --write               # into the package

Finished results are not computed again.

The pairs are the first near and the first far one in the benchmark's order, with every third prompt
of each. A candidate's score is the harmonic mean of three shares: the concept removed, neighbours
kept, unrelated images kept; then the mean over the pairs. No table of results uses these pairs.
All but One is not tuned here but in benchmarks/default_sensitivity.py.
"""

import argparse
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import pairs
import yaml
from common import RESULTS
from pair_cases import Case, draw_cases, spread
from pair_figures import summary

from unconcept.models.emoji.loading import FOLDER

EVERY = 3
# Fixed for all candidates of a method, so that one takes about a minute.
FIXED = {
    "concept-ablation": {
        "frozen": True,
        "steps": 150,
        "batch_size": 8,
        "images": 32,
        "sampling_steps": 25,
    },
    "esd": {"steps": 150, "sampling_steps": 12},
    "rece": {},
    "receler": {"steps": 250, "attacks": 2, "sampling_steps": 12},
    "sae": {},
    "sdd": {"steps": 150, "sampling_steps": 12, "average": 0.95},
    "sld": {},
    "speed": {},
    "spm": {"steps": 150, "sampling_steps": 12},
    "uce": {},
}
TRIED: dict[str, dict[str, list[Any]]] = {
    "concept-ablation": {"lr": [3e-4, 1e-3]},
    "esd": {"lr": [3e-4, 1e-3]},
    "rece": {"tokens": ["last", "all"], "lam": [0.1, 1.0]},
    "receler": {"lr": [1e-3, 3e-3], "mask": ["range", "otsu"]},
    "sae": {"features": [2048], "active": [16, 32]},
    "sdd": {"lr": [1e-4, 3e-4, 1e-3]},
    "sld": {"warmup": [2], "scale": [200.0, 500.0, 2000.0]},
    "speed": {"params": ["V", "KV"]},
    "spm": {"lr": [1e-2], "lam": [1.0, 1000.0]},
    "uce": {"tokens": ["last", "all"], "lam": [0.1, 0.5], "phrasings": ["bare", "article"]},
}


def candidates(name: str) -> list[dict[str, Any]]:
    keys, values = list(TRIED[name]), itertools.product(*TRIED[name].values())
    return [{**FIXED[name], **dict(zip(keys, chosen))} for chosen in values]


def spec(name: str, settings: dict[str, Any]) -> str:
    """A candidate as `pairs.method_of` reads it."""
    texts = []
    for key, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        texts.append(f"{key}={text}")
    return f"{name}:{','.join(texts)}"


def tuning_pairs() -> list[Case]:
    """The first near and the first far pair of the tuning half."""
    cases = spread([case for case in draw_cases() if case.half == "tuning"])
    chosen = []
    for kind in ("near", "far"):
        chosen.append(next(case for case in cases if case.kind == kind))
    return chosen


def figures(name: str, settings: dict[str, Any], out: Path) -> list[dict[str, float | None]]:
    """The figures of a candidate on the pairs that are finished."""
    finished = []
    for case in tuning_pairs():
        file = pairs.result_file(pairs.one_case(case, (), out, EVERY), spec(name, settings), case)
        if file.exists():
            finished.append(summary(case, json.loads(file.read_text())["images"]))
    return finished


def score(measured: list[dict[str, float | None]]) -> float:
    """Harmonic mean of what is removed and what is kept, mean over the pairs."""
    means = []
    for pair in measured:
        shares = (1 - (pair["left"] or 0), pair["neighbour kept"], pair["unrelated kept"])
        means.append(statistics.harmonic_mean([max(share or 0.0, 0.0) for share in shares]))
    return statistics.fmean(means)


def best(name: str, out: Path) -> dict[str, Any] | None:
    """The settings of the candidate with the highest score among those finished on every pair.

    Of equal scores the one that moves unrelated images less.
    """
    ranked = []
    for place, settings in enumerate(candidates(name)):
        measured = figures(name, settings, out)
        if len(measured) == len(tuning_pairs()):
            moved = statistics.fmean(pair["unrelated moved"] or 0.0 for pair in measured)
            ranked.append((-round(score(measured), 3), moved, place, settings))
    return min(ranked)[3] if ranked else None


def write(out: Path) -> None:
    """The best finished settings of every method, into the package."""
    file = FOLDER / "methods.yaml"
    old = file.read_text(encoding="utf-8")
    head = "".join(line for line in old.splitlines(keepends=True) if line.startswith("#"))
    chosen = yaml.safe_load(old)
    for name in TRIED:
        settings = best(name, out)
        if settings:
            chosen[name] = settings
    file.write_text(head + yaml.safe_dump(chosen), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=TRIED)
    parser.add_argument("--out", type=Path, default=RESULTS / "pairs")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write the best finished settings into the package, and run nothing",
    )
    given = parser.parse_args()
    if given.write:
        write(given.out)
        return
    for name in [given.only] if given.only else TRIED:
        specs = [spec(name, settings) for settings in candidates(name)]
        for case in tuning_pairs():
            pairs.run(pairs.one_case(case, specs, given.out, EVERY))
        for settings in candidates(name):
            measured = figures(name, settings, given.out)
            if measured:
                print(f"{spec(name, settings)}  score {score(measured):.3f}", flush=True)


if __name__ == "__main__":
    main()
