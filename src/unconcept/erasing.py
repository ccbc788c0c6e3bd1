"""The main job: erase concepts from a model, look at the same seeds before and after, and leave one folder that says it all."""

import contextlib
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from . import report as reports
from .concept import Concept
from .errors import InputError
from .evaluate import Plain, pictures, scores, verdict
from .methods import AllButOne
from .models import load
from .models.base import Model
from .train import Progress

# Pictures of each group: enough to see it, few enough for a coffee break. benchmarks/ measures with hundreds.
LOOK = {"target": 32, "synonym": 16, "neighbour": 24, "unrelated": 24}
CONTROL = 8  # pictures of other seeds


def erase(
    concepts: Sequence[Concept], *, model: str = "emoji", method: AllButOne | None = None, out: Path, seed: int = 0,
    strict: bool = False, force: bool = False, config: str | None = None, report: Callable[[Progress], None] = lambda progress: None,
) -> dict:  # fmt: skip
    """Erase, evaluate, and write the folder `out`: edit.safetensors, before-after.png, report.json, report.html, README.md.

    Returns the content of report.json; its `failure` is null, or one line about a no-op or a collapse.
    strict: refuse a concept that the model cannot draw in the first place, instead of a warning.
    """
    method, start = method or AllButOne(), time.perf_counter()
    check_out(out, force)
    net = load(model, config=config)
    concepts, exam, judged = prepare(net, model, concepts, seed)
    warnings = list(too_long(net, concepts))

    prompts, seeds = [q.prompt for q in exam.questions], [seed * 100_000 + i for i in range(len(exam.questions))]
    look: dict[str, Any] = dict(steps=method.sampling_steps, guidance=method.guidance, report=report)
    before = pictures(net, prompts, seeds, stage="pictures before", **look)
    another = pictures(net, prompts[:CONTROL], [s + 50_000 for s in seeds[:CONTROL]], stage="control pictures", **look)
    for warning in undrawn(exam, concepts, before):
        if strict:
            raise InputError(f"{warning} (--strict refuses that)")
        warnings.append(warning)

    training = time.perf_counter()
    with counted(net) as calls:
        edit = method(net, *concepts, report=report)
    training = time.perf_counter() - training
    with edit.on(net):
        after = pictures(net, prompts, seeds, stage="pictures after", **look)

    rows = scores(exam, before, after, another)
    result = {
        "schema": 1,
        "concept": [{k: getattr(c, k) for k in ("erase", "alternative", "synonyms", "keep")} for c in concepts],
        "method": {"name": "all-but-one", "settings": asdict(method)},
        "model": {"name": model, "family": net.family, "sha256": edit.card["model_sha256"]},
        "cost": {
            "seconds": round(time.perf_counter() - start, 1),
            "training_seconds": round(training, 1),
            "network_calls": calls["n"],
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024),
            "tuned_parameters": sum(d.numel() for d in edit.deltas.values()),
            "edit_bytes": 0,
        },
        "scores": rows,
        "settings": {
            "seed": seed,
            "sampler": "DDIM",
            "steps": method.sampling_steps,
            "guidance": method.guidance,
            "judge": judged,
        },
        "versions": {name: version(name) for name in ("unconcept", "torch", "diffusers", "transformers")},
        "warnings": warnings,
        "failure": verdict(rows, before, after),
    }
    with whole_folder(out, force) as folder:
        result["cost"]["edit_bytes"] = edit.save(folder / "edit.safetensors").stat().st_size
        reports.write(folder, result, exam.questions, before, after)
    return result


def prepare(net: Model, model: str, concepts: Sequence[Concept], seed: int):
    """(the concepts in full, their exam, the judge's own accuracy or None)."""
    if model != "emoji":
        return tuple(concepts), Plain(concepts, net.vocabulary, LOOK), None
    from .models.emoji import exam, quality

    concepts = tuple(exam.complete(concept) for concept in concepts)
    if all(exam.knows(concept) for concept in concepts):
        return concepts, exam.Exam(concepts, LOOK, seed), quality()["judge"]
    return concepts, Plain(concepts, net.vocabulary, LOOK), None


def undrawn(exam, concepts: Sequence[Concept], before: torch.Tensor) -> list[str]:
    """A line for each concept that the model does not draw in the first place, as far as anybody can tell."""
    if isinstance(exam, Plain):
        return ["no judge knows this concept here: its presence is not scored, look at before-after.png"]
    marks, lines = exam.marks(before)["concept"], []
    for concept in concepts:
        own = marks[[i for i, q in enumerate(exam.questions) if q.group == "target" and q.name == concept.erase]]
        if len(own) and own.mean() < 0.5:
            lines.append(f'the model hardly draws "{concept.erase}": the judge finds it in {own.mean():.0%} of {len(own)} pictures')
    return lines


def too_long(net: Model, concepts: Sequence[Concept]) -> Iterator[str]:
    for prompt in {prompt for concept in concepts for pair in concept.pairs() for prompt in pair}:
        if lost := net.overflow(prompt):
            yield f'the prompt "{prompt}" is longer than the text encoder takes; this is cut: "{lost}"'


@contextlib.contextmanager
def counted(net: Model) -> Iterator[dict[str, int]]:
    """Counts the pictures that go forward through the denoiser meanwhile, under "n"."""
    calls = {"n": 0}

    def hook(module, args, output) -> None:
        calls["n"] += len(args[0])

    handle = net.denoiser.register_forward_hook(hook)
    try:
        yield calls
    finally:
        handle.remove()


def check_out(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another --out")
    if out.exists() and any(out.iterdir()) and not force:
        raise InputError(f"{out} exists: choose another --out, or --force to replace it")
    parent = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not os.access(parent, os.W_OK):
        raise InputError(f"{parent} cannot be written to: choose another --out")


@contextlib.contextmanager
def whole_folder(out: Path, force: bool) -> Iterator[Path]:
    """A folder to fill that takes the place of `out` when it is whole, and vanishes if anything goes wrong."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        part.chmod(0o755)
        yield part
        if out.exists():
            shutil.rmtree(out) if force or not any(out.iterdir()) else check_out(out, force)
        part.rename(out)
    except OSError as error:
        raise InputError(f"{out} could not be written: {error.strerror or error}; nothing was left behind") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
