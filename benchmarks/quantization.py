"""What an erasure loses when the base weights, or Adam's moments, are quantized during training.
Images are sampled from the model in full precision.

    python benchmarks/quantization.py [--n 100]  # finished results are not computed again
"""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import TRAINED, arguments, cell, head, once
from main_results import erased, measure

from unconcept import AllButOne, Concept, load
from unconcept.evaluation.scores import PIXELS, find_score
from unconcept.models.emoji.concepts import completed

CASE = "pig=cow"
BASE = TRAINED
EIGHT_BIT = replace(BASE, tune=replace(BASE.tune, adam_8bit=True))
WAYS: dict[str, tuple[AllButOne, Any]] = {
    "in single precision": (BASE, None),
    "int8": (BASE, "int8"),
    "nf4": (BASE, "nf4"),
    "Adam in 8 bits": (EIGHT_BIT, None),
    "nf4, Adam in 8 bits": (EIGHT_BIT, "nf4"),
}
COLUMNS = {
    "concept left": ("concept", "target"), "by a synonym": ("concept", "synonym"),
    "alternative instead": ("alternative", "target"),
    "neighbours right": ("right", "neighbour"), "unrelated right": ("right", "unrelated"),
    "pixels of unrelated moved": (PIXELS, "unrelated"),
}  # fmt: skip


def measure_way(method: AllButOne, kind: Any, file: Path, n: int) -> dict:
    """Scores of an edit that is trained with the base quantized to `kind`, on the full base."""
    erased(
        load("emoji", quantize=kind, keep_precise=BASE.tune.group),
        completed([Concept.parse(CASE)]),
        method,
        file,
    )
    return measure([CASE], n, file=file)


def main() -> None:
    given = arguments(__doc__, "quantized", 100)
    lines = head(["base", *COLUMNS, "seconds of erasing"])
    for name, (method, kind) in WAYS.items():
        make = functools.partial(
            measure_way, method, kind, given.out / f"{name}.safetensors", given.n
        )
        if result := once(given.out / f"{name} {given.n}.json", make):
            cells = [
                cell(find_score(result["scores"], *where), "after") for where in COLUMNS.values()
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {result['seconds']:.0f} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
