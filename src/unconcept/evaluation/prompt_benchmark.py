"""Which questions an erasure is asked: those of the world when the judge knows it, else prompts whose pictures speak for themselves."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ..concepts.concept import Concept
from ..concepts.templates import article
from ..errors import InputError
from ..models.conditioning import rank_by_similarity
from ..models.interface import Model
from .benchmark import PromptCase
from .judges import Judge, judge_name

T = TypeVar("T")

log = logging.getLogger(__name__)

NEIGHBOURS_PER_CONCEPT = 5  # words that are asked as neighbours of each concept of a model whose world nobody knows


class PromptBenchmark:
    """The questions for a model whose world nobody knows. Without a judge, pictures and their changes can be shown, and presence is not scored.

    With one (unconcept.evaluation.judges, or any callable of that kind): a name is seen where its probability is the highest among the concept, its
    synonyms, the alternative and the vocabulary. A judge that does not know all words (`knows`) is asked about those that it knows.

    near: for each concept the words to ask as its neighbours, from the nearest on (`ranked`); no more than half of all words.
    real: real pictures [M, 3, H, W] in [0, 1], of anything.
    """

    def __init__(
        self,
        concepts: Sequence[Concept],
        vocabulary: Sequence[str],
        n: Mapping[str, int],
        own: Sequence[PromptCase] = (),
        judge: Judge | None = None,
        near: Sequence[Sequence[str]] = (),
        real: Tensor | None = None,
    ):
        self.concepts, self.judge, self.pictures = tuple(concepts), judge, real
        self.erased = {name for c in concepts for name in (c.erase, *c.synonyms)}
        erased = {name.casefold() for name in self.erased}  # a tokenizer reads "Dog" as "dog"
        knows = getattr(judge, "knows", lambda name: True)
        for word in [c.erase for c in concepts if not knows(c.erase)]:
            raise InputError(f'the judge does not know "{word}": take a CLIP folder as --judge')
        others = [w for w in dict.fromkeys([*(w for c in concepts for w in c.keep), *vocabulary]) if w.casefold() not in erased]
        known = [w for w in others if knows(w)]
        own_names = [n for c in concepts for n in (c.erase, *c.synonyms, c.alternative or c.erase) if knows(n)]
        self.names = list(dict.fromkeys([*own_names, *known]))  # that a picture may be said to show
        words = known or others  # where the judge knows none, how far the pictures move still tells something
        few = min(NEIGHBOURS_PER_CONCEPT, len(words) // (2 * len(concepts)))
        neighbours = [[w for w in order if w in words][:few] for order in near]
        rest = [w for w in words if not any(w in some for some in neighbours)]
        styles = {w for c in concepts if c.kind == "style" for w in c.keep}

        targets = [[(c, *pair) for pair in c.with_(synonyms=()).pairs()] for c in concepts]
        synonyms = [[(c, *pair) for pair in c.with_(erase=c.synonyms[0], synonyms=c.synonyms[1:]).pairs()] for c in concepts if c.synonyms]
        self.cases = [
            PromptCase(prompt, group, c.erase, instead=instead if c.alternative else "")
            for group, pairs in (("target", targets), ("synonym", synonyms))
            for c, prompt, instead in round_robin(pairs, n.get(group, 0))
        ]
        self.cases += [
            PromptCase(article(f"{w} picture" if w in styles else w), group, w)
            for group, asked in (("neighbour", neighbours), ("unrelated", [rest]))
            for w in round_robin(asked, n.get(group, 0))
        ]
        self.cases += own

    def real(self, group: str) -> Tensor | None:
        """Real pictures to measure a group by: of the unrelated ones, where any were given."""
        return self.pictures if group == "unrelated" else None

    def marks(self, pictures: Tensor) -> dict[str, Tensor]:
        """The judge's marks [N]: 0, 1, or NaN where a mark does not apply; empty without a judge."""
        if self.judge is None:
            return {}
        said, n = self.judge(pictures, self.names), len(self.names)
        if tuple(said.shape) not in ((len(pictures), n), (len(pictures), n + 1)):
            raise InputError(
                f"the judge said {list(said.shape)} of {len(pictures)} pictures and {n} names: [{len(pictures)}, {n}] is expected"
            )
        if said.shape[1] == n and self.erased.issuperset(self.names):
            raise InputError(
                "the judge knows nothing but what is erased, and sees it in every picture: it needs a column for none of the names"
            )
        seen = [[*self.names, ""][i] for i in said.argmax(1).tolist()]
        marks = {name: torch.full((len(seen),), math.nan) for name in ("concept", "alternative", "right")}
        for i, (q, word) in enumerate(zip(self.cases, seen)):
            if q.group in ("target", "synonym", "implied"):
                asked = [c for c in self.concepts if c.erase == q.name] or self.concepts
                marks["concept"][i] = any(word in (c.erase, *c.synonyms) for c in asked)
                if q.instead and (instead := [c.alternative for c in asked if c.alternative in self.names]):
                    marks["alternative"][i] = word in instead
                continue
            marks["concept"][i] = word in self.erased  # where nobody asked for it: before, this is where the judge errs
            if q.name in self.names:
                marks["right"][i] = word == q.name
        return marks

    def values(self, pictures: Tensor) -> dict[str, Tensor]:
        """How well each picture fits its prompt [N], by name, where the judge can tell."""
        if self.judge is None or not hasattr(self.judge, "agreement"):
            return {}
        return {f"CLIP score, cosine, {judge_name(self.judge)}": self.judge.agreement(pictures, [q.prompt for q in self.cases])}


def round_robin(lists: Sequence[Sequence[T]], n: int) -> list[T]:
    """`n` items, one of each list in turn, each list from the start again where it ends; none of empty lists."""
    lists = [items for items in lists if items]
    return [lists[i % len(lists)][i // len(lists) % len(lists[i % len(lists)])] for i in range(n if lists else 0)]


def rank_words(net: Model, concepts: Sequence[Concept], batch: int = 16) -> list[list[str]]:
    """For each concept what it names to keep, then all other words, both from the nearest on, by cosine of centred token states."""
    words = list(dict.fromkeys([*(w for c in concepts for w in (c.erase, *c.keep)), *net.vocabulary]))
    prompts = [article(word) for word in words]
    states = torch.cat([net.encode(prompts[i : i + batch])[net.prompt_states_key].float().cpu() for i in range(0, len(prompts), batch)])
    orders = rank_by_similarity(states, [words.index(c.erase) for c in concepts]).tolist()
    return [sorted((words[i] for i in order), key=lambda word: word not in c.keep) for c, order in zip(concepts, orders)]
