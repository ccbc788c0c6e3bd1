"""EraseEval on an edit: report.json, report.md and samples of one run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..concepts.concept import Concept
from ..evaluation.benchmark import Benchmark
from ..evaluation.eraseeval import EraseEval, Prompts, Protocol, read_levels, run_eraseeval
from ..evaluation.eraseeval.plugs import offline_plugs
from ..evaluation.features import features_or_none
from ..evaluation.setup import prepare
from ..io.output_folder import check_out, whole_folder
from ..io.peer_weights import check_own_edit
from ..models.loading import load
from ..models.sampling import ImageSampler
from ..reporting.eraseeval_report import write
from .attack import one_concept
from .edit_evaluation import read_edit
from .options import EvaluationOptions, check_images, evaluation_sampling
from .results import describe_edit, software_versions

CANDIDATES = 24  # explicit and implicit prompts of the benchmark, out of which some are accepted


def eraseeval_edit(
    path: Path, concepts: Sequence[Concept] = (), strength: float = 1.0, **options: Any
) -> dict:
    """Run EraseEval on an edit, with controls, and write a folder.

    Args:
        path: As `evaluate_edit` takes it.
        concepts: The erased concept; needed where the edit names none or several.
        strength: How much of the edit is applied: 0 nothing, 1 all of it.
        **options: Fields of `EvaluationOptions`; `out` is required. `prompts` is a JSON file or a
            folder of EMMA's.

    Returns:
        The content of report.json.

    Raises:
        InputError: The edit cannot be read, belongs to another model, or does not name one concept.
    """
    started = time.perf_counter()
    run = EvaluationOptions(**{"extent": "full", **options})
    check_own_edit(path)
    check_out(run.out, run.force)
    model = load(run.source)
    check_images(model)
    edit = read_edit(path, run, model, concepts).scale(strength)
    mismatch = edit.check(model, force=run.force)
    concept = one_concept(path, edit, concepts, model)
    size = EraseEval.of(run.extent)
    counts = {"target": CANDIDATES, "implied": CANDIDATES, "neighbour": 2}
    counts["unrelated"] = size.unrelated
    benchmark = prepare(model, [concept], counts, run.seed, None, run.look)
    prompts = choose_prompts(benchmark, concept, run.prompts)
    sampling = evaluation_sampling(run.look, run.seed)
    sampler = ImageSampler(model, sampling, run.cache, run.progress)
    plugs = offline_plugs(benchmark, features_or_none())
    protocol = Protocol(sampler, concept, benchmark, plugs, size)
    result = run_eraseeval(protocol, edit, prompts)
    report = {
        "schema": 1,
        "kind": "eraseeval",
        "concept": [{"erase": concept.erase, "alternative": concept.alternative}],
        **describe_edit(edit, run.source.model, model),
        "eraseeval": result,
        "settings": {
            "evaluation": run.extent,
            "seed": run.seed,
            "sampler": sampler.sampling.sampler,
            "steps": sampler.sampling.steps,
            "guidance": sampler.sampling.guidance,
            "edit_sha256": edit.fingerprint(),
        },
        "cost": {"seconds": round(time.perf_counter() - started, 1)},
        "versions": software_versions(),
        "warnings": notes(mismatch, benchmark),
        "failure": None,
    }
    with whole_folder(run.out, run.force) as folder:
        write(folder, report)
    return report


def choose_prompts(benchmark: Benchmark, concept: Concept, own: Path | None) -> Prompts:
    """The prompts that are tried: the user's own, or the benchmark's.

    Args:
        benchmark: Has prompts.
        concept: The erased one.
        own: A JSON file or a folder of EMMA's.
    """
    explicit, implicit, unrelated = [], [], []
    for case in benchmark.cases:
        if case.group == "target":
            explicit.append((case.prompt, case.instead))
        elif case.group == "implied":
            implicit.append(case.prompt)
        elif case.group == "unrelated":
            unrelated.append(case)
    if own is not None:
        levels = read_levels(own, concept.erase)
        implicit = levels["implicit"] or implicit
        if levels["explicit"]:
            explicit = [(prompt, "") for prompt in levels["explicit"]]
    return Prompts(list(dict.fromkeys(explicit)), list(dict.fromkeys(implicit)), unrelated)


def notes(mismatch: str | None, benchmark: Benchmark) -> list[str]:
    """What must be said beside the scores.

    Args:
        mismatch: Of edit and model.
        benchmark: With or without a judge.
    """
    lines = [mismatch] if mismatch else []
    if benchmark.judge_card is None:
        lines.append("no judge: nobody knows whether the concept is in an image (--judge)")
    return lines
