"""Compare methods, or settings of one, on the same concepts, prompts and seeds, with costs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ..callbacks import prefixed
from ..concepts.concept import Concept
from ..concepts.contradictions import check_distinct
from ..config.ranges import check_settings
from ..edits.edit import Edit
from ..errors import InputError
from ..evaluation.benchmark import Benchmark
from ..evaluation.failure_detection import detect_failure
from ..evaluation.features import Features, features_or_none
from ..evaluation.frontier import Point, point
from ..evaluation.runner import (
    Evaluation,
    Extent,
    Measures,
    evaluate,
    images_before,
    sampling_seeds,
)
from ..evaluation.scores import PIXELS
from ..io.output_folder import check_out, whole_folder
from ..methods import Method, method_caveat
from ..models.loading import load
from ..models.sampling import ImageSampler
from ..profiling.usage import calls_per_image, count_calls, peak_memory, reset_peak_memory
from ..reporting.samples import write_samples
from .comparison_folder import Entry, sample_records, write_comparison
from .options import EvaluationOptions
from .results import concept_records, software_versions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import EvaluationKeywords

# Strengths for the trade-off of removed against kept, besides 1, at which edits are trained.
STRENGTHS: dict[Extent, tuple[float, ...]] = {
    "short": (0.5,),
    "full": (0.25, 0.5, 0.75, 1.25),
    "none": (),
}


def compare(
    concepts: Sequence[Concept],
    methods: Mapping[str, Method],
    **options: Unpack[EvaluationKeywords],
) -> dict:
    """Run every method from the same original model, and write a folder.

    The folder holds compare.json, compare.md, compare.html, compare.png, samples.jsonl, the edit of
    each method, images at full size in images/, and frontier.png where a judge decides what is
    removed. A method that cannot be run on this
    model is listed with the reason, and the others are run.

    Args:
        concepts: What to erase.
        methods: By the name that the comparison gives them.
        **options: Fields of `EvaluationOptions`; `out` is required.

    Returns:
        The content of compare.json.

    Raises:
        InputError: Something of the input is wrong, or no method can be run.
    """
    run = EvaluationOptions(**options)
    check_distinct(concepts)
    for method in methods.values():
        check_settings(method)
    check_out(run.out, run.force)
    model = load(run.source)
    benchmark = run.benchmark(model, model.complete(concepts))
    sampler = run.sampler(model)
    before = images_before(sampler, benchmark)
    comparison = _Comparison(run, benchmark, sampler, before, features_or_none())
    entries, refused = [], {}
    for name, method in methods.items():
        try:
            entries.append(comparison.entry(name, method))
        except _RefusedError as error:
            refused[name] = str(error)
    if not entries:
        raise InputError("; ".join(f"{name}: {reason}" for name, reason in refused.items()))
    sampling = {"steps": sampler.sampling.steps, "guidance": sampler.sampling.guidance}
    result = {
        "schema": 1,
        "concept": concept_records(benchmark),
        "model": {
            "name": run.source.model,
            "family": model.family,
            "sha256": entries[0].edit.card.get("model_sha256"),
        },
        "methods": [entry.to_json() for entry in entries],
        "refused": refused,
        "remark": model.remark or None,
        "settings": {
            "evaluation": run.extent,
            "seed": run.seed,
            **sampling,
            "judge": benchmark.judge_card,
            "frames": model.frames,
        },
        "versions": software_versions(),
    }
    with whole_folder(run.out, run.force) as folder:
        write_comparison(folder, result, benchmark, before, entries)
        write_samples(folder, sample_records(benchmark, run.seed, before, entries))
    return result


class _RefusedError(Exception):
    """A method cannot be run on this model."""


@dataclass(frozen=True)
class _Comparison:
    """What all methods have in common."""

    options: EvaluationOptions
    benchmark: Benchmark
    sampler: ImageSampler
    before: Tensor
    features: Features | None

    def entry(self, name: str, method: Method) -> Entry:
        model, sampling = self.sampler.model, self.sampler.sampling
        edit, cost = self.train(name, method)
        cost["calls_for_a_picture"] = calls_per_image(model, edit, sampling)
        measures = Measures(self.options.controls(model), True, self.features)
        evaluation = evaluate(
            self.sampler, edit, self.benchmark, before=self.before, measures=measures
        )
        strengths = () if model.frames else STRENGTHS[self.options.extent]
        return Entry(
            name=name,
            edit=edit,
            evaluation=evaluation,
            cost=cost,
            failure=detect_failure(evaluation.scores, self.before, evaluation.after),
            remark=method_caveat(method, model),
            points=strength_curve(self.sampler, edit, self.benchmark, evaluation, strengths),
        )

    def train(self, name: str, method: Method) -> tuple[Edit, dict]:
        """(the edit, its cost)"""
        reset_peak_memory()
        start = time.perf_counter()
        progress = prefixed(self.options.progress, name)
        try:
            with count_calls(self.sampler.model) as calls:
                edit = method(self.sampler.model, *self.benchmark.concepts, progress=progress)
        except InputError as error:
            raise _RefusedError(str(error)) from error
        cost = {
            "seconds": round(time.perf_counter() - start, 1),
            "network_calls": calls["n"],
            "peak_memory_bytes": peak_memory(),
        }
        return edit, cost


def strength_curve(
    sampler: ImageSampler,
    edit: Edit,
    benchmark: Benchmark,
    evaluation: Evaluation,
    strengths: Sequence[float],
) -> list[Point]:
    """Measure the trade-off of an edit at several strengths, on the same prompts and seeds.

    Args:
        sampler: Its model is the original one.
        edit: As trained.
        benchmark: Prompts and judge.
        evaluation: Of the edit as trained.
        strengths: Others than 1.

    Returns:
        Points by increasing strength; none where no judge decides what is removed.
    """
    concept = evaluation.scores["concept", "target"]
    other_seed = evaluation.scores[f"control, another seed: {PIXELS}", "structure"]
    if not concept or not concept.before or not other_seed or not other_seed.after:
        return []
    before = evaluation.before
    points = [point(benchmark, 1.0, before, evaluation.after, other_seed.after)]
    prompts = [case.prompt for case in benchmark.cases]
    seeds = sampling_seeds(benchmark, sampler.sampling.seed)
    for strength in strengths:
        stage = f"strength {strength}"
        after = sampler.images(prompts, seeds, edit=edit.scale(strength), stage=stage)
        points.append(point(benchmark, strength, before, after, other_seed.after))
    return sorted(points, key=lambda p: p.strength)
