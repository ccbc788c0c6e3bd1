"""Several concepts: 1, 5, 10 and 20 erased in groups of three, in one run, and one by one, with the
edits added up. The curve of docs/results/several-concepts.md.

    python benchmarks/multi_concept.py [--n 100]  # finished results are not computed again
    python benchmarks/result_pages.py several-concepts

Each group of prompts has `n` images, spread over the concepts.
"""

import functools
from dataclasses import replace

from common import COLUMNS as COMMON_COLUMNS
from common import TRAINED, arguments, head, once, print_row, score_cells
from main_results import measure

from unconcept.evaluation.scores import PIXELS

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
COLUMNS = (*COMMON_COLUMNS, (PIXELS, "unrelated"))


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
            if result := once(given.out / f"{count}-{way}-{given.n}.json", make):
                cost = [f"{result['seconds']:.0f}", f"{result['network_calls']:,}"]
                print_row([str(count), way, *cost, *score_cells(result["scores"], COLUMNS)])


if __name__ == "__main__":
    main()
