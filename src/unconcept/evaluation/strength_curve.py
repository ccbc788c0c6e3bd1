"""How an erasure depends on its strength: the same prompts and seeds at several strengths."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..edits.edit import Edit
from ..models.sampling import ImageSampler
from .benchmark import Benchmark, part_of
from .metrics.proportions import proportion
from .runner import Evaluation, sampling_seeds

# Nothing, half, as trained, and more.
STRENGTHS = (0.0, 0.5, 1.0, 1.25)

PROMPTS = 8  # of the target group


@dataclass(frozen=True)
class StrengthCurve:
    """The concept's images at several strengths of an edit.

    places  places of their cases in the benchmark, M
    images  by strength [M, 3, H, W] in [0, 1]
    rows    for each strength {strength, concept, alternative}: shares {value, n, ci95}, None
            without a judge
    """

    places: list[int]
    images: dict[float, Tensor]
    rows: list[dict[str, Any]]


def measure_strengths(
    sampler: ImageSampler, edit: Edit, benchmark: Benchmark, evaluation: Evaluation
) -> StrengthCurve | None:
    """Sample prompts of the target group at the strengths that were not evaluated.

    Args:
        sampler: Its model is the original one, without the edit.
        edit: As it was evaluated.
        benchmark: Prompts and judge.
        evaluation: Of the edit: strengths 0 and 1 are taken from it.

    Returns:
        The curve, of at most `PROMPTS` prompts; None where there is no prompt of that group.
    """
    targets = [i for i, case in enumerate(benchmark.cases) if case.group == "target"]
    count = min(PROMPTS, len(targets))
    if not count:
        return None
    places = [targets[k * len(targets) // count] for k in range(count)]
    prompts = [benchmark.cases[i].prompt for i in places]
    all_seeds = sampling_seeds(benchmark, sampler.sampling.seed)
    seeds = [all_seeds[i] for i in places]
    images: dict[float, Tensor] = {}
    for strength in STRENGTHS:
        if strength in (0.0, 1.0):
            images[strength] = (evaluation.after if strength else evaluation.before)[places]
        else:
            stage = f"strength {strength:g}"
            scaled = edit.scale(strength)
            images[strength] = sampler.images(prompts, seeds, edit=scaled, stage=stage)
    some = part_of(benchmark, places)
    rows = [shares(some, strength, shown) for strength, shown in images.items()]
    return StrengthCurve(places, images, rows)


def shares(benchmark: Benchmark, strength: float, images: Tensor) -> dict[str, Any]:
    """The share of images that show the concept, and the alternative.

    Args:
        benchmark: Its cases belong to the images.
        strength: Of the edit.
        images: [M, 3, H, W] in [0, 1].

    Returns:
        A row of `StrengthCurve`.
    """
    marks = benchmark.marks(images)
    row: dict[str, Any] = {"strength": strength}
    for name in ("concept", "alternative"):
        row[name] = proportion(marks[name]) if name in marks else None
    return row
