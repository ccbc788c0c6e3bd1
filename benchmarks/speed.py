"""How well an erasure works against its network calls: All but One with fewer and fewer, and ESD in
its authors' loop with more and more.

    python benchmarks/speed.py [--n 40]  # hours; finished results are not computed again
    python benchmarks/speed.py --erase                                   # the edits alone
    python benchmarks/result_pages.py speed

A network call is one image through the denoiser, forward; only those of the erasure count. Each
setting erases the same concepts; shares are over the images of all concepts, with Wilson intervals.
ESD runs with its authors' settings (ESD-x, their learning rate and η), and with the learning rate
that is best here.
"""

import functools
from dataclasses import replace
from typing import Any

from common import COLUMNS, TRAINED, alone, arguments, cell, head, once, plain, pooled
from main_results import erased, measure

from unconcept import AllButOne, Concept, load
from unconcept.evaluation.scores import find_score
from unconcept.methods.esd import ESD
from unconcept.models.emoji.concepts import complete

CASES = ("pig=cow", "castle=house", "guitar=violin", "rose=tulip", "watercolor=pencil sketch")
BASE = TRAINED


def lighter(trajectories: int, points: int, steps: int) -> AllButOne:
    return replace(
        BASE, trajectories=trajectories, points=points, tune=replace(BASE.tune, steps=steps)
    )


METHODS: dict[str, dict[str, Any]] = {
    "All but One": {
        "4, 6, 12": lighter(4, 6, 12),
        "8, 8, 25": lighter(8, 8, 25),
        "8, 8, 100": lighter(8, 8, 100),
        "12, 12, 75": lighter(12, 12, 75),
        "defaults": BASE,
        "32, 12, 100": lighter(32, 12, 100),
    },
    "ESD-x, lr 1e-5": {"1000": ESD(steps=1000, lr=1e-5)},
    "ESD-x, lr 3e-4": {str(steps): ESD(steps=steps, lr=3e-4) for steps in (60, 250)},
}


def summary(results: list[dict], when: str = "after") -> dict[str, dict]:
    """Network calls and seconds over the concepts (mean, minimum, maximum), and the share of every
    column after the erasure, or before.
    """
    figures = {}
    for name in ("network_calls", "seconds"):
        values = [float(r[name]) for r in results]
        figures[name.replace("_", " ")] = {
            "value": sum(values) / len(values),
            "ci95": [min(values), max(values)],
        }
    for name, group in COLUMNS:
        if share := pooled([find_score(r["scores"], name, group) for r in results], when):
            figures[f"{name}, {group}"] = share
    return figures


def main() -> None:
    given, rows, before = arguments(__doc__, "speed", 40, erase={"action": "store_true"}), {}, {}
    for method, settings in METHODS.items():
        for setting, make in settings.items():

            def edit(case, name=f"{method} {setting}"):
                return given.out / f"{name} {case}.safetensors"

            for case in CASES if given.erase else ():
                with alone(plain(edit(case))) as first:
                    if first:
                        erased(load("emoji"), [complete(Concept.parse(case))], make, edit(case))

            def run(case, make=make, edit=edit):
                return functools.partial(measure, [case], given.n, make, file=edit(case))

            done = [
                once(
                    given.out / f"{method} {setting} {case} {given.n}.json",
                    None if given.erase else run(case),
                )
                for case in CASES
            ]
            if done := [found for found in done if found]:
                rows[method, setting] = summary(done)
                before = before if len(done) < len(CASES) else summary(done, "before")
    if not rows:
        return
    names = list(dict.fromkeys(name for found in rows.values() for name in found))
    lines = head(["method", "setting", names[0], "of ESD's 1000 steps", *names[1:]])
    lines.append(
        "| untouched model | – | – | – | – | "
        + " | ".join(cell(before.get(name)) for name in names[2:])
        + " |"
    )
    longest = max(found[names[0]]["value"] for found in rows.values())
    for (method, setting), found in rows.items():
        calls, seconds = (found[name]["value"] for name in names[:2])
        cells = [
            f"{calls:,.0f}",
            f"1/{longest / calls:.1f}",
            f"{seconds:,.0f}",
            *(cell(found.get(name)) for name in names[2:]),
        ]
        lines.append(f"| {method} | {setting} | " + " | ".join(cells) + " |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
