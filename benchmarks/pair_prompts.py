"""The prompts of a case of the pair benchmark and the seeds of their images."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pair_cases import SEED, Case

from unconcept import Concept
from unconcept.concepts.templates import article
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark
from unconcept.evaluation.emoji.cases import CaseWriter, EmojiCase
from unconcept.models import Model
from unconcept.models.emoji.concepts import near_in_words
from unconcept.models.emoji.vocabulary import (
    CATEGORIES,
    COLOURFUL,
    OBJECTS,
    STYLES,
    Thing,
    find,
    members,
    neighbours,
)

CONCEPT_PROMPTS = 30
SYNONYM_PROMPTS = 10
NEIGHBOURS = 6
PROMPTS_PER_NEIGHBOUR = 7
UNRELATED_PROMPTS = 20
FIRST_SEED = 3 * 10**12  # far from the seeds of trainings and of `unconcept evaluate`


class PromptPool:
    """Prompts about one object or style. Their order depends on its name alone, so cases share
    images.
    """

    def __init__(self, word: str, purpose: str, style: bool = False):
        digest = hashlib.sha256(f"{SEED} {word} {purpose}".encode()).digest()
        self.word, self.style = word, style
        self.writer = CaseWriter((), int.from_bytes(digest[:4], "little"))
        self.purpose = purpose

    def questions(
        self, n: int, avoid: Sequence[Thing], group: str, name: str, words: Sequence[str] = ()
    ) -> list[EmojiCase]:
        """`n` prompts without any of the objects in `avoid`. words: names of the object, used in
        turn.
        """
        chosen: list[EmojiCase] = []
        taken: set[tuple[str, int]] = set()
        avoided = {OBJECTS.index(thing) for thing in avoid}
        i = 0
        while len(chosen) < n:
            thing = (
                self.writer.choose(OBJECTS)
                if self.style
                else next(t for t in OBJECTS if t.word == self.word)
            )
            word = None if self.style or not words else words[i % len(words)]
            way = (0, 1, 2, 3)[i % 4] if not self.style else (0, 1, 3)[i % 3]
            question = self.writer.ask(
                thing, group, name, word=word, style=self.word if self.style else None, way=way
            )
            repeat = sum(prompt == question.prompt for prompt, _ in taken)
            taken.add((question.prompt, repeat))
            i += 1
            if question.other in avoided or (self.style and question.object in avoided):
                continue
            chosen.append(replace(question, seed=seed_of(question.prompt, repeat)))
        return chosen


def seed_of(prompt: str, repeat: int) -> int:
    """The seed of the images of a prompt, the same in every case."""
    digest = hashlib.sha256(f"{SEED} {prompt} {repeat}".encode()).digest()
    return FIRST_SEED + int.from_bytes(digest[:5], "little")


def build_exam(model: Model, case: Case) -> EmojiBenchmark:
    """The questions of a case, with the marks of the embedded judge."""
    concept = case.concept()
    own = erased_things(concept)
    alternative = [t for t in (find(case.alternative or ""),) if t]
    avoid = [*own, *alternative]
    questions = [*target_questions(case, concept, own, avoid)]
    if concept.kind == "style":
        others = [style for style in STYLES[2:] if style != case.erase]
        order = random.Random(f"{SEED} {case.erase}")
        near = (
            [case.alternative, *order.sample(others, len(others))]
            if case.alternative
            else order.sample(others, len(others))
        )
        for style in list(dict.fromkeys(near))[:NEIGHBOURS]:
            pool = PromptPool(style, "neighbour", style=True)
            questions += pool.questions(PROMPTS_PER_NEIGHBOUR, avoid, "neighbour", style)
        near_things: list[Thing] = []
    else:
        near_things = nearest_objects(model, concept, own)
        for thing in near_things[:NEIGHBOURS]:
            pool = PromptPool(thing.word, "neighbour")
            questions += pool.questions(PROMPTS_PER_NEIGHBOUR, own, "neighbour", thing.word)
    far = [t for t in OBJECTS if t not in own and t not in alternative and t not in near_things]
    order = random.Random(f"{SEED} unrelated")
    order.shuffle(far)
    for thing in far[:UNRELATED_PROMPTS]:
        pool = PromptPool(thing.word, "neighbour")
        drawn = pool.questions(PROMPTS_PER_NEIGHBOUR, own, "unrelated", thing.word)
        unstyled = [q for q in drawn if q.style < 0 or STYLES[q.style] != case.erase]
        questions.append(unstyled[order.randrange(len(unstyled))])
    questions = [
        q for q in questions if q.group in ("target", "synonym") or not names(q.prompt, concept)
    ]
    return EmojiBenchmark((concept,), {}, added=questions)


def names(prompt: str, concept: Concept) -> bool:
    """Does a prompt name the concept?"""
    padded = f" {prompt.replace(',', ' ')} "
    return any(f" {name} " in padded for name in (concept.erase, *concept.synonyms))


def erased_things(concept: Concept) -> list[Thing]:
    if concept.kind == "style":
        return []
    return (
        list(members(concept.erase))
        if concept.erase in CATEGORIES
        else [t for t in (find(concept.erase),) if t]
    )


def nearest_objects(model: Model, concept: Concept, own: Sequence[Thing]) -> list[Thing]:
    """Near objects by the text encoder, by the judge's confusions and by the table, in turn."""
    by_table = list(neighbours(tuple(own)))
    by_text = [
        find(word)
        for word in near_in_words(
            lambda prompts: model.encode(prompts)[model.prompt_states_key], (concept,), 2
        )
    ]
    by_judge = [t for t in CaseWriter((concept,)).near(concept) if t not in by_table]
    mixed: list[Thing] = []
    for rank in range(NEIGHBOURS):
        for source in (by_table, by_text, by_judge):
            thing = source[rank] if rank < len(source) else None
            if thing is not None and thing not in (*own, *mixed):
                mixed.append(thing)
    return mixed


def target_questions(
    case: Case, concept: Concept, own: Sequence[Thing], avoid: Sequence[Thing]
) -> Iterator[EmojiCase]:
    """Prompts that name the concept, and prompts that name a synonym."""
    if concept.kind == "style":
        drawn = PromptPool(case.erase, "target", style=True).questions(
            CONCEPT_PROMPTS + SYNONYM_PROMPTS, avoid, "target", case.erase
        )
    else:
        drawn = []
        each = -(-CONCEPT_PROMPTS // len(own))
        for thing in own:
            words = (case.erase, thing.word) if case.erase in CATEGORIES else (thing.word,)
            drawn += PromptPool(thing.word, "target").questions(
                each, avoid, "target", case.erase, words
            )
        drawn = drawn[:: max(1, len(drawn) // CONCEPT_PROMPTS)][:CONCEPT_PROMPTS]
        named = [thing for thing in own if thing.synonyms]
        each = -(-SYNONYM_PROMPTS // max(1, len(named)))
        for thing in named:
            pool = PromptPool(thing.word, "synonym")
            drawn += pool.questions(each, avoid, "synonym", case.erase, thing.synonyms)[:each]
    for question in drawn[: CONCEPT_PROMPTS + SYNONYM_PROMPTS]:
        yield replace(question, instead=outright_prompt(question, concept))


def outright_prompt(question: EmojiCase, concept: Concept) -> str:
    """The same prompt with the alternative in the concept's place; without an alternative, "".

    The prompt of a style that has no coloured backgrounds names none.
    """
    if concept.alternative is None:
        return ""
    name = max((n for n in (concept.erase, *concept.synonyms) if n in question.prompt), key=len)
    words, other = (
        (article(name), article(concept.alternative))
        if concept.kind == "object"
        else (name, concept.alternative)
    )
    if article(name) in question.prompt:
        words, other = article(name), article(concept.alternative)
    prompt = question.prompt.replace(words, other, 1)
    if concept.kind == "style" and concept.alternative not in COLOURFUL:
        prompt = prompt.partition(" on a")[0]
    return prompt


def thinned(exam: EmojiBenchmark, every: int) -> EmojiBenchmark:
    """Every `every`-th prompt of each word: a quick check while settings are chosen."""
    chosen = []
    for group in dict.fromkeys((q.group, q.name) for q in exam.cases):
        chosen += [q for q in exam.cases if (q.group, q.name) == group][::every]
    if every > 1:
        unrelated = [q for q in chosen if q.group == "unrelated"]
        chosen = [q for q in chosen if q.group != "unrelated"] + unrelated[::every]
    return EmojiBenchmark(exam.concepts, {}, added=chosen)
