"""Five erasures on the embedded model, measured with hundreds of pictures each: the table of docs/results.md.

    python benchmarks/erasures.py [--n 200] [--only pig=cow] [--out runs/erasures]

Each case is trained as `unconcept erase` trains it; then every group is asked `n` times, near neighbours `n` times in all, from the same
seeds before and after. A case that is done is not done again: kill it, and the same command goes on.
"""

import argparse
import json
import time
from pathlib import Path

from unconcept import AllButOne, Concept
from unconcept.cost import peak_memory
from unconcept.gallery import pictures
from unconcept.models import emoji
from unconcept.models.emoji.exam import Exam, complete, near_in_words
from unconcept.report import say
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
    ("concept", "synonym", "by a synonym"), ("alternative", "target", "the alternative instead"), ("other", "target", "the other object of a scene stays"),
    ("right", "neighbour", "neighbours are right"), ("right", "unrelated", "unrelated is right"), (PIXELS, "unrelated", "pixels of unrelated moved"),
)  # fmt: skip


def measure(names: list[str], n: int, method: AllButOne | None = None, seed: int = 0) -> dict:
    """Erase `names` with `method` (the defaults) from a fresh model and ask every group n times; rows as in report.json."""
    model = emoji.load()
    concepts = [complete(Concept.parse(name)) for name in names]
    near = near_in_words(lambda prompts: model.encode(prompts)[model.words], concepts)
    exam = Exam(concepts, {"target": n, "synonym": n, "neighbour": n, "unrelated": n}, seed=1000 + seed, likely=near)
    prompts, seeds = [q.prompt for q in exam.questions], [5_000_000 + i for i in range(len(exam.questions))]
    start = time.perf_counter()
    edit = (method or AllButOne())(model, *concepts)
    seconds = time.perf_counter() - start
    before = pictures(model, prompts, seeds)
    with edit.on(model):
        after = pictures(model, prompts, seeds)
    rows = scores(exam, before, after)
    return {
        "concepts": names,
        "seconds": round(seconds, 1),
        "peak_memory_bytes": peak_memory(),
        "training": edit.card["training"],
        "scores": rows,
    }


def table(results: list[dict]) -> str:
    """Markdown: every share as after [interval] of n, and what it was before."""
    lines = ["| | " + " | ".join(" + ".join(r["concepts"]) for r in results) + " |", "|---" * (1 + len(results)) + "|"]
    cell = lambda row: (
        "–"
        if row is None
        else f"{say(row['after'], row['name'])} [{' – '.join(say(v, row['name']) for v in row['ci95'])}], n {row['n']}; before {say(row['before'], row['name'])}"
    )
    for name, group, called in ROWS:
        lines.append(f"| {called} | " + " | ".join(cell(find(r["scores"], name, group)) for r in results) + " |")
    worst = lambda r: min(
        (x for x in r["scores"] if x["name"].startswith("right: ") and x["before"]), key=lambda x: x["after"] / x["before"], default=None
    )
    lines.append(
        "| the neighbour that lost most | " + " | ".join(f"{w['name'][7:]}: {cell(w)}" if (w := worst(r)) else "–" for r in results) + " |"
    )
    lines.append("| seconds of erasing | " + " | ".join(f"{r['seconds']:.0f}" for r in results) + " |")
    lines.append("| peak memory, GiB | " + " | ".join(f"{r['peak_memory_bytes'] / 2**30:.1f}" for r in results) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--out", type=Path, default=Path("runs/erasures"))
    parser.add_argument("--write", type=Path, help="write the table of what is done there, and run nothing")
    given = parser.parse_args()
    file = lambda name: given.out / f"{name.replace(' ', '-')}-{given.n}.json"
    if given.write:
        done = [json.loads(file(name).read_text()) for name in CASES if file(name).exists()]
        head = f"# Five erasures, measured\n\nMade by `python benchmarks/erasures.py --n {given.n}` and `--write docs/results.md`.\n\n"
        given.write.write_text(head + table(done))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    for name in [given.only] if given.only else CASES:
        if not file(name).exists():
            file(name).write_text(json.dumps(measure(CASES[name], given.n), indent=1))
        result = json.loads(file(name).read_text())
        print(f"\n{name}: {result['seconds']} s")
        for row in result["scores"]:
            print(
                f"  {row['group']:10} {row['name']:24} {row['before']!s:>8} → {row['after']!s:>8}  n {row['n']:4}  {row.get('ci95', '')}",
                flush=True,
            )


if __name__ == "__main__":
    main()
