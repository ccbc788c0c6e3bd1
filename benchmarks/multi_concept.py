"""Several concepts: 1, 5, 10 and 20 erased in groups of three, in one run, and one by one, with the edits added up. The curve of docs/several.md.

    python benchmarks/several.py [--n 100]  # what is done is not done again
    python benchmarks/several.py --write docs/several.md

Of every group `n` pictures are asked, spread over the concepts.
"""

import functools
from pathlib import Path

from common import arguments, cell, curves, head, once, page
from erasures import measure

from unconcept import AllButOne
from unconcept.evaluation.scores import PIXELS, find_score

PAIRS = (
    "pig=cow", "castle=house", "guitar=violin", "rose=tulip", "wolf=fox", "tiger=lion", "eagle=owl", "shark=dolphin", "bee=butterfly", "apple=strawberry",
    "pizza=hamburger", "doughnut=cookie", "bus=car", "rocket=airplane", "laptop=television", "football=basketball", "crown=gem", "ghost=snowman",
    "panda=koala", "bomb=pumpkin",
)  # fmt: skip
COUNTS = (1, 5, 10, 20)
NOTE = """*In groups of three* is the default (`together`): each group is erased from the untouched model, with the other groups' concepts among what is kept, and the edits add up.
*One by one*: an edit for each concept, added up in the same way. *In one run*: as many trajectories and steps as for one concept, shared by all."""


WAYS = {
    way: AllButOne(together=together) for way, together in {"in groups of three": 3, "in one run": max(COUNTS), "one by one": 1}.items()
}
COLUMNS = (("concept", "target"), ("concept", "synonym"), ("alternative", "target"), ("right", "neighbour"), ("right", "unrelated"), (PIXELS, "unrelated"))  # fmt: skip


DRAWN = {"concept left": ("concept", "target"), "alternative instead": ("alternative", "target"), "neighbours right": ("right", "neighbour"), "unrelated right": ("right", "unrelated")}  # fmt: skip


def figure(rows: dict[tuple[int, str], dict], file: Path) -> None:
    """Shares against the number of concepts."""
    share = lambda found, column: {"value": (row := find_score(found["scores"], *column))["after"], "ci95": row["ci95"]}
    line = lambda way, column: [(count, share(found, column)) for (count, own), found in rows.items() if own == way or count == 1]
    curves(file, {title: {way: line(way, column) for way in WAYS} for title, column in DRAWN.items()}, "concepts")


def main() -> None:
    given, rows = arguments(__doc__, "several", 100), {}
    lines = head(["concepts", "erased", "seconds", "network calls", *(f"{name} ({group})" for name, group in COLUMNS)])
    for count in COUNTS:
        for way, method in list(WAYS.items())[: 1 if count == 1 else None]:
            make = functools.partial(measure, list(PAIRS[:count]), given.n, method)
            if found := once(given.out / f"{count}-{way}-{given.n}.json", None if given.write else make):
                rows[count, way] = found
                cells = [cell(find_score(found["scores"], *column), "after") for column in COLUMNS]
                lines.append(f"| {count} | {way} | {found['seconds']:.0f} | {found['network_calls']:,} | " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
    if given.write:
        figure(rows, given.write.with_suffix(".png"))
        given.write.write_text(page("Several concepts", "several.py", [NOTE, "", *lines, "", f"![the curves]({given.write.stem}.png)"]))


if __name__ == "__main__":
    main()
