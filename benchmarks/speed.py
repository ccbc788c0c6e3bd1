"""Erased and kept against network calls: All but One with less and less work, and ESD in its authors' loop with more and more.

    python benchmarks/speed.py [--n 60]  # hours; what is done is not done again
    python benchmarks/speed.py --erase                                   # the edits alone
    python benchmarks/speed.py --write docs/speed.md                     # the table, and docs/speed.png

A network call is one picture through the denoiser, forward, in the erasing alone. Each setting erases the same concepts; shares are over all
their pictures, with Wilson intervals. ESD is the authors' (ESD-x, their learning rate and η), and once more with the learning rate that is best here.
"""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import alone, arguments, head, once, page, plain, pooled
from erasures import erased, measure

from unconcept import AllButOne, Concept, load
from unconcept.methods import ESD
from unconcept.models.emoji.known import complete
from unconcept.scores import find

CASES = ("pig=cow", "castle=house", "guitar=violin", "rose=tulip", "watercolor=pencil sketch")
BASE = AllButOne()


def lighter(trajectories: int, points: int, steps: int) -> AllButOne:
    return replace(BASE, trajectories=trajectories, points=points, tune=replace(BASE.tune, steps=steps))


METHODS: dict[str, dict[str, Any]] = {
    "All but One": {"4, 6, 12": lighter(4, 6, 12), "8, 8, 25": lighter(8, 8, 25), "defaults": BASE, "32, 12, 100": lighter(32, 12, 100)},
    "ESD-x, lr 1e-5": {str(steps): ESD(steps=steps, lr=1e-5) for steps in (250, 1000)},
    "ESD-x, lr 3e-4": {str(steps): ESD(steps=steps, lr=3e-4) for steps in (60, 250, 1000)},
}
COLUMNS = (("concept", "target"), ("right", "neighbour"), ("right", "unrelated"))


def summary(results: list[dict]) -> dict[str, tuple[float, float, float]]:
    """Network calls and seconds (mean, least, most), and the share of every column with its interval, over concepts."""
    found = {}
    for name in ("network_calls", "seconds"):
        values = [float(r[name]) for r in results]
        found[name.replace("_", " ")] = (sum(values) / len(values), min(values), max(values))
    for name, group in COLUMNS:
        if share := pooled([find(r["scores"], name, group) for r in results], "after"):
            found[f"{name}, {group}"] = (share["value"], *share["ci95"])
    return found


def plot(rows: dict[tuple[str, str], dict], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (name, group) in zip(figure.subplots(1, len(COLUMNS), sharex=True, sharey=True), COLUMNS):
        for method in METHODS:
            own = [found for (m, _), found in rows.items() if m == method]
            x, y = [f["network calls"][0] for f in own], [f[f"{name}, {group}"] for f in own]
            low, high = [v[0] - v[1] for v in y], [v[2] - v[0] for v in y]
            axes.errorbar(x, [v[0] for v in y], [low, high], marker="o", capsize=2, label=method)
        axes.set(title=f"{name} ({group})", xscale="log", xlabel="network calls", ylim=(-0.03, 1.03))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    given, rows = arguments(__doc__, "speed", 60, erase={"action": "store_true"}), {}
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
    if not rows:
        return
    names = list(next(iter(rows.values())))
    lines = head(["method", "setting", *names])
    for (method, setting), found in rows.items():
        cells = [f"{v:.0f}" if name in names[:2] else f"{v:.2f} [{low:.2f}, {high:.2f}]" for name, (v, low, high) in found.items()]
        lines.append(f"| {method} | {setting} | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    if given.write:
        plot(rows, given.write.with_suffix(".png"))
        note = ["", f"![the curves]({given.write.stem}.png)", "", "Settings of All but One are trajectories, points, steps; of ESD steps."]
        given.write.write_text(page("Erased and kept against network calls", "speed.py", lines + note))


if __name__ == "__main__":
    main()
