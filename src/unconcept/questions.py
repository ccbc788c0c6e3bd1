"""Which questions an erasure is asked: those of the world when the judge knows it, else prompts whose pictures speak for themselves."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from .concept import Concept, article
from .errors import InputError
from .judges import Judge, load_judge
from .models import EMBEDDED
from .models.base import Model

GROUPS = ("target", "synonym", "implied", "neighbour", "unrelated")
WAYS = ("plain", "colour", "style", "scene", "own")  # in which a question may ask


@dataclass(frozen=True)
class Ask:
    """A prompt of one group about one word, for models whose answers nobody knows beforehand."""

    prompt: str
    group: str
    name: str
    way: str = "plain"
    instead: str = ""
    seed: int | None = None


class Plain:
    """The questions for a model whose world nobody knows. Without a judge, pictures and their changes can be shown, and presence is not scored.

    With one (unconcept.judges, or any callable of that kind): a name is seen where its probability is the highest among the concept, its
    synonyms, the alternative and the vocabulary. A judge that does not know all words (`knows`) is asked about those that it knows.
    """

    def __init__(
        self,
        concepts: Sequence[Concept],
        vocabulary: Sequence[str],
        n: Mapping[str, int],
        own: Sequence[Ask] = (),
        judge: Judge | None = None,
    ):
        self.concepts, self.judge = tuple(concepts), judge
        pairs = [(c, *pair) for c in concepts for pair in c.pairs()]
        names = {name for c in concepts for name in (c.erase, *c.synonyms)}
        knows = getattr(judge, "knows", lambda name: True)
        for word in [w for c in concepts for w in (c.erase, c.alternative) if w and not knows(w)]:
            raise InputError(f'the judge does not know "{word}": take a CLIP folder as --judge')
        rest = [w for w in dict.fromkeys([*(w for c in concepts for w in c.keep), *vocabulary]) if w not in names and knows(w)]
        own_names = [n for c in concepts for n in (c.erase, *c.synonyms, c.alternative or c.erase) if knows(n)]
        self.names = list(dict.fromkeys([*own_names, *rest]))  # that a picture may be said to show
        chosen = [pairs[i % len(pairs)] for i in range(n.get("target", 0))]
        self.questions = [Ask(prompt, "target", c.erase, instead=instead if c.alternative else "") for c, prompt, instead in chosen]
        self.questions += [Ask(article(rest[i % len(rest)]), "unrelated", rest[i % len(rest)]) for i in range(n.get("unrelated", 0))]
        self.questions += own

    def marks(self, pictures: Tensor) -> dict[str, Tensor]:
        """The judge's marks [N]: 0, 1, or NaN where a mark does not apply; empty without a judge."""
        if self.judge is None:
            return {}
        seen = [self.names[i] for i in self.judge(pictures, self.names).argmax(1).tolist()]
        marks = {name: torch.full((len(seen),), math.nan) for name in ("concept", "alternative", "right")}
        for i, (q, word) in enumerate(zip(self.questions, seen)):
            if q.group in ("target", "synonym", "implied"):
                asked = [c for c in self.concepts if c.erase == q.name] or self.concepts
                marks["concept"][i] = any(word in (c.erase, *c.synonyms) for c in asked)
                if q.instead:
                    marks["alternative"][i] = any(word == c.alternative for c in asked)
            elif q.name:
                marks["right"][i] = word == q.name
        return marks

    def values(self, pictures: Tensor) -> dict[str, Tensor]:
        """How well each picture fits its prompt [N], by name, where the judge can tell."""
        if self.judge is None or not hasattr(self.judge, "agreement"):
            return {}
        return {f"CLIP score, cosine, {self.judge.name}": self.judge.agreement(pictures, [q.prompt for q in self.questions])}


def read_prompts(path: Path) -> list[Ask]:
    """The user's own prompts: a CSV file with the column prompt, and if wanted seed and group (target where it is not said)."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not rows or "prompt" not in rows[0]:
        raise InputError(f"{path} needs a first line with the column names prompt, seed, group")
    asks = []
    for line, row in enumerate(rows, 2):
        group, seed = row.get("group") or "target", row.get("seed") or row.get("evaluation_seed")
        if group not in GROUPS:
            raise InputError(f'line {line} of {path}: the group "{group}" is none of {", ".join(GROUPS)}')
        try:
            asks.append(Ask(row["prompt"], group, "", way="own", seed=int(float(seed)) if seed else None))
        except ValueError as error:
            raise InputError(f'line {line} of {path}: the seed "{seed}" is no number') from error
    return asks


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
    if model in EMBEDDED:
        from .models.emoji import exam, quality

        concepts = tuple(exam.complete(concept) for concept in concepts)
        if all(exam.knows(concept) for concept in concepts):
            mine = [exam.Question(**asdict(ask)) for ask in own]
            near = exam.near_in_words(lambda prompts: net.encode(prompts)[net.words], concepts)
            return concepts, exam.Exam(concepts, n, seed, mine, near), quality()["judge"]
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
