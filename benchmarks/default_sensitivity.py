"""Where the defaults of All but One's training come from: one setting changed at a time, on the
embedded model, without the closed form.

    python benchmarks/default_sensitivity.py [--n 64] [--case pig=cow] [--only "lam 0"]

Finished results are not computed again: after an interruption the same command continues.
"""

import functools
from dataclasses import replace

from common import COLUMNS as COMMON_COLUMNS
from common import TRAINED, arguments, head, once, print_row, score_cells
from main_results import measure

from unconcept import AllButOne
from unconcept.evaluation.scores import PIXELS

BASE = TRAINED


def tuned(**settings) -> AllButOne:
    return replace(BASE, tune=replace(BASE.tune, **settings))


SETTINGS = {
    "defaults": BASE,
    "joint instead of surgical": replace(BASE, surgical=False),
    **{f"lam {v}": replace(BASE, lam=v) for v in (0.0, 0.1, 10.0)},
    **{f"keep {v}": replace(BASE, rho=v) for v in (0.0, 0.3, 3.0)},
    **{f"onset {v}": replace(BASE, onset=v) for v in (0.7, 0.8, 0.9)},
    **{f"trajectories {v}": replace(BASE, trajectories=v) for v in (8, 24, 48)},
    **{f"points {v}": replace(BASE, points=v) for v in (6, 25)},
    **{f"whiten {v}": tuned(whiten=v) for v in (None, 1e-1, 1e-2, 1e-3, 1e-4)},
    **{f"lr {v}": tuned(lr=v) for v in (3e-4, 3e-3)},
    **{f"steps {v}": tuned(steps=v) for v in (35, 150)},
    **{f"batch {v}": tuned(batch_size=v) for v in (4, 16)},
    **{f"group {v}": tuned(group=v) for v in ("cross-attention", "self-attention", "all")},
}
COLUMNS = (*COMMON_COLUMNS, (PIXELS, "unrelated"))


def main() -> None:
    given = arguments(
        __doc__, "defaults", 64, case={"default": "pig=cow"}, only={"choices": SETTINGS}
    )
    print(
        "\n".join(
            head(["setting", "seconds", "steps", *(f"{name} ({group})" for name, group in COLUMNS)])
        )
    )
    for name in [given.only] if given.only else SETTINGS:
        make = functools.partial(measure, [given.case], given.n, SETTINGS[name])
        if result := once(given.out / f"{given.case} {name} {given.n}.json", make):
            facts = [name, str(result["seconds"]), str(result["training"]["steps"])]
            print_row([*facts, *score_cells(result["scores"], COLUMNS)])


if __name__ == "__main__":
    main()
