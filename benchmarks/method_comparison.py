"""Every method of the package on several concepts: the tables of docs/results/method-comparison.md.

    python benchmarks/method_comparison.py [--only pig=cow]  # what is done is not done again
    python benchmarks/result_pages.py method-comparison

It is `unconcept compare CONCEPT --methods all` on one concept after the other; of each the content
of compare.json is kept. The first table is over all concepts, shares with Wilson intervals over
their pictures; then one for each concept.
"""

import functools
from pathlib import Path
from tempfile import TemporaryDirectory

from common import arguments, as_given, once

from unconcept.concepts.concept import Concept
from unconcept.methods import METHODS
from unconcept.models.image_cache import cache_folder
from unconcept.reporting.report import markdown
from unconcept.workflows.comparison import compare, table

CASES = (
    "pig=cow",
    "castle=house",
    "guitar=violin",
    "rose=tulip",
    "bus=car",
    "watercolor=pencil sketch",
)


def compared(case: str) -> dict:
    """Content of compare.json of all methods, each with what it is given on the embedded model."""
    with TemporaryDirectory() as folder:
        methods = {name: as_given(name) for name in METHODS}
        return compare(
            [Concept.parse(case)], methods, out=Path(folder) / "out", cache=cache_folder()
        )


def main() -> None:
    given = arguments(__doc__, "methods", None, only={"choices": CASES})
    for case in [given.only] if given.only else CASES:
        if result := once(given.out / f"{case}.json", functools.partial(compared, case)):
            print(f"{case}\n{markdown(*table(result))}", flush=True)


if __name__ == "__main__":
    main()
