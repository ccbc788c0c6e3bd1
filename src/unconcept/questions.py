"""Which questions an erasure is asked: those of the world when the judge knows it, else prompts whose pictures speak for themselves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from .concept import Concept
from .evaluate import Plain, read_prompts
from .judges import load_judge
from .models.base import Model


def prepare(
    net: Model,
    model: str,
    concepts: Sequence[Concept],
    n: Mapping[str, int],
    seed: int,
    prompts: Path | None = None,
    judge: str | None = None,
):
    """(the concepts in full, their exam, what is known of the judge or None).

    prompts: the user's own, asked besides. judge: for a model that is not the embedded one (unconcept.judges).
    """
    own = read_prompts(prompts) if prompts else []
    if model == "emoji":
        from .models.emoji import exam, quality

        concepts = tuple(exam.complete(concept) for concept in concepts)
        if all(exam.knows(concept) for concept in concepts):
            mine = [exam.Question(**{**asdict(ask), "name": concepts[0].erase}) for ask in own]
            return concepts, exam.Exam(concepts, n, seed, mine), quality()["judge"]
    if judge is None:
        return tuple(concepts), Plain(concepts, net.vocabulary, n, own), None
    known = load_judge(judge)
    return tuple(concepts), Plain(concepts, net.vocabulary, n, own, known), {"name": getattr(known, "name", judge)}


def undrawn(exam, concepts: Sequence[Concept], before: Tensor) -> list[str]:
    """A line for each concept that the model does not draw in the first place, as far as anybody can tell."""
    if not len(before):
        return []
    if isinstance(exam, Plain) and exam.judge is None:
        return ["no judge knows this concept here: its presence is not scored, look at before-after.png"]
    marks, lines = exam.marks(before)["concept"], []
    for concept in concepts:
        own = marks[[i for i, q in enumerate(exam.questions) if q.group == "target" and q.name == concept.erase]]
        if len(own) and own.mean() < 0.5:
            lines.append(f'the model hardly draws "{concept.erase}": the judge finds it in {own.mean():.0%} of {len(own)} pictures')
    return lines


def too_long(net: Model, concepts: Sequence[Concept]) -> Iterator[str]:
    """A line for each phrasing that the text encoder cuts."""
    for prompt in {prompt for concept in concepts for pair in concept.pairs() for prompt in pair}:
        if lost := net.overflow(prompt):
            yield f'the prompt "{prompt}" is longer than the text encoder takes; this is cut: "{lost}"'
