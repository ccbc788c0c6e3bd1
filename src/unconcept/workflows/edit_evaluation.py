"""Evaluate an edit that exists already."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..concepts.concept import Concept
from ..concepts.contradictions import check_distinct
from ..config.ranges import check_numbers
from ..edits.edit import Edit
from ..edits.model_difference import edit_between
from ..errors import InputError
from ..evaluation.features import features_or_none
from ..evaluation.runner import Measures, evaluate
from ..evaluation.setup import undrawn_warnings
from ..export.peer_edits import read_peer_edit
from ..io.output_folder import check_out
from ..io.peer_weights import check_own_edit, is_peer_edit
from ..models import single_file
from ..models.folder import INDEX, read_json
from ..models.interface import Model
from ..models.loading import load
from .options import EvaluationOptions
from .results import RunRecord, write_results

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import EvaluationKeywords

CARD_FILE = "unconcept.json"  # in the folder of an exported pipeline


def evaluate_edit(
    path: Path,
    concepts: Sequence[Concept] = (),
    strength: float = 1.0,
    **options: Unpack[EvaluationKeywords],
) -> dict:
    """Evaluate an edit and write the same folder as `erase`.

    Args:
        path: The file or folder of an edit; a LoRA, changed weights, or the folder or single file
            of an erased model of any tool.
        concepts: What it erases; needed where that is not written in it.
        strength: How much of the edit is applied: 0 nothing, 1 all of it.
        **options: Fields of `EvaluationOptions`; `out` is required, `extent` is "full" by default.

    Returns:
        The content of report.json.

    Raises:
        InputError: The edit cannot be read, belongs to another model, or does not name a concept.
    """
    started = time.perf_counter()
    run = EvaluationOptions(**{"extent": "full", **options})
    check_numbers(edit_strength=strength)
    check_distinct(concepts)
    if not is_peer_edit(path):
        check_own_edit(path)
    check_out(run.out, run.force)
    model = load(run.source)
    edit = read_edit(path, run, model, concepts).scale(strength)
    mismatch = edit.check(model, force=run.force)
    stored = [Concept.read(fields) for fields in edit.card.get("concepts", [])]
    if not concepts and not stored:
        raise InputError(
            f"{path} does not say which concept it erases: name it, for example: "
            f"unconcept evaluate pig=cow --edit {path}"
        )
    benchmark = run.benchmark(model, complete_as_trained(model, edit, concepts or stored))
    sampler = run.sampler(model)
    measures = Measures(run.controls(model), run.extent == "full", features_or_none())
    evaluation = evaluate(sampler, edit, benchmark, measures=measures)
    record = RunRecord(run, model, benchmark, sampler.sampling, started, strength)
    if mismatch:
        record.warnings.append(mismatch)
    record.warnings += undrawn_warnings(benchmark, evaluation.before)
    return write_results(record, edit, evaluation)


def complete_as_trained(
    model: Model, edit: Edit, concepts: Sequence[Concept]
) -> tuple[Concept, ...]:
    """Complete concepts as they were for the training.

    An edit of --no-lexicon is evaluated without the lexicon, too: its words were not erased on
    purpose, and its neighbours were not retained.

    Args:
        model: Completes nothing from now on where the edit's concepts were not completed.
        edit: Its card says whether the lexicon was used; an older or another tool's edit does not.
        concepts: What is evaluated.

    Returns:
        The concepts, in the same order.
    """
    if edit.card.get("lexicon") is False:
        model.completes = False
    return model.complete(concepts)


def read_edit(
    path: Path, run: EvaluationOptions, model: Model, concepts: Sequence[Concept]
) -> Edit:
    """Read an edit, or take the difference between an erased model and its base.

    Args:
        path: See `evaluate_edit`.
        run: With the base model's source.
        model: The base model.
        concepts: What was erased, if the caller says so.

    Returns:
        The edit. Where unconcept exported the erased model, with the card of the edit in it.
    """
    if (path / INDEX).exists():
        stated = exported_card(path / CARD_FILE)
    elif is_checkpoint(path):
        stated = checkpoint_card(path)
    elif is_peer_edit(path):
        return read_peer_edit(path, model, concepts)
    else:
        return Edit.load(path)
    stored = stated.get("concepts") or []
    if not concepts:
        concepts = read_concepts(path, stored)
    erased = load(replace(run.source, model=str(path), revision=None, variant=None))
    edit = edit_between(model, erased, concepts)
    entries = {}
    for key in ("method", "settings", "model_sha256", "model_weights"):
        if stated.get(key):
            entries[key] = stated[key]
    if stated.get("lexicon") is False:
        entries["lexicon"] = False
    return replace(edit, card={**edit.card, **entries})


def exported_card(file: Path) -> dict:
    """The card in the folder of an exported pipeline; empty where another tool made it.

    Args:
        file: `CARD_FILE` in the folder of a pipeline.

    Raises:
        InputError: It is there, and does not hold JSON of keys and values.
    """
    if not file.exists():
        return {}
    content = read_json(file)
    if not isinstance(content, dict):
        raise InputError(f"{file} is damaged: it must hold keys and values")
    return content


def is_checkpoint(path: Path) -> bool:
    """Is this a Stable Diffusion checkpoint of one file?

    Args:
        path: Any path; of a .safetensors file the header is read.

    Raises:
        InputError: The file is damaged.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    return single_file.problem_of(single_file.Header.read(path)) is None


def checkpoint_card(path: Path) -> dict:
    """The card in the header of an exported checkpoint; empty where another tool made it.

    Args:
        path: A .safetensors file.

    Raises:
        InputError: Its card is damaged.
    """
    metadata = single_file.Header.read(path).metadata
    try:
        content = json.loads(metadata.get("unconcept.card", "{}"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: its unconcept.card is not JSON of keys and values")
    if "unconcept.base_sha256" in metadata:
        content["model_sha256"] = metadata["unconcept.base_sha256"]
    return content


def read_concepts(path: Path, stored: Any) -> list[Concept]:
    """The concepts that an exported model names.

    Args:
        path: The model, for the message.
        stored: What its card holds: a list of mappings.

    Raises:
        InputError: It holds something else.
    """
    concepts = []
    for fields in stored if isinstance(stored, list) else [stored]:
        try:
            concepts.append(Concept.read(fields))
        except (TypeError, AttributeError):
            raise InputError(
                f"{path} does not say in a known form which concept it erases: name it, for "
                f"example: unconcept evaluate pig=cow --edit {path}"
            ) from None
    return concepts
