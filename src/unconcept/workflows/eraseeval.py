"""EraseEval on an edit: report.json, report.md and samples of one run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..concepts.concept import Concept
from ..errors import RunError
from ..evaluation.benchmark import Benchmark
from ..evaluation.eraseeval import EraseEval, Prompts, Protocol, read_levels, run_eraseeval
from ..evaluation.eraseeval.answers import Answers
from ..evaluation.eraseeval.local_plugs import (
    Folders,
    LocalModels,
    LocalWriter,
    local_plugs,
    read_folders,
    with_alternative,
)
from ..evaluation.eraseeval.plugs import JudgeEye, Plugs, offline_plugs
from ..evaluation.eraseeval.protocol import TRIALS
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

DESCRIPTIONS = 5  # implicit prompts that a writer writes


def eraseeval_edit(
    path: Path,
    concepts: Sequence[Concept] = (),
    strength: float = 1.0,
    plugs: Path | None = None,
    **options: Any,
) -> dict:
    """Run EraseEval on an edit, with controls, and write a folder.

    Args:
        path: As `evaluate_edit` takes it.
        concepts: The erased concept; needed where the edit names none or several.
        strength: How much of the edit is applied: 0 nothing, 1 all of it.
        plugs: YAML file of the folders of large models that answer instead of the judge.
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
    folders = Folders() if plugs is None else read_folders(plugs)
    model = load(run.source)
    check_images(model, "EraseEval")
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
    answers = Answers(run.cache.parent / "answers" if run.cache else None)
    models = LocalModels(answers)
    all_plugs = local_plugs(offline_plugs(benchmark, features_or_none()), folders, concept, models)
    if run.prompts is not None:
        all_plugs = replace(all_plugs, names={**all_plugs.names, "writer": run.prompts.name})
    elif folders.writer:
        writer = LocalWriter(models.chat(folders.writer), concept, answers)
        prompts = write_prompts(writer, prompts, size)
    protocol = Protocol(sampler, concept, benchmark, all_plugs, size)
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
        "warnings": notes(mismatch, benchmark, all_plugs),
        "failure": None,
    }
    with whole_folder(run.out, run.force) as folder:
        write(folder, report)
    return report


def choose_prompts(benchmark: Benchmark, concept: Concept, file: Path | None) -> Prompts:
    """The prompts that are tried: the user's own, or the benchmark's.

    Args:
        benchmark: Has prompts.
        concept: The erased one.
        file: A JSON file or a folder of EMMA's.
    """
    explicit, implicit, unrelated = [], [], []
    for case in benchmark.cases:
        if case.group == "target":
            explicit.append((case.prompt, case.instead))
        elif case.group == "implied":
            implicit.append(case.prompt)
        elif case.group == "unrelated":
            unrelated.append(case)
    if file is not None:
        levels = read_levels(file, concept.erase)
        implicit = levels["implicit"] or implicit
        if levels["explicit"]:
            explicit = [(prompt, "") for prompt in levels["explicit"]]
    return Prompts(list(dict.fromkeys(explicit)), list(dict.fromkeys(implicit)), unrelated)


def write_prompts(writer: LocalWriter, prompts: Prompts, size: EraseEval) -> Prompts:
    """Explicit and implicit prompts by a writer, in place of the benchmark's.

    Args:
        writer: Writes them.
        prompts: The benchmark's.
        size: Of the protocols.

    Raises:
        RunError: The writer keeps to no rule.
    """
    explicit = writer.prompts(True, TRIALS * size.explicit)
    implicit = writer.prompts(False, DESCRIPTIONS)
    if not explicit or not implicit:
        kind = "describes" if explicit else "names"
        raise RunError(
            f"{writer.model.name} wrote no prompt that {kind} {writer.concept.erase} as it was "
            "asked to: use a larger writer, or --prompts"
        )
    pairs = [(prompt, with_alternative(prompt, writer.concept)) for prompt in explicit]
    return Prompts(pairs, implicit, prompts.unrelated)


def notes(mismatch: str | None, benchmark: Benchmark, plugs: Plugs) -> list[str]:
    """What must be said beside the scores.

    Args:
        mismatch: Of edit and model.
        benchmark: With or without a judge.
        plugs: The models that answered.
    """
    lines = [mismatch] if mismatch else []
    uses_judge = any(isinstance(eye, JudgeEye) for eye in plugs.eyes)
    if benchmark.judge_card is None and uses_judge:
        lines.append("no judge: nobody knows whether the concept is in an image (--judge)")
    return lines
