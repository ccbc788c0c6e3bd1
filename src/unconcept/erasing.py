"""The main job: erase concepts, or take an edit that is there; look at the same seeds before and after; leave one folder that says it all."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import report as reports
from .checkpoint import kept_in
from .concept import Concept
from .cost import counted, peak_memory
from .detect import verdict
from .edit import Edit
from .errors import InputError
from .evaluate import CONTROLS, QUESTIONS, Evaluation, Extent, before_edit, evaluate
from .features import features_or_none
from .folder import check_out, whole_folder
from .methods import AllButOne, Method
from .models import load
from .models.base import Model
from .questions import prepare, too_long, undrawn
from .train import Progress


def erase(
    concepts: Sequence[Concept], *, model: str = "emoji", method: Method | None = None, out: Path, seed: int = 0, extent: Extent = "short",
    prompts: Path | None = None, judge: str | None = None, steps: int = 25, guidance: float = 5.0, strict: bool = False, force: bool = False, config: str | None = None, cache: Path | None = None,
    save_every: int = 0, resume: bool = False, report: Callable[[Progress], None] = lambda progress: None,
) -> dict:  # fmt: skip
    """Erase, evaluate, and write the folder `out`: edit.safetensors, before-after.png, report.json, report.html, README.md.

    Returns the content of report.json; its `failure` is null, or one line about what the detectors found.
    extent: how many pictures the evaluation makes; "none": none, the edit and its card are all.
    prompts: a CSV file of the user's own, asked besides. cache: a folder of pictures made before.
    save_every: steps after which the training's state is kept beside that folder, until this folder is written; 0: never. resume: go on from it.
    judge: "imagenet" or a CLIP folder, for a model that is not the embedded one.
    steps, guidance: of the pictures that are looked at.
    strict: refuse a concept that the model cannot draw in the first place, instead of a warning.
    """
    method, start = method or AllButOne(), time.perf_counter()
    check_out(out, force)
    if save_every < 0 or (resume and not save_every):
        raise InputError("save-every counts steps, 0 or more; with --resume it must be above 0")
    net = load(model, config=config)
    concepts, exam, judged = prepare(net, model, concepts, QUESTIONS[extent], seed, prompts, judge)
    warnings = [*too_long(net, concepts), *([net.remark] if net.remark else [])]
    look: dict[str, Any] = dict(seed=seed, steps=steps, guidance=guidance, cache=cache, report=report)
    before = before_edit(net, exam, **look)
    for warning in undrawn(exam, concepts, before):
        if strict:
            raise InputError(f"{warning} (--strict refuses that)")
        warnings.append(warning)

    training, state = time.perf_counter(), training_folder(cache, net, method, concepts) if cache and save_every else None
    if state and state.exists() and not resume:
        warnings.append("a training of the same words had been cut off; it was begun anew (--resume goes on instead)")
    with counted(net) as calls, kept_in(state, every=save_every, resume=resume) if state else nullcontext() as place:
        edit = method(net, *concepts, report=report)
    if place and place.went_on_from:
        warnings.append(f"the training went on from step {place.went_on_from}: seconds and network calls count from there")
    cost = {"training_seconds": round(time.perf_counter() - training, 1), "network_calls": calls["n"]}
    found = evaluate(net, edit, exam, before=before, controls=CONTROLS[extent], full=extent == "full", features=features_or_none(), **look)
    result = summary(edit, net, model, concepts, judged, found, extent, cost, start, warnings, look)
    leave(out, force, edit, result, exam, found)
    if state:
        shutil.rmtree(state, ignore_errors=True)
    return result


def training_folder(cache: Path, net: Model, method: Method, concepts: Sequence[Concept]) -> Path:
    """Where the state of this very training is kept: the same method with the same settings, concepts, weights and software."""
    software = [version(name) for name in ("unconcept", "torch", "diffusers", "transformers")]
    job = [type(method).__name__, repr(method), [asdict(concept) for concept in concepts], net.fingerprint(), software]
    return cache.parent / "trainings" / hashlib.sha256(json.dumps(job).encode()).hexdigest()[:32]


def examine(
    path: Path, *, model: str = "emoji", out: Path, seed: int = 0, extent: Extent = "full", prompts: Path | None = None,
    judge: str | None = None, steps: int = 25, guidance: float = 5.0, force: bool = False, config: str | None = None, cache: Path | None = None, report: Callable[[Progress], None] = lambda progress: None,
) -> dict:  # fmt: skip
    """Evaluate an edit from its file or folder, and write the folder `out`, as `erase` does. force: an edit of another model, too."""
    start = time.perf_counter()
    check_out(out, force)
    edit, net = Edit.load(path), load(model, config=config)
    if not force:
        edit.check(net)
    named = [Concept.read(fields) for fields in edit.card.get("concepts", [])]
    if not named:
        raise InputError(f"{path} does not say which concept it erases")
    concepts, exam, judged = prepare(net, model, named, QUESTIONS[extent], seed, prompts, judge)
    look: dict[str, Any] = dict(seed=seed, steps=steps, guidance=guidance, cache=cache, report=report)
    found = evaluate(net, edit, exam, controls=CONTROLS[extent], full=extent == "full", features=features_or_none(), **look)
    cost = {"training_seconds": None, "network_calls": None}
    result = summary(edit, net, model, concepts, judged, found, extent, cost, start, undrawn(exam, concepts, found.before), look)
    return leave(out, force, edit, result, exam, found)


def summary(
    edit: Edit, net: Model, model: str, concepts: Sequence[Concept], judged, found: Evaluation, extent: Extent, cost: dict, start: float,
    warnings: Sequence[str], look: dict,
) -> dict:  # fmt: skip
    """The content of report.json, schema 1."""
    return {
        "schema": 1,
        "concept": [{k: getattr(c, k) for k in ("erase", "alternative", "synonyms", "keep")} for c in concepts],
        "method": {"name": edit.card.get("method"), "settings": edit.card.get("settings", {})},
        "model": {"name": model, "family": net.family, "sha256": edit.card.get("model_sha256")},
        "cost": {
            "seconds": round(time.perf_counter() - start, 1),
            **cost,
            "peak_memory_bytes": peak_memory(),
            "tuned_parameters": sum(t.numel() for t in edit.tensors().values()),
            "edit_bytes": 0,
        },
        "scores": found.rows,
        "settings": {
            "evaluation": extent,
            "seed": look["seed"],
            "sampler": net.samplers[0],
            "steps": look["steps"],
            "guidance": look["guidance"],
            "judge": judged,
        },
        "versions": {name: version(name) for name in ("unconcept", "torch", "diffusers", "transformers")},
        "warnings": list(warnings),
        "failure": verdict(found.rows, found.before, found.after),
    }


def leave(out: Path, force: bool, edit: Edit, result: dict, exam, found: Evaluation) -> dict:
    with whole_folder(out, force) as folder:
        result["cost"]["edit_bytes"] = edit.save(folder / "edit.safetensors").stat().st_size
        reports.write(folder, result, exam.questions, found.before, found.after)
    return result
