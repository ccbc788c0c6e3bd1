"""Where the defaults of All but One come from: one setting changed at a time, on the embedded model.

    python benchmarks/defaults.py [--n 64] [--case pig=cow] [--only "lam 0"] [--out runs/defaults]

What is done is not done again: kill it, and the same command goes on.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from erasures import measure

from unconcept import AllButOne
from unconcept.scores import PIXELS, find

BASE = AllButOne()


def tuned(**settings) -> AllButOne:
    return replace(BASE, tune=replace(BASE.tune, **settings))


SETTINGS = {
    "defaults": BASE,
    "joint instead of surgical": replace(BASE, surgical=False),
    **{f"lam {v}": replace(BASE, lam=v) for v in (0.0, 0.1, 10.0)},
    **{f"keep {v}": replace(BASE, keep=v) for v in (0.0, 0.3, 3.0)},
    **{f"trajectories {v}": replace(BASE, trajectories=v) for v in (8, 24, 48)},
    **{f"points {v}": replace(BASE, points=v) for v in (6, 25)},
    **{f"whiten {v}": tuned(whiten=v) for v in (None, 1e-1, 1e-2, 1e-4)},
    **{f"lr {v}": tuned(lr=v) for v in (3e-4, 3e-3)},
    **{f"steps {v}": tuned(steps=v) for v in (25, 100)},
    **{f"batch {v}": tuned(batch=v) for v in (8, 32)},
    **{f"group {v}": tuned(group=v) for v in ("cross-attention", "self-attention", "all")},
}
COLUMNS = (("concept", "target"), ("concept", "synonym"), ("alternative", "target"), ("right", "neighbour"), ("right", "unrelated"), (PIXELS, "unrelated"))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--case", default="pig=cow")
    parser.add_argument("--only", choices=SETTINGS)
    parser.add_argument("--out", type=Path, default=Path("runs/defaults"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    print("| setting | seconds | steps | " + " | ".join(f"{name}, {group}" for name, group in COLUMNS) + " |")
    print("|---" * (3 + len(COLUMNS)) + "|")
    for name in [given.only] if given.only else SETTINGS:
        file = given.out / f"{given.case} {name} {given.n}.json".replace(" ", "-")
        if not file.exists():
            file.write_text(json.dumps(measure([given.case], given.n, SETTINGS[name]), indent=1))
        result = json.loads(file.read_text())
        rows = [find(result["scores"], *column) for column in COLUMNS]
        cells = [f"{row['before']} → {row['after']}" if row and row["before"] is not None else str(row and row["after"]) for row in rows]
        print(f"| {name} | {result['seconds']} | {result['training']['steps']} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
