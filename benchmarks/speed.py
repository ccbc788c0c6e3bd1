"""Erased and kept against network calls: All but One with less and less work, and ESD in its authors' loop with more and more.

    python benchmarks/speed.py [--n 40]  # hours; what is done is not done again
    python benchmarks/speed.py --erase                                   # the edits alone
    python benchmarks/speed.py --write docs/speed.md                     # the table, and docs/speed.png

A network call is one picture through the denoiser, forward, in the erasing alone. Each setting erases the same concepts; shares are over all
their pictures, with Wilson intervals. ESD is the authors' (ESD-x, their learning rate and η), and once more with the learning rate that is best here.
"""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import alone, arguments, cell, curves, head, once, page, plain, pooled
from erasures import erased, measure

from unconcept import AllButOne, Concept, load
from unconcept.evaluation.scores import find_score
from unconcept.methods.esd import ESD
from unconcept.models.emoji.concepts import complete

CASES = ("pig=cow", "castle=house", "guitar=violin", "rose=tulip", "watercolor=pencil sketch")
BASE = AllButOne()


def lighter(trajectories: int, points: int, steps: int) -> AllButOne:
    return replace(BASE, trajectories=trajectories, points=points, tune=replace(BASE.tune, steps=steps))


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
NOTE = """Settings of All but One are trajectories, points of each, and steps (`settings: {trajectories: 8, points: 8, tune: {steps: 100}}`); of ESD steps. Four of the concepts are objects, one is
a style: 25 steps of few trajectories are enough for the objects, and leave the style as it was. ESD's own loop, at the learning rate of its authors, leaves about half of the pictures that show
the concept on this small model; at thirty times the rate it takes the concept away with few calls, and neighbours with it."""
COLUMNS = (("concept", "target"), ("concept", "synonym"), ("alternative", "target"), ("right", "neighbour"), ("right", "unrelated"))
DRAWN = {"concept left": "concept, target", "alternative instead": "alternative, target", "neighbours right": "right, neighbour", "unrelated right": "right, unrelated"}  # fmt: skip


def summary(results: list[dict], when: str = "after") -> dict[str, dict]:
    """Over concepts: network calls and seconds (mean, least, most), and the share of every column, after the erasure or before."""
    found = {}
    for name in ("network_calls", "seconds"):
        values = [float(r[name]) for r in results]
        found[name.replace("_", " ")] = {"value": sum(values) / len(values), "ci95": [min(values), max(values)]}
    for name, group in COLUMNS:
        if share := pooled([find_score(r["scores"], name, group) for r in results], when):
            found[f"{name}, {group}"] = share
    return found


def figure(rows: dict[tuple[str, str], dict], file: Path) -> None:
    own = lambda method, column: [(found["network calls"]["value"], found[column]) for (m, _), found in rows.items() if m == method]
    curves(file, {title: {method: own(method, column) for method in METHODS} for title, column in DRAWN.items()}, "network calls")


def main() -> None:
    given, rows, before = arguments(__doc__, "speed", 40, erase={"action": "store_true"}), {}, {}
    for method, settings in METHODS.items():
        for setting, make in settings.items():
            edit = lambda case, name=f"{method} {setting}": given.out / f"{name} {case}.safetensors"
            for case in CASES if given.erase else ():
                with alone(plain(edit(case))) as first:
                    if first:
                        erased(load("emoji"), [complete(Concept.parse(case))], make, edit(case))
            run = lambda case, make=make, edit=edit: functools.partial(measure, [case], given.n, make, file=edit(case))
            asks = not (given.write or given.erase)
            done = [once(given.out / f"{method} {setting} {case} {given.n}.json", run(case) if asks else None) for case in CASES]
            if done := [found for found in done if found]:
                rows[method, setting] = summary(done)
                before = before if len(done) < len(CASES) else summary(done, "before")
    if not rows:
        return
    names = list(dict.fromkeys(name for found in rows.values() for name in found))
    lines = head(["method", "setting", names[0], "of ESD's 1000 steps", *names[1:]])
    lines.append("| untouched model | – | – | – | – | " + " | ".join(cell(before.get(name)) for name in names[2:]) + " |")
    longest = max(found[names[0]]["value"] for found in rows.values())
    for (method, setting), found in rows.items():
        calls, seconds = (found[name]["value"] for name in names[:2])
        cells = [f"{calls:,.0f}", f"1/{longest / calls:.1f}", f"{seconds:,.0f}", *(cell(found.get(name)) for name in names[2:])]
        lines.append(f"| {method} | {setting} | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    if given.write:
        figure(rows, given.write.with_suffix(".png"))
        note = ["", f"![the curves]({given.write.stem}.png)", "", NOTE]
        given.write.write_text(page("Erased and kept against network calls", "speed.py", lines + note))


if __name__ == "__main__":
    main()
