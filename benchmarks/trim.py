"""How far an edit can be cut: the rank of every matrix against what is erased and what else moves.

    python benchmarks/trim.py [--n 20] [--pairs "pig=cow,watercolor=pencil sketch"] [--model emoji]
    python benchmarks/trim.py --n 4 --pairs pig=cow --only "closed form"    # a quick check

Each edit is made once, as the command line makes it and once trained, cut to each rank, and
measured on the same prompts and seeds: whether the concept and the alternative are seen in the
concept's prompts, whether near neighbours are right, how far images of neighbours and of unrelated
prompts move (mean absolute change of a pixel, same seed), and numbers in the file.
"""

import functools
from pathlib import Path
from typing import Any

from common import TRAINED, arguments, cell, head, once

from unconcept import AllButOne, Concept, Edit, load
from unconcept.edits.trimming import count_numbers
from unconcept.evaluation.runner import Measures, evaluate
from unconcept.evaluation.scores import PIXELS, find_score
from unconcept.evaluation.setup import prepare
from unconcept.models.image_cache import cache_folder
from unconcept.models.sampling import ImageSampler, Sampling

RANKS = (1, 2, 4, 8, 16, None)
METHODS = {"closed form": AllButOne(), "trained": TRAINED}
PAIRS = "pig=cow,watercolor=pencil sketch"
GROUPS = ("target", "neighbour", "unrelated")

# Measures and groups of the table, by the column's name.
COLUMNS = {
    "concept seen": ("concept", "target"),
    "alternative seen": ("alternative", "target"),
    "neighbours right": ("right", "neighbour"),
    "neighbours moved": (PIXELS, "neighbour"),
    "unrelated moved": (PIXELS, "unrelated"),
}


def edit_of(name: str, pair: str, options: Any) -> Edit:
    """The edit of a pair, made now or read from the folder of results."""
    file = options.out / options.model / f"{name} {pair}.safetensors"
    if file.exists():
        return Edit.load(file)
    edit = METHODS[name](load(options.model), Concept.parse(pair))
    edit.save(file)
    return edit


def measure(name: str, pair: str, rank: int | None, options: Any) -> dict[str, Any]:
    """Scores of one edit, cut to a rank (None: whole)."""
    edit = edit_of(name, pair, options)
    if rank is not None:
        edit = edit.trimmed(rank=rank)
    model = load(options.model)
    concepts = model.complete([Concept.parse(pair)])
    benchmark = prepare(model, concepts, dict.fromkeys(GROUPS, options.n), 1, None)
    sampler = ImageSampler(model, Sampling(steps=12, seed=1), cache_folder())
    scores = evaluate(sampler, edit, benchmark, measures=Measures(0, False, None)).scores
    return {
        "edit": name,
        "pair": pair,
        "rank": rank,
        "numbers": count_numbers(edit.deltas),
        "scores": scores.to_json(),
    }


def cells(row: dict[str, Any]) -> list[str]:
    """The columns of the table for one result."""
    texts = [f"{row['numbers']:,}"]
    for name, group in COLUMNS.values():
        score = find_score(row["scores"], name, group)
        if score and name == PIXELS:  # small: four decimals
            low, high = score["ci95"]
            texts.append(f"{score['after']:.4f} [{low:.4f} – {high:.4f}], n {score['n']}")
        else:
            texts.append(cell(score, "after"))
    return texts


def main() -> None:
    options = arguments(
        __doc__,
        "trim",
        20,
        pairs={"default": PAIRS},
        model={"default": "emoji"},
        only={"choices": METHODS},
    )
    print("\n".join(head(["edit", "rank", "numbers", *COLUMNS])))
    for pair in options.pairs.split(","):
        for name in [options.only] if options.only else METHODS:
            for rank in RANKS:
                label = rank or "whole"
                file = Path(options.out) / options.model / f"{name} {pair} {label} {options.n}.json"
                row = once(file, functools.partial(measure, name, pair, rank, options))
                if row:
                    columns = " | ".join([f"{name}, {pair}", str(label), *cells(row)])
                    print(f"| {columns} |", flush=True)


if __name__ == "__main__":
    main()
