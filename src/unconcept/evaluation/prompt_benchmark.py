"""Benchmark for a user's own model: prompts from templates and a vocabulary, and any judge."""

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ..concepts.concept import Concept
from ..concepts.templates import article
from ..concepts.words import canonical, number_forms
from ..errors import InputError
from ..models.conditioning import rank_by_similarity
from ..models.interface import Model
from .benchmark import Judgement, OtherCases, PromptCase
from .judges import Judge, judge_name

T = TypeVar("T")

log = logging.getLogger(__name__)

NEIGHBOURS_PER_CONCEPT = 5

LIKELIEST = 3  # names whose probabilities are recorded, besides those of the concepts


class PromptBenchmark(OtherCases):
    """Prompts about concepts of any model; states `Benchmark`.

    Without a judge, images and their changes can be shown, but presence is not scored. With one, a
    name is seen where its probability is the highest among the concept, its synonyms, the
    alternative and the vocabulary. A judge that does not know all words (`knows`) is asked about
    those it knows.

    Attributes:
        real_images: Real images [M, 3, H, W] in [0, 1] of anything, to measure unrelated
            prompts by; None where there are none.
    """

    real_images: Tensor | None = None

    def __init__(
        self,
        concepts: Sequence[Concept],
        vocabulary: Sequence[str],
        n: Mapping[str, int],
        added: Sequence[PromptCase] = (),
        judge: Judge | None = None,
        near: Sequence[Sequence[str]] = (),
    ):
        """Choose the prompts.

        Args:
            concepts: The concepts that are erased.
            vocabulary: Words for neighbours and unrelated prompts.
            n: Number of prompts by group.
            added: The user's own prompts, added to them.
            judge: Decides what images show.
            near: For each concept the words for its neighbours, nearest first (`rank_words`). At
                most half of all words are used as neighbours.

        Raises:
            InputError: The judge does not know a concept.
        """
        self.concepts = tuple(concepts)
        self.judge = judge
        self._answers = WeakIdKeyDictionary()  # the judge's, by the tensor of images
        self.erased = {name for c in concepts for name in (c.erase, *c.synonyms)}
        for concept in concepts:
            if not self._judge_knows(concept.erase):
                raise InputError(
                    f'the judge does not know "{concept.erase}": '
                    "use a CLIP or SigLIP model as --judge"
                )
        others = self._other_words(vocabulary)
        known = [word for word in others if self._judge_knows(word)]
        self.names = self._judged_names(known)
        # Where the judge knows no other word, the changes of their images are still informative.
        neighbours, rest = self._split(known or others, near)

        targets = [_cases(c, "target", c.with_(synonyms=())) for c in concepts]
        synonyms = []
        for c in concepts:
            if c.synonyms:
                renamed = c.with_(erase=c.synonyms[0], synonyms=c.synonyms[1:])
                synonyms.append(_cases(c, "synonym", renamed))
        self.cases = [
            *round_robin(targets, n.get("target", 0)),
            *round_robin(synonyms, n.get("synonym", 0)),
            *self._word_cases("neighbour", round_robin(neighbours, n.get("neighbour", 0))),
            *self._word_cases("unrelated", round_robin([rest], n.get("unrelated", 0))),
            *added,
        ]

    @property
    def judge_card(self) -> dict | None:
        """The judge's name; None without a judge."""
        return None if self.judge is None else {"name": judge_name(self.judge)}

    def _judge_knows(self, name: str) -> bool:
        knows = getattr(self.judge, "knows", None)
        return knows is None or knows(name)

    def _other_words(self, vocabulary: Sequence[str]) -> list[str]:
        """Retained words of the concepts and the vocabulary, without what is erased."""
        erased: set[str] = set()
        for name in self.erased:
            erased |= number_forms(name)  # a tokenizer reads "Dog" as "dog", and "dogs" nearly so
        retained = itertools.chain.from_iterable(c.keep for c in self.concepts)
        words = dict.fromkeys([*retained, *vocabulary])
        return [word for word in words if canonical(word) not in erased]

    def _judged_names(self, words: Sequence[str]) -> list[str]:
        """The names among which the judge decides: those of the concepts, and `words`."""
        names: list[str] = []
        for concept in self.concepts:
            names += [concept.erase, *concept.synonyms, concept.alternative or concept.erase]
        known = [name for name in names if self._judge_knows(name)]
        return list(dict.fromkeys([*known, *words]))

    def _split(
        self, words: Sequence[str], near: Sequence[Sequence[str]]
    ) -> tuple[list[list[str]], list[str]]:
        """(the neighbours of each concept, all other words)"""
        most = min(NEIGHBOURS_PER_CONCEPT, len(words) // (2 * len(self.concepts)))
        neighbours = []
        for order in near:
            neighbours.append([word for word in order if word in words][:most])
        taken = set(itertools.chain.from_iterable(neighbours))
        return neighbours, [word for word in words if word not in taken]

    def _word_cases(self, group: str, words: Sequence[str]) -> list[PromptCase]:
        """A prompt for each word; retained styles are phrased as styles."""
        styles = {word for c in self.concepts if c.kind == "style" for word in c.keep}
        cases = []
        for word in words:
            subject = f"{word} picture" if word in styles else word
            cases.append(PromptCase(article(subject), group, word))
        return cases

    def real(self, group: str) -> Tensor | None:
        """Real images to measure a group by.

        Args:
            group: One of `benchmark.GROUPS`.

        Returns:
            `real_images` for the unrelated prompts, None for all others.
        """
        return self.real_images if group == "unrelated" else None

    def marks(self, images: Tensor) -> dict[str, Tensor]:
        """The judge's marks.

        Args:
            images: [N, 3, H, W] in [0, 1], one per case.

        Returns:
            "concept", "alternative" and "right" [N]: 0, 1, or NaN where a mark does not apply;
            empty without a judge.

        Raises:
            InputError: The judge returned something of another shape, or cannot see anything but
                what is erased.
        """
        if self.judge is None:
            return {}
        seen = self._seen(images)
        marks = {
            name: torch.full((len(seen),), math.nan) for name in ("concept", "alternative", "right")
        }
        for i, (case, word) in enumerate(zip(self.cases, seen)):
            if case.group in ("target", "synonym", "implied"):
                # a prompt of the user's own names no concept: it is about all of them
                concepts = [c for c in self.concepts if c.erase == case.name] or self.concepts
                marks["concept"][i] = any(word in (c.erase, *c.synonyms) for c in concepts)
                alternatives = [c.alternative for c in concepts if c.alternative in self.names]
                if case.instead and alternatives:
                    marks["alternative"][i] = word in alternatives
            else:
                # The concept was not prompted for: before the edit, this is the judge's error.
                marks["concept"][i] = word in self.erased
                if case.name in self.names:
                    marks["right"][i] = word == case.name
        return marks

    def judgements(self, images: Tensor) -> list[Judgement]:
        """The judge's answer for each image.

        Args:
            images: [N, 3, H, W] in [0, 1], one per case.

        Returns:
            N judgements, with the `LIKELIEST` names and those of the concepts, their alternatives
            and the prompt; empty without a judge.
        """
        if self.judge is None:
            return []
        judgements = []
        probabilities = self._probabilities(images)
        for case, name, row in zip(self.cases, self._seen(images), probabilities.tolist()):
            by_name = dict(zip(self.names, row))
            likeliest = sorted(self.names, key=lambda word: by_name[word], reverse=True)
            chosen = dict.fromkeys(likeliest[:LIKELIEST])
            for concept in self.concepts:
                chosen |= dict.fromkeys((concept.erase, concept.alternative or ""))
            chosen[case.name] = None
            shown = {word: by_name[word] for word in chosen if word in by_name}
            judgements.append(Judgement(name, shown))
        return judgements

    def _probabilities(self, images: Tensor) -> Tensor:
        """The judge's answer for each image; each tensor of images is judged once."""
        assert self.judge is not None
        if images not in self._answers:
            self._answers[images] = self.judge(images, self.names)
        return self._answers[images]

    def _seen(self, images: Tensor) -> list[str]:
        """The name that the judge sees in each image; "" where it sees none."""
        probabilities, n = self._probabilities(images), len(self.names)
        if tuple(probabilities.shape) not in ((len(images), n), (len(images), n + 1)):
            raise InputError(
                f"the judge returned {list(probabilities.shape)} for {len(images)} images and "
                f"{n} names; expected [{len(images)}, {n}]"
            )
        if probabilities.shape[1] == n and self.erased.issuperset(self.names):
            raise InputError(
                "the judge only recognizes the erased concept, so every image would count as a "
                'hit: return one more column for "none of these"'
            )
        names = [*self.names, ""]
        return [names[i] for i in probabilities.argmax(1).tolist()]

    def values(self, images: Tensor) -> dict[str, Tensor]:
        """How well each image fits its prompt, where the judge can tell.

        Args:
            images: [N, 3, H, W] in [0, 1], one per case.

        Returns:
            [N] by name; empty where the judge has no `agreement`.
        """
        agreement = getattr(self.judge, "agreement", None)
        if self.judge is None or agreement is None:
            return {}
        prompts = [case.prompt for case in self.cases]
        return {f"CLIP score, cosine, {judge_name(self.judge)}": agreement(images, prompts)}


def _cases(concept: Concept, group: str, phrased: Concept) -> list[PromptCase]:
    """All prompts of a concept, `phrased` with some of its names only."""
    cases = []
    for prompt, instead in phrased.pairs():
        instead = instead if concept.alternative else ""
        cases.append(PromptCase(prompt, group, concept.erase, instead=instead))
    return cases


def round_robin(lists: Sequence[Sequence[T]], n: int) -> list[T]:
    """Take one item from each list in turn; a list that is exhausted starts again.

    Args:
        lists: Empty ones are skipped.
        n: How many items to take.

    Returns:
        n items; none where all lists are empty.
    """
    cycles = [itertools.cycle(items) for items in lists if items]
    return [next(items) for items in itertools.islice(itertools.cycle(cycles), n)]


def rank_words(model: Model, concepts: Sequence[Concept], batch: int = 16) -> list[list[str]]:
    """Rank words by their similarity to each concept.

    Args:
        model: Its text encoder and vocabulary are used.
        concepts: The concepts that are erased.
        batch: Prompts encoded at once.

    Returns:
        For each concept its retained words, then all other words, both nearest first, by the cosine
        of centred token states.
    """
    words: dict[str, None] = {}
    for concept in concepts:
        words.update(dict.fromkeys([concept.erase, *concept.keep]))
    words.update(dict.fromkeys(model.vocabulary))
    names = list(words)
    prompts = [article(name) for name in names]
    states = []
    for i in range(0, len(prompts), batch):
        states.append(model.encode(prompts[i : i + batch])[model.prompt_states_key].float().cpu())
    rows = [names.index(concept.erase) for concept in concepts]
    rankings = []
    for concept, order in zip(concepts, rank_by_similarity(torch.cat(states), rows).tolist()):
        ranked = [names[i] for i in order]
        retained = [name for name in ranked if name in concept.keep]
        others = [name for name in ranked if name not in concept.keep]
        rankings.append(retained + others)
    return rankings
