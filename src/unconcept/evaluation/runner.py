"""Evaluate: the same seeds before and after, every measure over them, and the controls that a sceptic would ask for.

Each difference between before and after is the edit's own: prompts, seeds and sampler are the same. Two controls, without any edit, say how
large a difference is: another seed (the most that can change) and another sampler (the least that anybody notices).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..callbacks import Progress
from ..edits.edit import Edit, has_adapters
from ..models.image_cache import sample_images
from ..models.interface import Model
from .features import Features
from .metrics.unconditional_drift import drift
from .scores import change_scores, median_score, scores, selectivity
from .set_distances import distances

# Pictures of each group. Short: what `erase` does on its way. Full: more than a thousand pictures, before and after and controls together.
Extent = Literal["short", "full", "none"]

CASES_PER_GROUP: dict[Extent, dict[str, int]] = {
    "short": {"target": 20, "synonym": 8, "neighbour": 15, "unrelated": 12},
    "full": {"target": 130, "synonym": 50, "implied": 30, "neighbour": 120, "unrelated": 140},
    "none": {},
}

CONTROLS = {"short": 8, "full": 32, "none": 0}

BLOCK = 10**9  # seeds of one evaluation; below the first block lie those of trainings


@dataclass(frozen=True)
class Evaluation:
    """Rows {name, group, before, after, n, ci95, better} (report.json, schema 1), and the pictures they are about [N, 3, H, W]."""

    rows: list[dict]
    before: Tensor
    after: Tensor


def images_before(
    model: Model, benchmark, *, seed: int = 0, steps: int = 25, guidance: float = 5.0, cache: Path | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Tensor:  # fmt: skip
    """The untouched model's pictures of the questions: what `evaluate` compares with."""
    made_by = cache_key_unedited(model) if cache else ""
    given: dict[str, Any] = dict(steps=steps, guidance=guidance, made_by=made_by, cache=cache, progress=progress, stage="pictures before")
    return sample_images(model, [q.prompt for q in benchmark.cases], sampling_seeds(benchmark, seed), **given)


def sampling_seeds(benchmark, seed: int) -> list[int]:
    """A seed for each question: the caller's own, or one counted up, far from those that trainings begin at."""
    return [(1 + seed) * BLOCK + i if q.seed is None else q.seed for i, q in enumerate(benchmark.cases)]


def evaluate(
    model: Model, edit: Edit, benchmark, *, before: Tensor | None = None, seed: int = 0, steps: int = 25, guidance: float = 5.0, controls: int = 32,
    full: bool = True, features: Features | None = None, cache: Path | None = None, progress: Callable[[Progress], None] = lambda progress: None,
) -> Evaluation:  # fmt: skip
    """Ask every question of `exam` before and after `edit`, from the same seeds.

    before: the untouched model's pictures where they are there already (`before_edit`).
    full: also what needs more pictures, the distances of sets (`whole`), and the drift of ε(∅).
    Costs 2 · len(questions) + 2 · controls pictures, and 2 · the target questions more when full.
    """
    asked, first = [q.prompt for q in benchmark.cases], sampling_seeds(benchmark, seed)
    given: dict[str, Any] = dict(steps=steps, guidance=guidance, cache=cache, progress=progress)
    base = cache_key_unedited(model) if cache else ""
    make = lambda stage, prompts, at, edited="", **more: sample_images(
        model, prompts, at, **given, **more, made_by=base and base + edited, stage=stage
    )
    if before is None:
        before = images_before(model, benchmark, seed=seed, **given)
    if not asked:
        return Evaluation([], before, before)
    with edit.on(model):
        after = make("pictures after", asked, first, edit.fingerprint())
    rows = scores(benchmark, before, after, features)

    some = torch.linspace(0, len(asked) - 1, min(controls, len(asked))).long().tolist()
    if some:
        again = [asked[i] for i in some]
        another = make("control: another seed", again, [first[i] + BLOCK // 4 for i in some])
        rows += change_scores(before[some], another, "structure", "control, another seed: ", None, features)
        other = make("control: another sampler", again, [first[i] for i in some], sampler=model.samplers[1])
        rows += change_scores(before[some], other, "structure", "control, another sampler: ", None, features)
    rows.append(selectivity(benchmark, before, after))
    if full:
        rows += distances(benchmark, before, after, features, lambda: alternative_images(benchmark, make))
        rows.append(median_score("drift of the unconditional prediction", "structure", drift(model, edit.on(model), steps=steps), "lower"))
    return Evaluation(rows, before, after)


def alternative_images(benchmark, make) -> tuple[Tensor, Tensor]:
    """The untouched model's pictures of what the target prompts shall show instead, from two blocks of seeds of their own."""
    prompts = [q.instead for q in benchmark.cases if q.group == "target" and q.instead]
    blocks = (BLOCK // 2, BLOCK // 4 * 3)
    first, second = (make("the alternative's own pictures", prompts, range(at, at + len(prompts))) for at in blocks)
    return first, second


def cache_key_unedited(model: Model) -> str:
    """What makes a model's pictures, for the cache, with its weights as they are; nothing where modules were put behind others."""
    return "" if has_adapters(model) else model.image_cache_key()
