"""Every method of the package on pairs that no setting was chosen on: the tables of
docs/results/method-comparison.md.

    python benchmarks/method_comparison.py [--most 3]
    python benchmarks/result_pages.py method-comparison

Two rows a method: with its settings for the embedded model ("esd", chosen on the tuning half of the
pair benchmark by hyperparameter_search.py), and with its authors' settings ("esd@authors") where
those are others. The pairs are the first of the reporting half in the benchmark's order.

Stored are shares and costs, one file per method and pair; finished ones are not computed again.
Authors' settings of methods that train take half an hour and more on a pair: --methods names the
rows to run.
"""

import functools
import json
from dataclasses import asdict
from pathlib import Path

import pairs
from common import RESULTS, arguments, as_given, once
from pages.pairs import case_rows
from pair_cases import Case, draw_cases, spread

from unconcept.cli.method_settings import AUTHORS, authors_settings
from unconcept.methods import METHODS


def rows_of_methods() -> list[str]:
    """Every method as it is given, and with its authors' settings where those are others.

    T2VUnlearning is for video: docs/results/video.md has it.
    """
    rows = []
    for name in METHODS:
        if name == "t2v-unlearning":
            continue
        rows.append(name)
        if authors_settings(name) != as_given(name):
            rows.append(f"{name}@{AUTHORS}")
    return rows


def reporting_pairs() -> list[Case]:
    """The reporting half in an order in which every prefix has several kinds of pairs."""
    return spread([case for case in draw_cases() if case.half == "reporting"])


def figures(case: Case, spec: str, marks: Path) -> dict | None:
    """Shares and costs of one method on one pair; None while another process computes them.

    Args:
        case: A pair.
        spec: A method as `pairs.method_of` reads it.
        marks: Folder for the marks of every image.
    """
    settings = pairs.one_case(case, [spec], marks)
    pairs.run(settings)
    file = pairs.result_file(settings, spec, case)
    if not file.exists():
        return None
    result = json.loads(file.read_text())
    rows = [asdict(row) for row in case_rows(case, spec, result)]
    return {"method": spec, "network_calls": result["network_calls"], "rows": rows}


def main() -> None:
    given = arguments(
        __doc__,
        "methods",
        None,
        most={"type": int, "default": 3, "help": "how many pairs"},
        methods={"nargs": "+", "default": rows_of_methods(), "help": "which rows"},
        marks={"type": Path, "default": RESULTS / "pairs"},
    )
    for case in reporting_pairs()[: given.most]:
        for spec in given.methods:
            name = case.name.replace(" ", "-")
            once(
                given.out / pairs.folder_of(spec) / f"{name}.json",
                functools.partial(figures, case, spec, given.marks),
            )


if __name__ == "__main__":
    main()
