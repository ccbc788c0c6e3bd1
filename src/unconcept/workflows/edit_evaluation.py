"""Evaluate an edit that exists already."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..concepts.concept import Concept
from ..concepts.words import check_distinct
from ..edits.edit import Edit, edit_between
from ..errors import InputError
from ..evaluation.features import features_or_none
from ..evaluation.runner import Measures, evaluate
from ..evaluation.setup import undrawn_warnings
from ..io.output_folder import check_out
from ..io.peer_weights import check_own_edit
from ..models.loading import load
from .options import EvaluationOptions
from .results import RunRecord, write_results

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import EvaluationKeywords


def evaluate_edit(
    path: Path, concepts: Sequence[Concept] = (), **options: Unpack[EvaluationKeywords]
) -> dict:
    """Evaluate an edit and write the same folder as `erase`.

    Args:
        path: The file or folder of an edit, or the folder of an erased pipeline of any tool.
        concepts: What it erases; needed where that is not written in it.
        **options: Fields of `EvaluationOptions`; `out` is required, `extent` is "full" by default.

    Returns:
        The content of report.json.

    Raises:
        InputError: The edit cannot be read, belongs to another model, or does not name a concept.
    """
    started = time.perf_counter()
    run = EvaluationOptions(**{"extent": "full", **options})
    check_distinct(concepts)
    check_own_edit(path)
    check_out(run.out, run.force)
    model = load(run.source)
    if (path / "model_index.json").exists():
        edit = edit_between(model, load(replace(run.source, model=str(path))), concepts)
    else:
        edit = Edit.load(path)
    mismatch = edit.check(model, force=run.force)
    stored = [Concept.read(fields) for fields in edit.card.get("concepts", [])]
    if not concepts and not stored:
        raise InputError(
            f"{path} does not say which concept it erases: name it, for example: "
            f"unconcept evaluate pig=cow --edit {path}"
        )
    benchmark = run.benchmark(model, model.complete(concepts or stored))
    sampler = run.sampler(model)
    measures = Measures(run.controls, run.extent == "full", features_or_none())
    evaluation = evaluate(sampler, edit, benchmark, measures=measures)
    record = RunRecord(run, model, benchmark, sampler.sampling, started)
    if mismatch:
        record.warnings.append(mismatch)
    record.warnings += undrawn_warnings(benchmark, evaluation.before)
    report = record.to_report(edit, evaluation)
    write_results(run, edit, report, benchmark, evaluation)
    return report
