"""Every method of the package on several concepts: the tables of docs/results/method-comparison.md.

    python benchmarks/method_comparison.py [--only pig=cow]
    python benchmarks/result_pages.py method-comparison

Runs `unconcept compare CONCEPT --methods all` on each concept and stores its compare.json; finished
ones are not computed again. The first table is over all concepts, with Wilson intervals over their
images; then one table per concept.

    python benchmarks/method_comparison.py --half reporting [--every 4] [--most 10]

measures two rows of every method on the pair benchmark instead: with its settings for the embedded
model ("uce"), and with its authors' settings ("uce@authors"). The former were chosen on the tuning
half; the reporting half is for the results.
"""

import argparse
import functools
from pathlib import Path
from tempfile import TemporaryDirectory

import pairs
from common import RESULTS, arguments, as_given, once

from unconcept.cli.method_settings import AUTHORS, authors_settings
from unconcept.concepts.concept import Concept
from unconcept.methods import METHODS
from unconcept.models.image_cache import cache_folder
from unconcept.reporting.report import markdown
from unconcept.workflows.comparison import compare
from unconcept.workflows.comparison_folder import table

CASES = (
    "pig=cow",
    "castle=house",
    "guitar=violin",
    "rose=tulip",
    "bus=car",
    "watercolor=pencil sketch",
)


def compared(case: str) -> dict:
    """The compare.json of all methods with their settings for the embedded model."""
    with TemporaryDirectory() as folder:
        methods = {name: as_given(name) for name in METHODS}
        return compare(
            [Concept.parse(case)], methods, out=Path(folder) / "out", cache=cache_folder()
        )


def rows_of_pairs() -> list[str]:
    """Every method as it is given, and with its authors' settings where those are others."""
    rows = []
    for name in METHODS:
        rows.append(name)
        if authors_settings(name) != as_given(name):
            rows.append(f"{name}@{AUTHORS}")
    return rows


def measure_pairs(half: str, every: int, most: int | None) -> None:
    """Run and print the pair benchmark of both rows of every method."""
    settings = argparse.Namespace(
        half=half,
        every=every,
        most=most,
        methods=rows_of_pairs(),
        model="emoji",
        kinds="",
        names="",
        shard="0/1",
        threads=1,
        out=RESULTS / "pairs",
    )
    pairs.run(settings)
    pairs.table(settings)


def main() -> None:
    given = arguments(
        __doc__,
        "methods",
        None,
        only={"choices": CASES},
        half={"choices": ("tuning", "reporting")},
        every={"type": int, "default": 1},
        most={"type": int},
    )
    if given.half:
        measure_pairs(given.half, given.every, given.most)
        return
    for case in [given.only] if given.only else CASES:
        if result := once(given.out / f"{case}.json", functools.partial(compared, case)):
            print(f"{case}\n{markdown(*table(result))}", flush=True)


if __name__ == "__main__":
    main()
