"""Several concepts: 1, 5, 10 and 20 erased in groups of three, in one run, and one by one, with the edits added up. The curve of docs/several.md.

    python benchmarks/several.py [--n 200]  # what is done is not done again
    python benchmarks/several.py --write docs/several.md

Of every group `n` pictures are asked, spread over the concepts.
"""

import functools

from common import arguments, cell, head, once, page
from erasures import measure

from unconcept import AllButOne
from unconcept.scores import PIXELS, find

PAIRS = (
    "pig=cow", "castle=house", "guitar=violin", "rose=tulip", "wolf=fox", "tiger=lion", "eagle=owl", "shark=dolphin", "bee=butterfly", "apple=strawberry",
    "pizza=hamburger", "doughnut=cookie", "bus=car", "rocket=airplane", "laptop=television", "football=basketball", "crown=gem", "ghost=snowman",
    "panda=koala", "bomb=pumpkin",
)  # fmt: skip
COUNTS = (1, 5, 10, 20)


WAYS = {
    way: AllButOne(together=together) for way, together in {"in groups of three": 3, "in one run": max(COUNTS), "one by one": 1}.items()
}
COLUMNS = (("concept", "target"), ("concept", "synonym"), ("alternative", "target"), ("right", "neighbour"), ("right", "unrelated"), (PIXELS, "unrelated"))  # fmt: skip


def main() -> None:
    given = arguments(__doc__, "several", 200)
    lines = head(["concepts", "erased", "seconds", "network calls", *(f"{name} ({group})" for name, group in COLUMNS)])
    for count in COUNTS:
        for way, method in list(WAYS.items())[: 1 if count == 1 else None]:
            make = functools.partial(measure, list(PAIRS[:count]), given.n, method)
            if found := once(given.out / f"{count}-{way}-{given.n}.json", None if given.write else make):
                cells = [cell(find(found["scores"], *column), "after") for column in COLUMNS]
                lines.append(f"| {count} | {way} | {found['seconds']:.0f} | {found['network_calls']} | " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
    if given.write:
        given.write.write_text(page("Several concepts", "several.py", lines))


if __name__ == "__main__":
    main()
