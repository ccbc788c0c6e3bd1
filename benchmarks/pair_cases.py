"""The cases of the pair benchmark, drawn once by a fixed seed, and their two halves."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from unconcept import Concept
from unconcept.models.emoji.concepts import completed
from unconcept.models.emoji.vocabulary import (
    CATEGORIES,
    OBJECTS,
    STYLES,
    WORDS,
    members,
    neighbours,
)

SEED = 20261130


# Concepts that settings were chosen on, or that an earlier page reports: only in the tuning half.
USED_BEFORE = (
    "pig", "castle", "guitar", "rose", "bus", "cat", "unicorn", "television", "basketball",
    "panda", "key", "wolf", "bee", "watermelon", "truck", "fox", "watercolor", "neon", "weapon",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One erasure of the benchmark. kind: near, far, style, category or alone (no alternative)."""

    erase: str
    alternative: str | None
    kind: str
    half: str

    @property
    def name(self) -> str:
        return self.erase if self.alternative is None else f"{self.erase}={self.alternative}"

    def concept(self) -> Concept:
        """The concept, completed with the synonyms and prompts of the embedded model."""
        style = self.erase in STYLES
        concept = Concept(
            erase=self.erase, alternative=self.alternative, kind="style" if style else "object"
        )
        return completed([concept])[0]


def draw_cases() -> list[Case]:
    """All 80 cases, the same in every process."""
    rng = random.Random(SEED)
    fresh = [word for word in WORDS if word not in USED_BEFORE]
    used = [word for word in WORDS if word in USED_BEFORE]
    rng.shuffle(fresh)
    rng.shuffle(used)
    halves = {"reporting": fresh[:30], "tuning": [*used, *fresh[30:]][:30]}
    cases = []
    for half, words in halves.items():
        for i, word in enumerate(words):
            kind = "near" if i % 2 == 0 else "far"
            cases.append(Case(word, draw_alternative(rng, word, kind), kind, half))

    styles = list(STYLES[2:])
    fresh_pairs = [(a, b) for a in styles for b in styles if a != b and a not in USED_BEFORE]
    used_pairs = [(a, b) for a in styles for b in styles if a != b and a in USED_BEFORE]
    rng.shuffle(fresh_pairs)
    rng.shuffle(used_pairs)
    first_fresh = one_of_each(fresh_pairs)
    for half, pairs in (
        ("reporting", first_fresh[:5]),
        ("tuning", [*used_pairs[:3], *first_fresh[5:]]),
    ):
        for erase, alternative in pairs:
            cases.append(Case(erase, alternative, "style", half))

    categories = [
        category
        for category in CATEGORIES
        if len(members(category)) > 1 and category not in USED_BEFORE
    ]
    rng.shuffle(categories)
    for half, names in (("reporting", categories[:3]), ("tuning", ["weapon", categories[3]])):
        for name in names:
            outside = [thing.word for thing in OBJECTS if name not in thing.categories]
            cases.append(Case(name, rng.choice(outside), "category", half))

    alone = {"reporting": [*fresh[-2:], first_fresh[0][0]], "tuning": [fresh[-3], "watercolor"]}
    for half, names in alone.items():
        for name in names:
            cases.append(Case(name, None, "alone", half))
    return cases


def draw_alternative(rng: random.Random, word: str, kind: str) -> str:
    """A near alternative is one of the six nearest objects. A far one is not near and shares no
    category.
    """
    thing = next(t for t in OBJECTS if t.word == word)
    near = neighbours((thing,))
    if kind == "near":
        return rng.choice(near).word
    far = [
        t
        for t in OBJECTS
        if t != thing and t not in near and not set(t.categories) & set(thing.categories)
    ]
    return rng.choice(far).word


def one_of_each(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first pair of every erased style."""
    first: dict[str, tuple[str, str]] = {}
    for pair in pairs:
        first.setdefault(pair[0], pair)
    return list(first.values())


def spread(cases: Sequence[Case]) -> list[Case]:
    """The cases in an order in which every prefix has all kinds."""
    order = sorted(
        cases, key=lambda case: hashlib.sha256(f"{SEED} {case.name}".encode()).hexdigest()
    )
    kinds = list(dict.fromkeys(case.kind for case in order))
    mixed = []
    while order:
        for kind in (*kinds, "near", "far", "near", "far"):
            first = next((case for case in order if case.kind == kind), None)
            if first:
                mixed.append(first)
                order.remove(first)
    return mixed
