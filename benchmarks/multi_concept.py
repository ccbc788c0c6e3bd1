"""Several concepts: 1, 5, 10 and 20 erased in groups of three, in one run, and one by one, with the
edits added up. The curve of docs/results/several-concepts.md.

    python benchmarks/multi_concept.py [--n 100]  # finished results are not computed again
    python benchmarks/result_pages.py several-concepts

Each group of prompts has `n` images, spread over the concepts.
"""

import functools
from dataclasses import replace

from common import TRAINED, arguments, cell, head, once
from main_results import measure

from unconcept.evaluation.scores import PIXELS, find_score

PAIRS = (
    "pig=cow", "castle=house", "guitar=violin", "rose=tulip", "wolf=fox", "tiger=lion",
    "eagle=owl", "shark=dolphin", "bee=butterfly", "apple=strawberry",
    "pizza=hamburger", "doughnut=cookie", "bus=car", "rocket=airplane", "laptop=television",
    "football=basketball", "crown=gem", "ghost=snowman",
    "panda=koala", "bomb=pumpkin",
)  # fmt: skip
COUNTS = (1, 5, 10, 20)


WAYS = {
    "in groups of three": replace(TRAINED, together=3),
    "in one run": replace(TRAINED, together=max(COUNTS)),
    "one by one": replace(TRAINED, together=1),
}
COLUMNS = (
    ("concept", "target"),
    ("concept", "synonym"),
    ("alternative", "target"),
    ("right", "neighbour"),
    ("right", "unrelated"),
    (PIXELS, "unrelated"),
)


def main() -> None:
    given = arguments(__doc__, "several", 100)
    print(
        "\n".join(
            head(
                [
                    "concepts",
                    "erased",
                    "seconds",
                    "network calls",
                    *(f"{name} ({group})" for name, group in COLUMNS),
                ]
            )
        )
    )
    for count in COUNTS:
        for way, method in list(WAYS.items())[: 1 if count == 1 else None]:
            make = functools.partial(measure, list(PAIRS[:count]), given.n, method)
            if found := once(given.out / f"{count}-{way}-{given.n}.json", make):
                cells = [cell(find_score(found["scores"], *column), "after") for column in COLUMNS]
                print(
                    f"| {count} | {way} | {found['seconds']:.0f} | {found['network_calls']:,} | "
                    + " | ".join(cells)
                    + " |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
