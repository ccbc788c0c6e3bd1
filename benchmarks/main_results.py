"""Five erasures on the embedded model, measured with hundreds of pictures each: the table of docs/results.md.

    python benchmarks/erasures.py --erase                             # the five edits, as `unconcept erase` makes them
    python benchmarks/erasures.py [--n 200] [--only pig=cow]          # asked; what is done is not done again
    python benchmarks/erasures.py --outright --n 1000                 # the alternative alone, a third time
    python benchmarks/erasures.py --write docs/results.md             # of each case the largest n that was asked

Every single near neighbour is asked `n` times, and every other group 2n times (plainly, on a colour, in a style, in a scene, by turns of
chance), from the same seeds before and after. The edits lie beside the results, and may be made on one machine and asked on another.
With --outright the targets and the synonyms are asked `n` times each; before is the untouched model, asked for the alternative in the same
words: more than it draws can hardly come.
"""

import functools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from common import arguments, cell, head, machine, once, page, plain, pooled
from torch import Tensor

from unconcept import AllButOne, Concept, Edit, load
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark
from unconcept.evaluation.scores import PIXELS, find_score, scores
from unconcept.models.emoji.concepts import completed, near_in_words
from unconcept.models.image_cache import cache_folder, sample_images
from unconcept.models.interface import Model
from unconcept.profiling.usage import count_calls, peak_memory

CASES = {
    "pig=cow": ["pig=cow"],
    "castle=house": ["castle=house"],
    "watercolor=pencil sketch": ["watercolor=pencil sketch"],
    "weapon": ["weapon"],
    "three at once": ["pig=cow", "castle=house", "guitar=violin"],
}
NEAR = ["castle=house", "watercolor=pencil sketch", "three at once"]  # the alternative came in less than 98 %, by name or by a synonym
LOTS = 1000  # the first exam's seed
OUTRIGHT = 5  # lot of seeds; 0 is the first time, 1 the second, settings were tried out on 2 to 4
ROWS = (
    ("concept", "target", "the concept is left in"), ("concept: plain", "target", "asked plainly"), ("concept: colour", "target", "on a colour"),
    ("concept: style", "target", "in a style"), ("concept: scene", "target", "in scenes"),
    ("concept", "synonym", "by a synonym"), ("alternative", "target", "the alternative instead"), ("alternative", "synonym", "and by a synonym"), ("other", "target", "the other object of a scene stays"),
    ("right", "neighbour", "neighbours are right"), ("right", "unrelated", "unrelated is right"), (PIXELS, "unrelated", "pixels of unrelated moved"),
)  # fmt: skip


INTRODUCTION = """The edits of `unconcept erase` on the embedded model, with its defaults; the same prompts and seeds before (left of the arrow) and after, no seed of which a training began at. Of the prompts a quarter asks plainly,
a quarter on a colour, in a style, in a scene (a style is asked for plainly, on a colour, in a scene); every near neighbour is asked for by itself. All of it was made and asked twice, on two kinds of processor and from other seeds; where
the alternative came in less than 98 % it was asked for a thousand times more.

What erasing takes depends on whose cores these are. The second time two shared ones with AVX-512 multiplied matrices at 114 GFLOPS together: training the five, three times each, alone on both, took 34 to 48 s, and erasing 55 to 79 s
with the trajectories. The first time two with AVX2 did 90 GFLOPS: 60 to 76 s on both, in hours when they were busy. Fewer steps are no way to save: after 75 instead of 100 *watercolor* is left in 3.0 % [1.4 – 6.4] of its prompts (n 200).

## The first time

Made on two cores, *watercolor* and *weapon* on one each.
"""
AGAIN = """## The second time

Other cores, and so other roundings, and other seeds to ask from.
"""
ASKED_OUTRIGHT = """## The alternative, a third time

Where it came in less than 98 %, by name or by a synonym: made once more, and asked from seeds that nothing was chosen by, a thousand times by name and a thousand times by a synonym. What a model draws poorly can hardly come in the place
of anything, so the untouched model was asked for the alternative outright, in the same words from the same seeds as the third time.
"""
LOOKED_AT = """## Where it falls short

- *watercolor* becomes a pencil sketch in 95.4 % [94.2 – 96.4] of all 1,400, and of the two hundred of the second time in 94.5 %. It is about what the model can: asked outright, it draws one in 96.2 % [94.8 – 97.2] of the thousand (in scenes more,
  97.5 to 93.3 %; plainly less, 95.4 to 97.1 %). 43 of the thousand fall short, 14 of them outright, too; eleven are octopuses. Looked at side by side: the same drawings as outright, most with a trace of colour on a cheek, a flap or a lamp. Nothing that was tried on 400 other prompts is better
  than another training of the same settings, which gives 96.2, 97.2 and 97.2 % (three seeds; outright 95.8 %): 125 steps 97.0 and 95.2, 150 steps 97.2 and 96.8, a learning rate of 1.5e-3 96.2, 24 trajectories 92.8 and 95.5, every other point asked of the
  thing that its trajectory draws 97.5, 94.8 and 94.2, 48 phrasings of other things 89.5. On the first 400: half the weight decay 94.8, κ 1.05 with η 0.05 93.3. More wants a model that draws pencil sketches better.
- *castle=house* costs the house, its own alternative, two of 97 pictures the first time, three of 96 the second; asked 400 times more, from a third lot of seeds (the first edit), 5 of 393. Of all 600 it is right in 97.7 % before and in
  96.0 % after: .983 of what it was. All seven of the 400 that the judge sees otherwise (six lost, one gained; pixels moved by .004 to .010, another seed moves them by .2) are the same to the eye.
  In scenes the house comes in 84.2 % [78.9 – 88.4] of the third time (n 228), where the model asked outright draws one in 89.5 %; asked in any other way it comes in 99 % or more. The 36 without one are houses to the eye, the
  same as outright, all small and on a red ground of the model's choice; ten of them the judge passes over outright, too.
- *weapon*: the eagle, which lost the most of its neighbours before `emoji` was trained for longer, asked 400 times from other seeds is right in 96.0 % before and in 94.2 % [91.5 – 96.1] after: .982 of what it was.
- *three at once*: the guitars are the ones. Of the third thousand the alternative comes in 99.7 % of the pigs, in all castles, and in 87.1 % [83.1 – 90.3] of the guitars (n 333), where the model asked outright draws a violin in 95.8 %. The fifteen of the
  first time without one are violins to the eye, in shape nearly those that the untouched model draws when asked for one, and of these the judge passes over five: `emoji` draws a poor violin. As a neighbour it is right in 93.3 % [87.4 – 96.6]
  (n 120) before.

## Neighbours, one by one
"""


def measure(
    names: Sequence[str], n: int, method: Callable[..., Edit] | None = None, seed: int = 0, *, file: Path | None = None, single: bool = False,
    name: str = "emoji",
) -> dict:  # fmt: skip
    """Erase `names` with `method` (All but One's defaults), or take the edit in `file`, and ask every group n times; rows as in report.json.

    single: every neighbour n times, not all of them together, and the other groups 2n times.
    """
    model, concepts = load(name), read(names)
    edit = erased(model, concepts, method or AllButOne(), file)
    near = near_in_words(lambda prompts: model.encode(prompts)[model.prompt_states_key], concepts)
    groups = dict.fromkeys(("target", "synonym", "neighbour", "unrelated"), n)
    if single:
        nearby = max(len(EmojiBenchmark(concepts, {}, likely=near).nearby(c)) for c in concepts)
        groups = {**dict.fromkeys(groups, 2 * n), "neighbour": n * len(concepts) * nearby}
    exam = EmojiBenchmark(concepts, groups, seed=LOTS + seed, likely=near)
    return result(names, edit, exam, *both(model, edit, exam))


def outright(names: Sequence[str], n: int, file: Path) -> dict:
    """The targets n times and the synonyms n times with the edit in `file`; before: what the untouched model draws of the alternative, asked
    for it outright."""
    model, concepts = load("emoji"), read(names)
    if not all(concept.alternative for concept in concepts):
        raise SystemExit(f"{' + '.join(names)}: there is no alternative to ask for")
    edit = erased(model, concepts, AllButOne(), file)
    exam = EmojiBenchmark(concepts, {"target": n, "synonym": n}, seed=LOTS + OUTRIGHT)
    return result(names, edit, exam, *both(model, edit, exam, before=[q.instead for q in exam.cases]))


def read(names: Sequence[str]) -> tuple[Concept, ...]:
    return completed([Concept.parse(name) for name in names])


def erased(model: Model, concepts: Sequence[Concept], method: Callable[..., Edit], file: Path | None) -> Edit:
    """The edit in `file`; made now when it is not there. Its card says what it cost."""
    if file and plain(file).exists():
        return Edit.load(plain(file))
    start = time.perf_counter()
    with count_calls(model) as calls:
        edit = method(model, *concepts)
    cost = {"seconds": round(time.perf_counter() - start, 1), "peak_memory_bytes": peak_memory(), "network_calls": calls["n"]}
    edit = replace(edit, card={**edit.card, "cost": cost, "made_on": machine()})
    if file:
        edit.save(plain(file))
    return edit


def both(model: Model, edit: Edit, exam: EmojiBenchmark, *, before: Sequence[str] | None = None) -> tuple[Tensor, Tensor]:
    """Pictures of the exam's questions before (of other prompts, where they are given) and after, from seeds of its own lot."""
    first = 5_000_000 + 10_000 * (exam.seed - LOTS)
    prompts, seeds, base = [q.prompt for q in exam.cases], [first + i for i in range(len(exam.cases))], model.image_cache_key()
    draw = functools.partial(sample_images, model, batch=256 if model.device.type == "cuda" else None, cache=cache_folder())
    were = draw(before or prompts, seeds, made_by=base)
    with edit.on(model):
        return were, draw(prompts, seeds, made_by=base + edit.fingerprint())


def result(names: Sequence[str], edit: Edit, exam: EmojiBenchmark, before: Tensor, after: Tensor) -> dict:
    """What the edit cost, and the scores of pictures of the exam."""
    cost, training = edit.card.get("cost", {}), edit.card.get("training", {})
    return {"concepts": list(names), **cost, "training": training, "asked_on": machine(), "scores": scores(exam, before, after)}


def singles(rows: list[dict]) -> list[dict]:
    """The rows of single neighbours that could be drawn before."""
    return [row for row in rows if row["name"].startswith("right: ") and row["before"]]


def table(results: list[dict]) -> list[str]:
    """Markdown: every share as before → after [interval], n."""
    lines = head(["", *(" + ".join(r["concepts"]) for r in results)])
    for name, group, called in ROWS:
        lines.append(f"| {called} | " + " | ".join(cell(find_score(r["scores"], name, group), "after") for r in results) + " |")
    lines.append("| seconds of erasing | " + " | ".join(f"{r['seconds']:.0f}" for r in results) + " |")
    lines.append("| of them training | " + " | ".join(f"{r['training']['seconds']:.0f}" for r in results) + " |")
    lines.append("| peak memory, GiB | " + " | ".join(f"{r['peak_memory_bytes'] / 2**30:.1f}" for r in results) + " |")
    return lines


def alternatives(*times: list[dict]) -> list[str]:
    """Markdown: how often the alternative comes each time and in all, beside how often the untouched model draws it (in the last)."""
    lines = head(["erased", "asked", "the untouched model, outright", "the first time", "the second", "the third", "all together"])
    for results in zip(*times):
        for group, called in (("target", "by name"), ("synonym", "by a synonym")):
            rows = [find_score(r["scores"], "alternative", group) for r in results]
            if all(rows):
                shares = [pooled(rows[-1:], "before"), *(pooled([row], "after") for row in rows), pooled(rows, "after")]
                lines.append(f"| {' + '.join(results[0]['concepts'])} | {called} | " + " | ".join(map(cell, shares)) + " |")
    return lines


def neighbours(results: list[dict], again: list[dict]) -> list[str]:
    """Markdown: every neighbour of every case, the one that lost most of both times together first."""
    lines = head(["erased", "neighbour", "the first time", "the second", "both together"])
    for first, second in zip(results, again):
        rows = [
            (row, twin, together(row, twin))
            for row in singles(first["scores"])
            if (twin := find_score(second["scores"], row["name"], row["group"]))
        ]
        for *single, both_times in sorted(rows, key=lambda times: times[-1]["after"] / times[-1]["before"]):
            cells = " | ".join(cell(row, "after") for row in (*single, both_times))
            lines.append(f"| {' + '.join(first['concepts'])} | {both_times['name'][7:]} | {cells} |")
    return lines


def together(*rows: dict) -> dict:
    """One row of several: all their pictures, before and after."""
    before, after = pooled(rows, "before"), pooled(rows, "after")
    return {"name": rows[0]["name"], "before": before["value"], "after": after["value"], "n": after["n"], "ci95": after["ci95"]}


def asked(out: Path, name: str) -> dict:
    """The result of a case with the largest n."""
    files = sorted(out.glob(plain(out / f"{name}-*.json").name), key=lambda file: int(file.stem.rpartition("-")[2]))
    if not files:
        raise SystemExit(f"{name} was not asked yet: a page is written of all cases or not at all")
    return json.loads(files[-1].read_text())


def main() -> None:
    own: dict[str, dict] = {
        "only": {"choices": CASES},
        "erase": {"action": "store_true", "help": "make the edits alone"},
        "again": {
            "action": "store_const",
            "const": "again",
            "dest": "time",
            "help": "a second time: other edits, other seeds, kept in again/",
        },
        "outright": {
            "action": "store_const",
            "const": "outright",
            "dest": "time",
            "help": "the alternative alone, a third time, kept in outright/",
        },
    }
    given = arguments(__doc__, "erasures", 200, **own)
    if given.write:
        folders = (given.out, given.out / "again", given.out / "outright")
        first, second = ([asked(folder, name) for name in CASES] for folder in folders[:2])
        replaced = alternatives(*([asked(folder, name) for name in NEAR] for folder in folders))
        lines = [INTRODUCTION, *table(first), "", AGAIN, *table(second), "", ASKED_OUTRIGHT, *replaced, ""]
        lines += [LOOKED_AT, *neighbours(first, second)]
        given.write.write_text(page("Five erasures, measured", "erasures.py", lines))
        return
    for name in [given.only] if given.only else NEAR if given.time == "outright" else CASES:
        names, file = CASES[name], given.out / (given.time or "") / f"{name}.safetensors"
        if given.erase:
            erased(load("emoji"), read(names), AllButOne(), file)
            continue
        asking = functools.partial(measure, names, given.n, seed=int(given.time == "again"), file=file, single=True)
        ask = functools.partial(outright, names, given.n, file) if given.time == "outright" else asking
        for row in (once(file.with_name(f"{name}-{given.n}.json"), ask) or {"scores": []})["scores"]:
            print(f"  {row['group']:10} {row['name']:24} {cell(row, 'after')}", flush=True)


if __name__ == "__main__":
    main()
