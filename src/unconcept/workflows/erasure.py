"""The main job: erase concepts, or take an edit that is there; look at the same seeds before and after; leave one folder that says it all."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback
from ..concepts.concept import Concept
from ..config.options import Look, Source, Training
from ..errors import InputError
from ..evaluation.benchmark import truncation_warnings
from ..evaluation.features import features_or_none
from ..evaluation.runner import CASES_PER_GROUP, CONTROLS, Extent, evaluate, images_before, sampling_seeds
from ..evaluation.setup import prepare, undrawn_warnings
from ..io.output_folder import check_out
from ..methods import Method, method_caveat
from ..methods.all_but_one import AllButOne
from ..models.interface import Model
from ..models.loading import load
from ..profiling.usage import count_calls
from ..training.config import Tune
from ..training.distributed import is_first
from ..training.resume import checkpointed
from . import monitoring as watch
from .results import summary, write_results


def erase(
    concepts: Sequence[Concept], *, model: str | Source = "emoji", method: Method | None = None, out: Path, seed: int = 0, extent: Extent = "short",
    prompts: Path | None = None, look: Look = Look(), strict: bool = False, force: bool = False, cache: Path | None = None, training: Training | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> dict:  # fmt: skip
    """Erase, evaluate, and write the folder `out`: edit.safetensors, before-after.png, scores.png, report.json, .html and .md, README.md.

    Returns the content of report.json; its `failure` is null, or one line about what the detectors found. Of several processes (torchrun)
    the first looks at pictures and writes; the others return nothing.
    extent: how many pictures the evaluation makes; "none": none, the edit and its card are all.
    prompts: a CSV file of the user's own, asked besides. cache: a folder of pictures made before.
    training: what is kept of the training beside the cache, until this folder is written, and what can be watched beside the folder; None: nothing.
    look: how the pictures are made and judged, before and after.
    strict: refuse a concept that the model cannot draw in the first place, instead of a warning.
    """
    method, start = method or AllButOne(), time.perf_counter()
    check_out(out, force)
    shown = training or Training(save_every=0)
    if min(shown.save_every, shown.sample_every) < 0 or (shown.resume and not shown.save_every):
        raise InputError("save-every and sample-every count steps, 0 or more; with --resume save-every must be above 0")
    if strict and extent == "none":
        raise InputError("--strict looks at pictures of the concept: it does not go with --evaluate none")
    source = Source.of(model)
    net, name = load(source, quantize=shown.quantize, whole=trained_weight_group(method) if shown.quantize else ""), source.model
    concepts, benchmark, judged = prepare(net, name, concepts, CASES_PER_GROUP[extent], seed, prompts, look)
    warnings = [*truncation_warnings(net, concepts), *(line for line in (net.remark, method_caveat(method, net)) if line)]
    if shown.quantize:
        warnings.append(f"what is not tuned was held in {shown.quantize}, and drew the pictures here, before and after")
    given: dict[str, Any] = dict(seed=seed, **look.sampling(net.guidance), cache=cache, progress=progress)
    before = images_before(net, benchmark, **given) if is_first() else torch.zeros(0)
    for warning in undrawn_warnings(benchmark, concepts, before) if is_first() else ():
        if strict:
            raise InputError(f"{warning} (--strict refuses that)")
        warnings.append(warning)

    began, state = time.perf_counter(), training_folder(cache, net, method, concepts) if cache and shown.save_every else None
    if state and state.exists() and not shown.resume:
        warnings.append("a training of the same words had been cut off; it was begun anew (--resume goes on instead)")
    if shown.resume and not (state and state.exists()):
        warnings.append("--resume found no training of these words, settings, weights and versions to go on with: it was begun anew")
    with ExitStack() as inside:
        calls = inside.enter_context(count_calls(net))
        place = inside.enter_context(checkpointed(state, every=shown.save_every, resume=shown.resume)) if state else None
        edit = method(net, *concepts, progress=inside.enter_context(with_monitoring(shown, net, method, benchmark, before, out, given)))
    if not is_first():
        return {}
    if place and place.resumed_from:
        warnings.append(f"the training went on from step {place.resumed_from}: seconds and network calls count from there")
    if shown.sample_every:
        warnings.append("seconds and network calls of the training count its samples, too")
    cost = {"training_seconds": round(time.perf_counter() - began, 1), "network_calls": calls["n"]}
    features = features_or_none() if benchmark.cases else None
    found = evaluate(net, edit, benchmark, before=before, controls=CONTROLS[extent], full=extent == "full", features=features, **given)
    result = summary(edit, net, name, concepts, judged, found, extent, cost, start, warnings, given, prompts)
    write_results(out, force, edit, result, benchmark, found)
    if (samples := sibling_path(out, "samples.png")).exists() and shown.sample_every:
        samples.replace(out / "samples.png")
    if state:
        shutil.rmtree(state, ignore_errors=True)
    return result


def trained_weight_group(method: Method) -> str:
    """The weight group that the method trains, which stays as precise as it is."""
    tune: Tune | None = getattr(method, "tune", None)
    if tune is None:
        raise InputError(f"--quantize is for methods that train a weight group: {type(method).__name__} does not")
    return tune.group


@contextmanager
def with_monitoring(
    shown: Training, net: Model, method: Method, benchmark, before: Tensor, out: Path, given: dict
) -> Iterator[ProgressCallback]:
    """The run's own report, with what else shall be shown of the training, beside the folder that is written at the end."""
    report: ProgressCallback = given["progress"]
    if shown.sample_every and is_first() and benchmark.cases:
        own: dict[str, Any] = dict(
            every=shown.sample_every, file=sibling_path(out, "samples.png"), steps=given["steps"], guidance=given["guidance"]
        )
        report = watch.sample_while_training(report, net, benchmark.cases, sampling_seeds(benchmark, given["seed"]), before, **own)
    track = shown.track if is_first() else None
    try:
        with watch.track_losses(report, track, sibling_path(out, "logs"), out.name, vars(method)) if track else nullcontext(report) as told:
            yield told
    except BaseException:
        sibling_path(out, "samples.png").unlink(missing_ok=True)  # of a run that did not end nothing is left
        raise


def sibling_path(out: Path, what: str) -> Path:
    return out.with_name(f"{out.name}.{what}")


def training_folder(cache: Path, net: Model, method: Method, concepts: Sequence[Concept]) -> Path:
    """Where the state of this very training is kept: the same method with the same settings, concepts, weights, device, precision and software."""
    software = [version(name) for name in ("unconcept", "torch", "diffusers", "transformers")]
    job = [type(method).__name__, repr(method), [asdict(concept) for concept in concepts], net.image_cache_key(), software]
    return cache.parent / "trainings" / hashlib.sha256(json.dumps(job).encode()).hexdigest()[:32]
