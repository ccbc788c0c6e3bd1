"""samples.jsonl: one line for each image or clip of a run; later questions need no new ones."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..evaluation.benchmark import Benchmark, Judgement

FILE = "samples.jsonl"

# The keys of every record, in this order; docs/reference/files.md says what they hold.
KEYS = (
    "file",
    "prompt",
    "seed",
    "group",
    "concept",
    "stage",
    "method",
    "strength",
    "attack",
    "judged",
    "probabilities",
    "marks",
    "frames",
)


def sample_record(prompt: str, seed: int, **more: Any) -> dict[str, Any]:
    """One record; what is not known of an image is null.

    Args:
        prompt: What the model was prompted with.
        seed: Of the initial noise.
        **more: Other keys of `KEYS`.
    """
    record: dict[str, Any] = dict.fromkeys(KEYS)
    record |= {"prompt": prompt, "seed": seed, "probabilities": {}, "marks": {}}
    return {**record, **more}


def benchmark_records(
    benchmark: Benchmark, images: Tensor, seeds: Sequence[int], **more: Any
) -> list[dict[str, Any]]:
    """The records of a benchmark's images at one stage.

    Args:
        benchmark: Its cases belong to the images, in their order; its judge says what they show.
        images: [N, 3, H, W], or clips [N, F, 3, H, W], in [0, 1].
        seeds: One per case.
        **more: Keys that all of them share: stage, method, strength.
    """
    if not benchmark.cases:
        return []
    judgements, marks = benchmark.judgements(images), benchmark.marks(images)
    records = []
    for i, (case, seed) in enumerate(zip(benchmark.cases, seeds)):
        record = sample_record(case.prompt, seed, group=case.group, concept=case.name or None)
        if judgements:
            record |= judged(judgements[i])
        record["marks"] = marks_of(marks, i)
        records.append({**record, **more})
    return records


def judged(judgement: Judgement) -> dict[str, Any]:
    """What the judge says, as a record has it; NaN, which is not JSON, is null.

    Args:
        judgement: The judge's answer for one image or clip.

    Returns:
        The keys `judged`, a name or "", and `probabilities` by name, rounded to six digits; of a
        clip also `frames`, the same for each frame.
    """
    probabilities: dict[str, float | None] = {}
    for name, probability in judgement.probabilities.items():
        probabilities[name] = None if math.isnan(probability) else round(probability, 6)
    record: dict[str, Any] = {"judged": judgement.name, "probabilities": probabilities}
    if judgement.frames:
        record["frames"] = [judged(frame) for frame in judgement.frames]
    return record


def marks_of(marks: Mapping[str, Tensor], i: int) -> dict[str, bool]:
    """The marks that apply to one image.

    Args:
        marks: [N] by name: 0, 1, or NaN where a mark does not apply.
        i: The image's place.
    """
    applying = {}
    for name, values in marks.items():
        value = float(values[i])
        if not math.isnan(value):
            applying[name] = bool(value)
    return applying


def write_samples(folder: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write samples.jsonl.

    Args:
        folder: Where to.
        records: One per image.
    """
    with (folder / FILE).open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
