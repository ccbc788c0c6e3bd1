"""Five erasures on the embedded model, measured with hundreds of images each: the table of
docs/results/main-results.md.

    python benchmarks/main_results.py --erase                     # the five edits
    python benchmarks/main_results.py [--n 50] [--only pig=cow]   # their images
    python benchmarks/main_results.py --outright --n 100          # the alternative alone
    python benchmarks/result_pages.py main-results

The edits are computed as by `unconcept erase`. Finished results are not computed again.
Each near neighbour has `n` images, and every other group 2n (the word alone, on a coloured
background, in a style or in a scene, drawn at random), from the same seeds before and after. The
edits are stored beside the results, so they can be computed on one machine and evaluated on
another. With --outright the targets and the synonyms have `n` images each; the images before are
then the untouched model's for the same prompts with the alternative in the concept's place: an
erasure can hardly show the alternative more often.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from common import arguments, cell, machine, once, plain
from torch import Tensor

from unconcept import AllButOne, Concept, Edit, load
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark
from unconcept.evaluation.emoji.cases import CaseWriter
from unconcept.evaluation.scores import compute_scores
from unconcept.models.emoji.concepts import completed, near_in_words
from unconcept.models.image_cache import cache_folder
from unconcept.models.interface import Model
from unconcept.models.sampling import ImageSampler, Sampling
from unconcept.profiling.usage import count_calls, peak_memory

CASES = {
    "pig=cow": ["pig=cow"],
    "castle=house": ["castle=house"],
    "watercolor=pencil sketch": ["watercolor=pencil sketch"],
    "weapon": ["weapon"],
    "three at once": ["pig=cow", "castle=house", "guitar=violin"],
}
# The alternative appeared in less than 98 % of the images, for the name or for a synonym.
NEAR = ["castle=house", "watercolor=pencil sketch", "three at once"]
GROUPS = ("target", "synonym", "neighbour", "unrelated")
LOTS = 1000  # seed of the prompts
OUTRIGHT = 5  # added to it with --outright; settings were chosen on 2 to 4


def measure(
    names: Sequence[str],
    n: int,
    method: Callable[..., Edit] | None = None,
    *,
    file: Path | None = None,
    name: str = "emoji",
) -> dict:
    """Sample n images of every group of prompts, before and after an edit.

    Args:
        names: The concepts, as the command line writes them.
        n: Number of images per group.
        method: Makes the edit; None: All but One with its defaults.
        file: The edit is read from there if it exists, and saved there if not.
        name: The embedded model.

    Returns:
        What the edit cost, and the scores as in report.json.
    """
    model, concepts = load(name), read(names)
    edit = erased(model, concepts, method or AllButOne(), file)
    near = near_words(model, concepts)
    exam = EmojiBenchmark(concepts, dict.fromkeys(GROUPS, n), seed=LOTS, likely=near)
    return result(names, edit, exam, *both(model, edit, exam))


def measure_each_neighbour(names: Sequence[str], n: int, file: Path) -> dict:
    """As `measure`, with n images of every single neighbour and 2n of every other group.

    Args:
        names: The concepts, as the command line writes them.
        n: Number of images per neighbour.
        file: The edit is read from there if it exists, and saved there if not.

    Returns:
        What the edit cost, and the scores as in report.json.
    """
    model, concepts = load("emoji"), read(names)
    edit = erased(model, concepts, AllButOne(), file)
    near = near_words(model, concepts)
    nearby = max(len(CaseWriter(concepts, likely=near).nearby(c)) for c in concepts)
    groups = {**dict.fromkeys(GROUPS, 2 * n), "neighbour": n * len(concepts) * nearby}
    exam = EmojiBenchmark(concepts, groups, seed=LOTS, likely=near)
    return result(names, edit, exam, *both(model, edit, exam))


def near_words(model: Model, concepts: Sequence[Concept]) -> list[str]:
    """Objects that are near the concepts in the text encoder's space."""

    def encode(prompts: Sequence[str]) -> Tensor:
        return model.encode(prompts)[model.prompt_states_key]

    return near_in_words(encode, concepts)


def outright(names: Sequence[str], n: int, file: Path) -> dict:
    """Scores of n targets and n synonyms with the edit in `file`. The images before are the
    untouched model's, for the same prompts with the alternative in the concept's place.
    """
    model, concepts = load("emoji"), read(names)
    if not all(concept.alternative for concept in concepts):
        raise SystemExit(f"{' + '.join(names)}: there is no alternative to sample")
    edit = erased(model, concepts, AllButOne(), file)
    exam = EmojiBenchmark(concepts, {"target": n, "synonym": n}, seed=LOTS + OUTRIGHT)
    return result(
        names, edit, exam, *both(model, edit, exam, before=[q.instead for q in exam.cases])
    )


def read(names: Sequence[str]) -> tuple[Concept, ...]:
    return completed([Concept.parse(name) for name in names])


def erased(
    model: Model, concepts: Sequence[Concept], method: Callable[..., Edit], file: Path | None
) -> Edit:
    """The edit in `file`, computed now if the file does not exist. Its card has the cost."""
    if file and plain(file).exists():
        return Edit.load(plain(file))
    start, cpu = time.perf_counter(), time.process_time()
    with count_calls(model) as calls:
        edit = method(model, *concepts)
    cost = {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_memory_bytes": peak_memory(),
        "network_calls": calls["n"],
    }
    edit = replace(edit, card={**edit.card, "cost": cost, "made_on": machine()})
    if file:
        edit.save(plain(file))
    return edit


def both(
    model: Model, edit: Edit, exam: EmojiBenchmark, *, before: Sequence[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Images of the benchmark's prompts before (or of the prompts in `before`) and after, from the
    seeds that follow from its own.
    """
    first = 5_000_000 + 10_000 * (exam.seed - LOTS)
    prompts, seeds = [q.prompt for q in exam.cases], [first + i for i in range(len(exam.cases))]
    batch_size = 256 if model.device.type == "cuda" else None
    sampling = Sampling(steps=model.steps)
    sampler = ImageSampler(model, sampling, cache_folder(), batch_size=batch_size)
    return sampler.images(before or prompts, seeds), sampler.images(prompts, seeds, edit=edit)


def result(
    names: Sequence[str], edit: Edit, exam: EmojiBenchmark, before: Tensor, after: Tensor
) -> dict:
    """What the edit cost, and the scores of the benchmark's images."""
    cost, training = edit.card.get("cost", {}), edit.card.get("training", {})
    return {
        "concepts": list(names),
        **cost,
        "training": training,
        "asked_on": machine(),
        "scores": compute_scores(exam, before, after).to_json(),
    }


def main() -> None:
    own: dict[str, dict] = {
        "only": {"choices": CASES},
        "erase": {"action": "store_true", "help": "only compute the edits"},
        "outright": {
            "action": "store_true",
            "help": "the alternative alone, with other seeds, stored in outright/",
        },
    }
    given = arguments(__doc__, "erasures", 50, **own)
    folder = given.out / "outright" if given.outright else given.out
    for name in [given.only] if given.only else NEAR if given.outright else CASES:
        names, file = CASES[name], folder / f"{name}.safetensors"
        if given.erase:
            erased(load("emoji"), read(names), AllButOne(), file)
            continue
        measure_kind = outright if given.outright else measure_each_neighbour
        measure_case = functools.partial(measure_kind, names, given.n, file)
        measured = once(file.with_name(f"{name}-{given.n}.json"), measure_case)
        for row in measured["scores"] if measured else []:
            print(f"  {row['group']:10} {row['name']:24} {cell(row, 'after')}", flush=True)


if __name__ == "__main__":
    main()
