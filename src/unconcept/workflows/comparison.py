"""Compare methods, or settings of one, on the same concepts, prompts and seeds, with costs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..callbacks import prefixed
from ..concepts.concept import Concept
from ..concepts.words import check_distinct
from ..config.ranges import check_settings
from ..edits.edit import Edit
from ..errors import InputError
from ..evaluation.benchmark import Benchmark
from ..evaluation.failure_detection import detect_failure
from ..evaluation.features import Features, features_or_none
from ..evaluation.frontier import Point, area, point
from ..evaluation.runner import (
    Evaluation,
    Extent,
    Measures,
    evaluate,
    images_before,
    sampling_seeds,
)
from ..evaluation.scores import PIXELS, find_score
from ..io.output_folder import check_out, whole_folder
from ..io.text import in_markdown
from ..methods import Method, method_caveat
from ..models.loading import load
from ..models.sampling import ImageSampler
from ..profiling.usage import calls_per_image, count_calls, peak_memory, reset_peak_memory
from ..reporting.frontier_plot import plot
from ..reporting.html import embed, embed_file, render
from ..reporting.image_files import image_file, write_images
from ..reporting.image_grid import GROUP_TITLES, columns
from ..reporting.report import format_value, markdown, title
from ..reporting.samples import benchmark_records, write_samples
from ..reporting.verdict import model_title
from .options import EvaluationOptions, check_images
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

# Columns of the table: score, group, header.
MEASURES = (
    ("concept", "target", "concept left"),
    ("concept", "synonym", "by a synonym"),
    ("alternative", "target", "alternative instead"),
    ("right", "neighbour", "neighbours right"),
    ("right", "unrelated", "unrelated right"),
    (PIXELS, "neighbour", "neighbours moved"),
    (PIXELS, "unrelated", "unrelated moved"),
    ("layout change, 8x8 L1", "target", "layout of the concept's images moved"),
    ("drift of the unconditional prediction", "structure", "drift of ε(∅)"),
)

COSTS = ("area", "network calls", "calls per image", "seconds", "GiB")

IMAGES_PER_GROUP = 6  # shown on the page

MISSING = "–"


@dataclass(frozen=True)
class Entry:
    """The result of one method.

    name        what the comparison calls it
    edit        the trained edit
    evaluation  its scores and images
    cost        of training and sampling
    failure     one line about what went wrong, or None
    remark      what must be known of the method in this model, or ""
    points      the edit at several strengths; empty where no judge decides what is removed
    """

    name: str
    edit: Edit
    evaluation: Evaluation
    cost: dict
    failure: str | None
    remark: str
    points: list[Point]

    def to_json(self) -> dict:
        """The method's part of compare.json."""
        return {
            "name": self.name,
            "settings": self.edit.card.get("settings", {}),
            "cost": self.cost,
            "failure": self.failure,
            "remark": self.remark or None,
            "area": area(self.points) if self.points else None,
            "frontier": [vars(p) for p in self.points],
            "scores": self.evaluation.scores.to_json(),
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
    check_images(model)
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
        measures = Measures(self.options.controls, True, self.features)
        evaluation = evaluate(
            self.sampler, edit, self.benchmark, before=self.before, measures=measures
        )
        strengths = STRENGTHS[self.options.extent]
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


def table(result: dict) -> tuple[list[str], list[list[str]]]:
    """The comparison as a table.

    Args:
        result: The content of compare.json.

    Returns:
        (header, lines): one line for the untouched model and one per method, with every score, its
        interval and n, and the costs.
    """
    shown = []
    for name, group, header in MEASURES:
        if any(find_score(entry["scores"], name, group) for entry in result["methods"]):
            shown.append((name, group, header))
    first = ["before"]
    for name, group, _ in shown:
        row = find_score(result["methods"][0]["scores"], name, group)
        first.append(format_value(row["before"] if row else None, name))
    lines = [first + [MISSING] * len(COSTS)]
    for entry in result["methods"]:
        scores = [_cell(entry["scores"], name, group) for name, group, _ in shown]
        lines.append([entry["name"], *scores, *_cost_cells(entry)])
    return ["method", *(header for _, _, header in shown), *COSTS], lines


def _cell(rows: Sequence[dict], name: str, group: str) -> str:
    """A score with its interval and n."""
    row = find_score(rows, name, group)
    if row is None:
        return MISSING
    low, high = (format_value(value, name) for value in row["ci95"])
    return f"{format_value(row['after'], name)} [{low} – {high}] n {row['n']}"


def _cost_cells(entry: dict) -> list[str]:
    cost = entry["cost"]
    return [
        MISSING if entry["area"] is None else f"{entry['area']:.2f}",
        f"{cost['network_calls']:,}",
        f"{cost['calls_for_a_picture']:,}",
        f"{cost['seconds']:.0f}",
        f"{cost['peak_memory_bytes'] / 2**30:.1f}",
    ]


def write_comparison(
    folder: Path, result: dict, benchmark: Benchmark, before: Tensor, entries: Sequence[Entry]
) -> None:
    """Write the files of a comparison.

    Args:
        folder: Where to.
        result: The content of compare.json.
        benchmark: The prompts of the images.
        before: Images [N, 3, H, W] in [0, 1] without any edit.
        entries: One per method.
    """
    images = {"before": before}
    for entry in entries:
        images[entry.name] = entry.evaluation.after
        entry.edit.save(folder / f"{entry.name}.safetensors")
    write_images(folder, images, [i for i, _ in _shown(benchmark)])
    (folder / "compare.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    (folder / "compare.md").write_text(_markdown_page(result, entries), encoding="utf-8")
    columns(benchmark.cases, images).save(folder / "compare.png")
    curves = {entry.name: entry.points for entry in entries if entry.points}
    drawn = bool(curves) and plot(curves, str(folder / "frontier.png"), title(result))
    header, lines = table(result)
    page = render(
        "compare.html",
        title=title(result),
        model=model_title(result["model"]["name"]),
        header=header,
        lines=lines,
        rows=list(_image_rows(benchmark, images)),
        names=list(images),
        r=result,
        failures=[(entry.name, entry.failure) for entry in entries if entry.failure],
        curves=curves,
        frontier=embed_file(folder / "frontier.png") if drawn else None,
        small=before.shape[-1] < 160,
    )
    (folder / "compare.html").write_text(page, encoding="utf-8")


def _markdown_page(result: dict, entries: Sequence[Entry]) -> str:
    notes = [f"{method} cannot: {reason}" for method, reason in result["refused"].items()]
    if result["remark"]:
        notes.append(result["remark"])
    for entry in entries:
        if entry.remark:
            notes.append(f"{entry.name}: {entry.remark}")
    page = f"# {in_markdown(title(result))}\n\n{markdown(*table(result))}"
    return page + "".join(f"\n{in_markdown(note)}\n" for note in notes)


def sample_records(
    benchmark: Benchmark, seed: int, before: Tensor, entries: Sequence[Entry]
) -> list[dict]:
    """The lines of samples.jsonl: the images without any edit, then those of each method.

    Args:
        benchmark: The prompts of the images, and their judge.
        seed: Of the run.
        before: Images [N, 3, H, W] in [0, 1] without any edit.
        entries: One per method.
    """
    seeds = sampling_seeds(benchmark, seed)
    places = {i for i, _ in _shown(benchmark)}
    sets: list[tuple[str | None, Tensor]] = [(None, before)]
    for entry in entries:
        sets.append((entry.name, entry.evaluation.after))
    records = []
    for method, images in sets:
        facts = {"stage": "after", "method": method, "strength": 1.0}
        if method is None:
            facts = {"stage": "before", "method": None, "strength": 0.0}
        for i, record in enumerate(benchmark_records(benchmark, images, seeds, **facts)):
            file = image_file(i, method or "before") if i in places else None
            records.append({**record, "file": file})
    return records


def _shown(benchmark: Benchmark) -> Iterator[tuple[int, str]]:
    """(place, heading) of the cases on the page; the user's own prompts come first."""
    for group, heading in GROUP_TITLES.items():
        members = [i for i, case in enumerate(benchmark.cases) if case.group == group]
        members.sort(key=lambda i: benchmark.cases[i].way != "own")
        for i in members[:IMAGES_PER_GROUP]:
            yield i, heading


def _image_rows(
    benchmark: Benchmark, images: Mapping[str, Tensor]
) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """(heading, prompt, embedded images, files of the same at full size) for the page."""
    for i, heading in _shown(benchmark):
        files = [image_file(i, name) for name in images]
        yield (
            heading,
            benchmark.cases[i].prompt,
            [embed(some[i]) for some in images.values()],
            files,
        )
