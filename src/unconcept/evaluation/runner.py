"""Evaluate an edit: the same prompts and seeds before and after, every measure, and controls.

Every difference between before and after is due to the edit: prompts, seeds and sampler are the
same. Two controls without any edit show how large a difference is: another seed (the most that can
change) and another sampler (a change that nobody notices).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..config.ranges import SEEDS
from ..edits.edit import Edit
from ..models.sampling import ImageSampler
from .benchmark import Benchmark
from .clip_benchmark import ClipBenchmark, clip_scores
from .features import Features
from .metrics.unconditional_drift import drift
from .scores import ANOTHER_SEED, Scores, change_scores, compute_scores, median_score, selectivity
from .set_distances import compute_set_distances

# How many images are made. Short: what `erase` does along the way. Full: more than a thousand
# images, before, after and controls together.
Extent = Literal["short", "full", "none"]

CASES_PER_GROUP: dict[Extent, dict[str, int]] = {
    "short": {"target": 20, "synonym": 8, "neighbour": 15, "unrelated": 12},
    "full": {"target": 130, "synonym": 50, "implied": 30, "neighbour": 120, "unrelated": 140},
    "none": {},
}

CONTROLS: dict[Extent, int] = {"short": 8, "full": 32, "none": 0}

# A clip costs as much as its frames.
CLIPS_PER_GROUP: dict[Extent, dict[str, int]] = {
    "short": {"target": 8, "synonym": 4, "neighbour": 6, "unrelated": 6},
    "full": {"target": 100, "synonym": 40, "implied": 20, "neighbour": 100, "unrelated": 100},
    "none": {},
}

CLIP_CONTROLS: dict[Extent, int] = {"short": 4, "full": 16, "none": 0}

DRIFT_SEEDS = 8  # unprompted trajectories; as many as a batch holds where clips are large

BLOCK = 10**9  # seeds of one evaluation; the seeds of trainings lie below the first block


@dataclass(frozen=True)
class Measures:
    """What is measured besides the benchmark's own scores.

    controls  images per control
    full      also distances between sets of images, and the drift of ε(∅)
    features  feature space of changes and distances; None: without
    """

    controls: int = 32
    full: bool = True
    features: Features | None = None


@dataclass(frozen=True)
class Evaluation:
    """The scores of an edit and the images behind them.

    scores  rows of report.json
    before  images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1], one per case, of the model
            without the edit
    after   images or clips of the same prompts and seeds with the edit
    """

    scores: Scores
    before: Tensor
    after: Tensor


def images_before(sampler: ImageSampler, benchmark: Benchmark) -> Tensor:
    """Sample the benchmark's prompts without any edit.

    Args:
        sampler: Its model is the original one.
        benchmark: The prompts.

    Returns:
        Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1], one per case.
    """
    prompts = [case.prompt for case in benchmark.cases]
    seeds = sampling_seeds(benchmark, sampler.sampling.seed)
    return sampler.images(prompts, seeds, stage="images before")


def sampling_seeds(benchmark: Benchmark, seed: int) -> list[int]:
    """The seed of each case: its own, or one counted up, far from those that trainings start from.

    Args:
        benchmark: The cases.
        seed: Of the run.

    Returns:
        One seed per case.
    """
    seeds = []
    for i, case in enumerate(benchmark.cases):
        seeds.append(((1 + seed) * BLOCK + i) % SEEDS if case.seed is None else case.seed)
    return seeds


def evaluate(
    sampler: ImageSampler,
    edit: Edit,
    benchmark: Benchmark,
    *,
    before: Tensor | None = None,
    measures: Measures = Measures(),
) -> Evaluation:
    """Sample every case with the edit, and score it against the same seed without.

    Samples 2 images per case and 2 per control; when full, 2 more per target case. Of clips, which
    are too few, no distances between sets are measured.

    Args:
        sampler: Its model is the original one, without the edit.
        edit: What is evaluated.
        benchmark: Prompts and judge.
        before: `images_before`, where they are sampled already.
        measures: What else is measured.

    Returns:
        Scores and images; no scores for a benchmark without cases.
    """
    if before is None:
        before = images_before(sampler, benchmark)
    if not benchmark.cases:
        return Evaluation(Scores(), before, before)
    prompts = [case.prompt for case in benchmark.cases]
    seeds = sampling_seeds(benchmark, sampler.sampling.seed)
    after = sampler.images(prompts, seeds, edit=edit, stage="images after")
    scores = compute_scores(benchmark, before, after, measures.features)
    scores += control_scores(sampler, benchmark, before, measures)
    scores.append(selectivity(benchmark, before, after))
    if isinstance(benchmark, ClipBenchmark):
        scores += clip_scores(benchmark, before, after, measures.features)
    elif measures.full:
        scores += compute_set_distances(
            benchmark,
            before,
            after,
            measures.features,
            lambda: alternative_images(sampler, benchmark),
        )
    if measures.full:
        name = "drift of the unconditional prediction"
        model, steps = sampler.model, sampler.sampling.steps
        seeds = min(DRIFT_SEEDS, model.max_batch)
        values = drift(model, edit.on(model), seeds=seeds, steps=steps)
        scores.append(median_score(name, "structure", values, "lower"))
    return Evaluation(scores, before, after)


def control_scores(
    sampler: ImageSampler, benchmark: Benchmark, before: Tensor, measures: Measures
) -> Scores:
    """Changes without any edit: by another seed, and by another sampler.

    Args:
        sampler: Its model is the original one.
        benchmark: The prompts; some of them, evenly spread, are sampled again.
        before: Images [N, 3, H, W] in [0, 1] of all cases.
        measures: How many are sampled again, and the feature space.

    Returns:
        Scores in the group "structure".
    """
    scores = Scores()
    n = len(benchmark.cases)
    some = torch.linspace(0, n - 1, min(measures.controls, n)).long().tolist()
    if not some:
        return scores
    seeds = sampling_seeds(benchmark, sampler.sampling.seed)
    prompts = [benchmark.cases[i].prompt for i in some]
    same_seeds = [seeds[i] for i in some]
    other_seeds = [(seed + BLOCK // 4) % SEEDS for seed in same_seeds]
    others = [name for name in sampler.model.samplers if name != sampler.sampling.sampler]
    other_sampler = sampler.with_sampling(sampler=others[0])
    controls = {
        ANOTHER_SEED: sampler.images(prompts, other_seeds, stage="control: another seed"),
        "control, another sampler: ": other_sampler.images(
            prompts, same_seeds, stage="control: another sampler"
        ),
    }
    for prefix, images in controls.items():
        scores += change_scores(before[some], images, "structure", prefix, None, measures.features)
    return scores


def alternative_images(sampler: ImageSampler, benchmark: Benchmark) -> tuple[Tensor, Tensor]:
    """Sample what the target prompts should show instead, with the original model.

    Args:
        sampler: Its model is the original one.
        benchmark: The prompts.

    Returns:
        Two sets of images [M, 3, H, W] in [0, 1], from two blocks of seeds that nothing else uses;
        one image per target case that has an alternative.
    """
    prompts = []
    for case in benchmark.cases:
        if case.group == "target" and case.instead:
            prompts.append(case.instead)
    stage = "images of the alternative"
    first, second = BLOCK // 2, BLOCK // 4 * 3
    return (
        sampler.images(prompts, range(first, first + len(prompts)), stage=stage),
        sampler.images(prompts, range(second, second + len(prompts)), stage=stage),
    )
