"""Five erasures on the embedded model, measured with hundreds of pictures each: the table of docs/results.md.

    python benchmarks/erasures.py [--n 200] [--each 100] [--only pig=cow] [--out runs/erasures]

Each case is trained as `unconcept erase` trains it; then every group is asked `n` times and every near neighbour `each` times, from the
same seeds before and after. A neighbour that is right less than 98 % as often as before is asked twice as often again, from other seeds,
and all its pictures count: among fifty neighbours some lose three of a hundred by chance. A case that is done is not done again: kill it,
and the same command goes on.
"""

import functools
import time
from collections.abc import Callable, Sequence

import torch
from common import arguments, cell, head, once, page
from torch import Tensor

from unconcept import AllButOne, Concept, Edit
from unconcept.cost import counted, peak_memory
from unconcept.evaluate import fingerprint
from unconcept.gallery import cache_folder, pictures
from unconcept.models import Model, emoji
from unconcept.models.emoji.exam import Exam, Question, complete, near_in_words
from unconcept.scores import PIXELS, find, scores

CASES = {
    "pig=cow": ["pig=cow"],
    "castle=house": ["castle=house"],
    "watercolor=pencil sketch": ["watercolor=pencil sketch"],
    "weapon": ["weapon"],
    "three at once": ["pig=cow", "castle=house", "guitar=violin"],
}
ROWS = (
    ("concept", "target", "the concept is left in"), ("concept: scene", "target", "in scenes"), ("concept: style", "target", "in other styles"),
    ("concept", "synonym", "by a synonym"), ("alternative", "target", "the alternative instead"), ("alternative", "synonym", "and by a synonym"), ("other", "target", "the other object of a scene stays"),
    ("right", "neighbour", "neighbours are right"), ("right", "unrelated", "unrelated is right"), (PIXELS, "unrelated", "pixels of unrelated moved"),
)  # fmt: skip


INTRODUCTION = """`unconcept erase` with its defaults on the embedded model, on two processor cores; the same prompts and seeds before (left of the arrow) and after. A quarter
of the prompts asks plainly, a quarter on a colour, in a style, in a scene. The judge takes even pictures without any prompt for a weapon in 2 % (6 of 300), which is where *weapon*,
with nothing in its place, can get at best. A neighbour that is right less than 98 % as often as before is asked twice as often again, from other seeds, and all its pictures
count: among fifty neighbours some lose three of a hundred by chance.
"""


def measure(names: list[str], n: int, method: Callable[..., Edit] | None = None, seed: int = 0, each: int = 0) -> dict:
    """Erase `names` with `method` (All but One's defaults) from a fresh model and ask every group n times; rows as in report.json.

    each: how often every single neighbour is asked, at least; 0: n times all of them together.
    """
    model = emoji.load()
    concepts = [complete(Concept.parse(name)) for name in names]
    near = near_in_words(lambda prompts: model.encode(prompts)[model.words], concepts)
    nearby = max(len(Exam(concepts, {}, likely=near).nearby(c)) for c in concepts)
    groups = {"target": n, "synonym": n, "neighbour": each * len(concepts) * nearby or n, "unrelated": n}
    exam = Exam(concepts, groups, seed=1000 + seed, likely=near)
    start = time.perf_counter()
    with counted(model) as calls:
        edit = (method or AllButOne())(model, *concepts)
    seconds, memory = time.perf_counter() - start, peak_memory()
    before, after = both(model, edit, exam.questions, 5_000_000 + 10_000 * seed)
    rows = scores(exam, before, after)
    if each and (doubtful := [row["name"][7:] for row in single(rows) if row["after"] < 0.98 * row["before"]]):
        again = Exam(concepts, {"neighbour": 2 * groups["neighbour"]}, seed=2000 + seed, likely=near)
        more = [q for q in again.questions if q.name in doubtful]
        exam.questions += more
        before, after = (torch.cat(pair) for pair in zip((before, after), both(model, edit, more, 6_000_000 + 10_000 * seed)))
        rows = scores(exam, before, after)
    return {
        "concepts": names,
        "seconds": round(seconds, 1),
        "peak_memory_bytes": memory,
        "network_calls": calls["n"],
        "training": edit.card.get("training", {}),
        "scores": rows,
    }


def both(model: Model, edit: Edit, questions: Sequence[Question], first: int) -> tuple[Tensor, Tensor]:
    """Pictures of the questions before and after, from the seeds `first`, `first` + 1, ..."""
    prompts, seeds, base = [q.prompt for q in questions], [first + i for i in range(len(questions))], model.brush()
    before = pictures(model, prompts, seeds, made_by=base, cache=cache_folder())
    with edit.on(model):
        return before, pictures(model, prompts, seeds, made_by=base + fingerprint(edit), cache=cache_folder())


def single(rows: list[dict]) -> list[dict]:
    """The rows of single neighbours that could be drawn before."""
    return [row for row in rows if row["name"].startswith("right: ") and row["before"]]


def table(results: list[dict]) -> list[str]:
    """Markdown: every share as before → after [interval], n."""
    lines = head(["", *(" + ".join(r["concepts"]) for r in results)])
    for name, group, called in ROWS:
        lines.append(f"| {called} | " + " | ".join(cell(find(r["scores"], name, group), "after") for r in results) + " |")
    lines.append("| seconds of erasing | " + " | ".join(f"{r['seconds']:.0f}" for r in results) + " |")
    lines.append("| of them training | " + " | ".join(f"{r['training']['seconds']:.0f}" for r in results) + " |")
    lines.append("| peak memory, GiB | " + " | ".join(f"{r['peak_memory_bytes'] / 2**30:.1f}" for r in results) + " |")
    return lines


def neighbours(results: list[dict]) -> list[str]:
    """Markdown: every neighbour of every case, the one that lost most first."""
    lines = head(["erased", "neighbour", "right"])
    for result in results:
        for row in sorted(single(result["scores"]), key=lambda row: row["after"] / row["before"]):
            lines.append(f"| {' + '.join(result['concepts'])} | {row['name'][7:]} | {cell(row, 'after')} |")
    return lines


def main() -> None:
    given = arguments(__doc__, "erasures", 200, only={"choices": CASES}, each={"type": int, "default": 100})
    made = []
    for name in [given.only] if given.only else CASES:
        run = None if given.write else functools.partial(measure, CASES[name], given.n, each=given.each)
        if result := once(given.out / f"{name}-{given.n}.json", run):
            made.append(result)
            for row in () if given.write else result["scores"]:
                print(f"  {row['group']:10} {row['name']:24} {cell(row, 'after')}", flush=True)
    if given.write:
        lines = [INTRODUCTION, *table(made), "", "## Neighbours, one by one", "", *neighbours(made)]
        given.write.write_text(page("Five erasures, measured", "erasures.py", lines))


if __name__ == "__main__":
    main()
