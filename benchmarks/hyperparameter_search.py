"""Choose each method's settings for the embedded model: a few candidates are tried on one concept,
and the best is used for all others.

    python benchmarks/hyperparameter_search.py [--case cat=dog] [--only esd]
    python benchmarks/hyperparameter_search.py --write               # into the package

Finished results are not computed again.

Every candidate takes about a minute on two cores. The best one has the largest area under the
removed-against-kept curve among those without a detected failure. No table of results uses the
case. All but One is not tuned here but in benchmarks/default_sensitivity.py.
"""

import argparse
import itertools
import json
from pathlib import Path

import yaml

from unconcept.concepts.concept import Concept
from unconcept.config.overrides import override
from unconcept.methods import METHODS
from unconcept.models.emoji.loading import FOLDER
from unconcept.models.image_cache import cache_folder
from unconcept.workflows.comparison import compare

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
    "spm": {"steps": 150, "sampling_steps": 12},
    "uce": {},
}
TRIED = {
    "concept-ablation": {"lr": [1e-4, 3e-4, 1e-3]},
    "esd": {"lr": [1e-4, 3e-4, 1e-3]},
    "rece": {"tokens": ["last", "all"], "lam": [0.1, 1.0]},
    "receler": {"lr": [1e-3, 3e-3], "mask": ["range", "otsu"]},
    "sae": {"features": [2048, 4096], "active": [16, 32]},
    "sdd": {"lr": [3e-5, 1e-4, 3e-4]},
    "sld": {"warmup": [2], "scale": [50.0, 200.0, 500.0, 2000.0]},
    "spm": {"lr": [1e-3, 1e-2], "lam": [1.0, 10.0, 1000.0]},
    "uce": {"tokens": ["last", "all"], "lam": [0.1, 0.5], "phrasings": ["article", "all"]},
}


def candidates(name: str) -> list[dict]:
    keys, values = list(TRIED[name]), itertools.product(*TRIED[name].values())
    return [{**FIXED[name], **dict(zip(keys, chosen))} for chosen in values]


def called(settings: dict) -> str:
    return " ".join(f"{key}-{value}" for key, value in settings.items()) or "defaults"


def best(name: str, out: Path) -> dict | None:
    """The settings of the finished candidate with the largest area.

    An ignored alternative does not count as a failure here: some methods do not take one.
    """
    done = [
        (json.loads(file.read_text()), s)
        for s in candidates(name)
        if (file := out / name / called(s) / "compare.json").exists()
    ]

    def rank(entry: tuple[dict, dict]) -> tuple[bool, float]:
        result = entry[0]["methods"][0]
        works = not result["failure"] or result["failure"].startswith("alternative ignored")
        return works, result["area"] or 0.0

    return max(done, key=rank)[1] if done else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", default="cat=dog")
    parser.add_argument("--only", choices=TRIED)
    parser.add_argument("--out", type=Path, default=Path("runs/settings"))
    parser.add_argument(
        "--write",
        action="store_true",
        help="write the best finished settings into the package, and run nothing",
    )
    given = parser.parse_args()
    if given.write:
        file = FOLDER / "methods.yaml"
        head = "".join(
            line for line in file.read_text().splitlines(keepends=True) if line.startswith("#")
        )
        chosen = {name: settings for name in TRIED if (settings := best(name, given.out))}
        file.write_text(head + yaml.safe_dump(chosen))
        return
    print("| method | settings | seconds | network calls | area | detected failure |")
    print("|---|---|---|---|---|---|")
    for name in [given.only] if given.only else TRIED:
        for settings in candidates(name):
            folder = given.out / name / called(settings)
            if not (folder / "compare.json").exists():
                method = override(METHODS[name](), settings, name)
                compare(
                    [Concept.parse(given.case)],
                    {name: method},
                    out=folder,
                    force=True,
                    cache=cache_folder(),
                )
            entry = json.loads((folder / "compare.json").read_text())["methods"][0]
            cost = entry["cost"]
            cells = [name, called(settings), cost["seconds"], cost["network_calls"]]
            cells += [entry["area"], entry["failure"]]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
