"""Erasing from a transformer (MMDiT): which weights to change, and five erasures with those.

The tables of docs/results/transformer.md.

    python benchmarks/mmdit.py [--n 100]  # finished results are not computed again
    python benchmarks/result_pages.py transformer

The model is `emoji-flow`. Each group of prompts has `n` images. The weights were chosen on a case
that is not in the second table.
"""

import functools
from dataclasses import replace

from common import TRAINED, arguments, cell, head, once
from main_results import CASES, measure

from unconcept import AllButOne
from unconcept.cli.method_settings import settings_for_model
from unconcept.evaluation.scores import PIXELS, find_score

CHOSEN_ON = "cat=dog"


def tuned(**settings) -> AllButOne:
    return replace(TRAINED, tune=replace(TRAINED.tune, **settings))


WEIGHTS = {
    "prompt embedders, whitened": tuned(group="prompt embedders"),
    "context embedder, whitened": tuned(group="context embedder"),
    "context embedder, whitened, lr 3e-3": tuned(group="context embedder", lr=3e-3),
    "context embedder, plain, lr 3e-4": tuned(group="context embedder", whiten=None, lr=3e-4),
    "keys and values, lr 1e-4": tuned(lr=1e-4),
    "keys and values, lr 3e-4": tuned(lr=3e-4),
    "keys and values, lr 1e-3": tuned(lr=1e-3),
    "keys and values, lr 3e-4, 150 steps": tuned(lr=3e-4, steps=150),
    "cross-attention, lr 1e-4": tuned(group="cross-attention", lr=1e-4),
    "cross-attention, lr 3e-4": tuned(group="cross-attention", lr=3e-4),
}
COLUMNS = (
    ("concept", "target"), ("concept", "synonym"), ("alternative", "target"),
    ("alternative", "synonym"), ("other", "target"),
    ("right", "neighbour"), ("right", "unrelated"), (PIXELS, "unrelated"),
)  # fmt: skip


def main() -> None:
    given = arguments(__doc__, "transformer", 100)
    for title, cases in (
        ("weights", {name: ([CHOSEN_ON], method) for name, method in WEIGHTS.items()}),
        (
            "erased",
            {
                name: (concepts, settings_for_model("all-but-one", "emoji-flow"))
                for name, concepts in CASES.items()
            },
        ),
    ):
        print(
            "\n".join(head([title, "seconds", *(f"{name} ({group})" for name, group in COLUMNS)]))
        )
        for name, (concepts, method) in cases.items():
            run = functools.partial(measure, concepts, given.n, method, name="emoji-flow")
            if found := once(given.out / f"{name} {given.n}.json", run):
                cells = [cell(find_score(found["scores"], *column), "after") for column in COLUMNS]
                print(
                    f"| {name} | {found['seconds']:.0f} | " + " | ".join(cells) + " |", flush=True
                )


if __name__ == "__main__":
    main()
