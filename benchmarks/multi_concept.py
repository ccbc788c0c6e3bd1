"""Several concepts: 1, 5, 10 and 20 erased at once by All but One, SPEED and UCE. The curve of
docs/results/several-concepts.md.

    python benchmarks/multi_concept.py [--n 50]  # finished results are not computed again
    python benchmarks/result_pages.py several-concepts

Each group of prompts has `n` images, spread over the concepts.
"""

import functools

from common import COLUMNS as COMMON_COLUMNS
from common import arguments, as_given, head, once, print_row, score_cells
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

METHODS = ("all-but-one", "speed", "uce")
COLUMNS = (*COMMON_COLUMNS, (PIXELS, "unrelated"))


def main() -> None:
    given = arguments(__doc__, "several", 50)
    print(
        "\n".join(
            head(
                [
                    "concepts",
                    "method",
                    "CPU seconds",
                    *(f"{name} ({group})" for name, group in COLUMNS),
                ]
            )
        )
    )
    for count in COUNTS:
        for name in METHODS:
            method = as_given(name)
            make = functools.partial(measure, list(PAIRS[:count]), given.n, method)
            if result := once(given.out / f"{count}-{name}-{given.n}.json", make):
                cells = score_cells(result["scores"], COLUMNS)
                print_row([str(count), name, f"{result['cpu_seconds']:.1f}", *cells])


if __name__ == "__main__":
    main()
