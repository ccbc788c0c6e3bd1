"""Evaluate an edit that exists already."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..callbacks import Progress
from ..concepts.concept import Concept
from ..config.options import Look, Source
from ..edits.edit import Edit, edit_between
from ..errors import InputError
from ..evaluation.features import features_or_none
from ..evaluation.runner import CASES_PER_GROUP, CONTROLS, Extent, evaluate
from ..evaluation.setup import prepare, undrawn_warnings
from ..io.output_folder import check_out
from ..models.loading import load
from .results import summary, write_results


def evaluate_edit(
    path: Path, concepts: Sequence[Concept] = (), *, model: str | Source = "emoji", out: Path, seed: int = 0, extent: Extent = "full",
    prompts: Path | None = None, look: Look = Look(), force: bool = False, cache: Path | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> dict:  # fmt: skip
    """Evaluate an edit from its file or folder, or a whole erased pipeline's folder, and write the folder `out`, as `erase` does.

    concepts: what it erases, where that is not written in it. force: an edit of another model, too.
    """
    start = time.perf_counter()
    check_out(out, force)
    net, name = load(source := Source.of(model)), source.model
    whole = (path / "model_index.json").exists()
    edit = edit_between(net, load(replace(source, model=str(path))), concepts) if whole else Edit.load(path)
    doubt = edit.check(net, force=force)
    named = list(concepts) or [Concept.read(fields) for fields in edit.card.get("concepts", [])]
    if not named:
        raise InputError(f"{path} does not say which concept it erases: name it, for example: unconcept evaluate pig=cow --edit {path}")
    concepts, benchmark, judged = prepare(net, name, named, CASES_PER_GROUP[extent], seed, prompts, look)
    given: dict[str, Any] = dict(seed=seed, **look.sampling(net.guidance), cache=cache, progress=progress)
    found = evaluate(net, edit, benchmark, controls=CONTROLS[extent], full=extent == "full", features=features_or_none(), **given)
    cost = {"training_seconds": None, "network_calls": None}
    warnings = [*([doubt] if doubt else ()), *undrawn_warnings(benchmark, concepts, found.before)]
    result = summary(edit, net, name, concepts, judged, found, extent, cost, start, warnings, given, prompts)
    return write_results(out, force, edit, result, benchmark, found)
