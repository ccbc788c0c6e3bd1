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
from unconcept.gallery import pictures
from unconcept.models import emoji
from unconcept.models.emoji.exam import Exam, complete
from unconcept.scores import scores

CASES = {
    "pig=cow": ["pig=cow"],
    "castle=house": ["castle=house"],
    "watercolor=pencil sketch": ["watercolor=pencil sketch"],
    "weapon": ["weapon"],
    "three at once": ["pig=cow", "castle=house", "guitar=violin"],
}


def measure(names: list[str], n: int, method: AllButOne | None = None, seed: int = 0) -> dict:
    """Erase `names` with `method` (the defaults) from a fresh model and ask every group n times; rows as in report.json."""
    model = emoji.load()
    concepts = [complete(Concept.parse(name)) for name in names]
    exam = Exam(concepts, {"target": n, "synonym": n, "neighbour": n, "unrelated": n}, seed=1000 + seed)
    prompts, seeds = [q.prompt for q in exam.questions], [5_000_000 + i for i in range(len(exam.questions))]
    start = time.perf_counter()
    edit = (method or AllButOne())(model, *concepts)
    seconds = time.perf_counter() - start
    before = pictures(model, prompts, seeds)
    with edit.on(model):
        after = pictures(model, prompts, seeds)
    return {"concepts": names, "seconds": round(seconds, 1), "training": edit.card["training"], "scores": scores(exam, before, after)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--out", type=Path, default=Path("runs/erasures"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in [given.only] if given.only else CASES:
        file = given.out / f"{name.replace(' ', '-')}-{given.n}.json"
        if not file.exists():
            file.write_text(json.dumps(measure(CASES[name], given.n), indent=1))
        result = json.loads(file.read_text())
        print(f"\n{name}: {result['seconds']} s")
        for row in result["scores"]:
            print(f"  {row['group']:10} {row['name']:24} {row['before']!s:>8} → {row['after']!s:>8}  n {row['n']:4}  {row.get('ci95', '')}")


if __name__ == "__main__":
    main()
