"""Erasures from `emoji-video`, measured on clips: the table of docs/results/video.md.

    python benchmarks/clip_erasures.py [--n 40] [--only pig=cow] [--methods all-but-one uce]
    python benchmarks/result_pages.py video

Each concept has `n` clips that name it and half as many of its synonyms, of near neighbours and of
unrelated prompts; the seeds are the same before and after. The method "image-edit" is All but One's
edit of the image model `emoji`, applied to the video model as it is. Finished results are not
computed again.
"""

import functools
import time
from typing import Any

from common import arguments, cell, once

from unconcept import AllButOne, Concept, Edit, load
from unconcept.evaluation.emoji.clip_benchmark import EmojiClipBenchmark, MovingEmojiPrompts
from unconcept.evaluation.features import features_or_none
from unconcept.evaluation.runner import Measures, evaluate
from unconcept.methods import METHODS
from unconcept.models.image_cache import cache_folder
from unconcept.models.interface import Model
from unconcept.models.sampling import ImageSampler, Sampling
from unconcept.profiling.usage import count_calls, peak_memory

CASES = ("pig=cow", "watercolor=pencil sketch", "moving to the left=standing still")
IMAGE_EDIT = "image-edit"
# Few steps, so that a method takes some minutes: chosen before anything was measured.
TRAINED: dict[str, dict[str, Any]] = {
    "esd": {"steps": 60, "lr": 3e-4, "sampling_steps": 6},
    "t2v-unlearning": {"steps": 60, "trajectories": 8, "sampling_steps": 6},
}
METHODS_SHOWN = ("all-but-one", IMAGE_EDIT, "uce", "speed", "negative-prompt", *TRAINED)
SEED = 31  # of the prompts


def erase(model: Model, concept: Concept, name: str) -> Edit:
    """The edit of a method, made on the video model or on the image model."""
    if name == IMAGE_EDIT:
        return AllButOne()(load("emoji"), concept)
    return METHODS[name](**TRAINED.get(name, {}))(model, concept)


def measure(case: str, name: str, n: int, steps: int) -> dict[str, Any]:
    """Scores of one erasure.

    Args:
        case: The concept, as the command line writes it.
        name: One of METHODS_SHOWN.
        n: Clips of prompts that name the concept.
        steps: Sampling steps.

    Returns:
        Cost, and the scores as in report.json.
    """
    model = load("emoji-video")
    concepts = model.complete([Concept.parse(case)])
    start, cpu = time.perf_counter(), time.process_time()
    with count_calls(model) as calls:
        edit = erase(model, concepts[0], name)
    cost = {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "network_calls": calls["n"],
        "peak_memory_bytes": peak_memory(),
    }
    counts = {"target": n, "synonym": n // 2, "neighbour": n // 2, "unrelated": n // 2}
    benchmark = EmojiClipBenchmark(MovingEmojiPrompts(concepts, counts, seed=SEED))
    sampler = ImageSampler(model, Sampling(steps=steps), cache_folder())
    measures = Measures(controls=4, full=False, features=features_or_none())
    evaluation = evaluate(sampler, edit, benchmark, measures=measures)
    return {
        "concept": case,
        "method": name,
        "sampling_steps": steps,
        **cost,
        "scores": evaluation.scores.to_json(),
    }


def main() -> None:
    given = arguments(
        __doc__,
        "clips",
        40,
        only={"choices": CASES},
        steps={"type": int, "default": 10, "help": "of sampling"},
        methods={"nargs": "+", "choices": METHODS_SHOWN, "default": METHODS_SHOWN},
    )
    for case in [given.only] if given.only else CASES:
        for name in given.methods:
            make = functools.partial(measure, case, name, given.n, given.steps)
            result = once(given.out / f"{case}-{name}.json", make)
            for row in result["scores"] if result else []:
                print(f"  {row['group']:10} {row['name']:24} {cell(row, 'after')}", flush=True)


if __name__ == "__main__":
    main()
