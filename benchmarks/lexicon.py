"""What the lexicon is worth: `emoji` as a stranger's model, whose words nobody knows.

    python benchmarks/lexicon.py [--n 20] [--only pig=cow]    # what is done is not done again
    python benchmarks/lexicon.py --table      # only print the table of what is there

Three completions of the same concept, the same method (All but One with its defaults), prompts,
seeds and judge:

templates  five templates of the concept's name, and the default vocabulary
lexicon    what `erase` does on any model of your own: WordNet, artists and styles
world      what `emoji` does, whose vocabulary is known

In the first two `emoji` is wrapped like a stranger's pipeline: only its guidance scale is set. The
evaluation always knows the world: `n` prompts of each group (the concept, its synonyms, near
neighbours, anything else), judged by the embedded judge.
"""

import functools
import time
from collections.abc import Mapping, Sequence

import torch
from common import COLUMNS, arguments, cell, head, once, pooled

from unconcept import AllButOne, Concept, load, wrap
from unconcept.concepts.retain import DEFAULT_VOCABULARY, retain_prompts
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark
from unconcept.evaluation.runner import sampling_seeds
from unconcept.evaluation.scores import PIXELS, compute_scores, find_score
from unconcept.models import Model
from unconcept.models.emoji.concepts import completed, near_in_words
from unconcept.models.image_cache import cache_folder
from unconcept.models.sampling import ImageSampler, Sampling

KINDS = {
    "pig=cow": "object",
    "castle=house": "object",
    "owl=eagle": "object",
    "hot dog=hamburger": "two words",
    "watercolor=pencil sketch": "style",
    "neon=pixel art": "style",
    "weapon": "category",
    "fruit=cookie": "category",
}
COMPLETIONS = ("templates", "lexicon", "world")
GROUPS = ("target", "synonym", "neighbour", "unrelated")
SAMPLER, STEPS = "dpm-solver++", 10
SEED = 70  # of the prompts and images; far from the seeds that settings were chosen on

MOVED = ("neighbour", "unrelated")


def stranger(pipe: object, completion: str) -> Model:
    """The pipeline of `emoji` as if it were a user's own.

    Args:
        pipe: The pipeline.
        completion: One of COMPLETIONS but "world".
    """
    words = DEFAULT_VOCABULARY if completion == "templates" else None
    return wrap(pipe, words)


def measure(name: str, completion: str, n: int) -> dict:
    """Erase one concept, and score it.

    Args:
        name: The concept, as the command line writes it.
        completion: One of COMPLETIONS.
        n: Prompts of each group.

    Returns:
        What was trained on, what it cost, and the scores as in report.json.
    """
    emoji = load("emoji")
    known = completed([Concept.parse(name)])
    model = emoji if completion == "world" else stranger(emoji.pipe, completion)
    model.guidance = emoji.guidance
    concepts = known if completion == "world" else model.complete([as_typed(known[0])])
    start = time.perf_counter()
    edit = AllButOne()(model, *concepts)
    seconds = time.perf_counter() - start

    def encode(prompts: Sequence[str]) -> torch.Tensor:
        return emoji.encode(prompts)[emoji.prompt_states_key]

    near = near_in_words(encode, known)
    benchmark = EmojiBenchmark(known, dict.fromkeys(GROUPS, n), seed=SEED, likely=near)
    sampler = ImageSampler(emoji, Sampling(steps=STEPS, sampler=SAMPLER, seed=SEED), cache_folder())
    prompts = [case.prompt for case in benchmark.cases]
    seeds = sampling_seeds(benchmark, SEED)
    before = sampler.images(prompts, seeds)
    after = sampler.images(prompts, seeds, edit=edit)
    return {
        "name": name,
        "kind": KINDS[name],
        "completion": completion,
        "names": [concepts[0].erase, *concepts[0].synonyms],
        "templates": len(concepts[0].templates),
        "retained prompts": len(retain_prompts(concepts, model.vocabulary)),
        "seconds": round(seconds, 1),
        "values": sum(tensor.numel() for tensor in edit.tensors().values()),
        "scores": compute_scores(benchmark, before, after).to_json(),
    }


def as_typed(concept: Concept) -> Concept:
    """A concept with nothing but what a user types."""
    return Concept(erase=concept.erase, alternative=concept.alternative, kind=concept.kind)


def row_of(results: Sequence[Mapping]) -> str:
    """A line of the table: shares over all images of some results, medians of the changes."""
    cells = []
    for name, group in COLUMNS:
        scores = [find_score(result["scores"], name, group) for result in results]
        cells.append(cell(pooled(scores, "after")))
    for group in MOVED:
        rows = [find_score(result["scores"], PIXELS, group) for result in results]
        values = sorted(row["after"] for row in rows if row)
        cells.append(f"{values[len(values) // 2]:.4f}" if values else "–")
    return " | ".join(cells)


def main() -> None:
    options = {"action": "store_true", "help": "measure nothing"}
    given = arguments(__doc__, "lexicon", 20, table=options, only={"choices": KINDS})
    results = []
    for name in [given.only] if given.only else KINDS:
        for completion in COMPLETIONS:
            make = None if given.table else functools.partial(measure, name, completion, given.n)
            result = once(given.out / f"{name}-{completion}-{given.n}.json", make)
            if result:
                results.append(result)
    titles = [f"{name} ({group})" for name, group in COLUMNS]
    titles += [f"moved ({group})" for group in MOVED]
    print("\n".join(head(["concepts", "completion", *titles])))
    groups = {name: [r for r in results if r["name"] == name] for name in KINDS}
    for kind in dict.fromkeys(KINDS.values()):
        groups[f"all: {kind}"] = [r for r in results if r["kind"] == kind]
    groups["all"] = results
    for title, some in groups.items():
        for completion in COMPLETIONS:
            chosen = [r for r in some if r["completion"] == completion]
            if chosen:
                print(f"| {title} | {completion} | {row_of(chosen)} |")


if __name__ == "__main__":
    main()
