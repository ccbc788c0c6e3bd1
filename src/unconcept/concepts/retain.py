"""Retained prompts: what must not change when a concept is erased."""

import itertools
import random
import re
from collections.abc import Sequence

from .concept import Concept
from .templates import TEMPLATES, article

PARTNERS_PER_WORD = (
    16  # others that a word is kept beside; with none, "an eagle and a trumpet" lost its eagle to an erased weapon in 6 of 6
)


# Prompts that stand for everything else when the caller names nothing to keep.
DEFAULT_VOCABULARY = tuple(
    """
    person woman man child crowd face hand dog cat horse bird fish tree flower forest mountain river sea beach sky cloud
    sun moon snow rain city street house bridge tower car bus train bicycle boat airplane table chair lamp bed book clock
    phone computer guitar piano ball bag shoe shirt hat bread apple cake coffee bottle photo painting drawing sketch
    sculpture poster logo portrait landscape
    """.split()  # noqa: SIM905  (a list of words is read as words)
)


def with_retained(concept: Concept, others: Sequence[Concept]) -> Concept:
    """The concept with the names of the others of its kind among what it keeps."""
    return concept.with_(keep=tuple(dict.fromkeys([*concept.keep, *(other.erase for other in others if other.kind == concept.kind)])))


def retain_prompts(concepts: Sequence[Concept], vocabulary: Sequence[str]) -> list[str]:
    """Prompts that must draw what they drew: what the concepts name to keep, and the vocabulary without anything that is erased.

    A word that is named to keep is kept although it contains one that is erased (the "guinea pig" of an erased "pig").
    Each word stands alone, beside `BESIDE` others (in a style by turns, where a style goes and others stay), and in the phrasings of the
    concepts too, where it is a word of their kind: the rest of such a phrasing ("a watercolor of ...") is not to blame for the concept and
    must come out untouched.
    """
    erased = [re.escape(name) for concept in concepts for name in (concept.erase, *concept.synonyms)]
    asks_for_it = re.compile(rf"\b({'|'.join(erased)})\b", re.IGNORECASE)
    another = [re.escape(word) for c in concepts for word in c.keep if asks_for_it.search(word) and not asks_for_it.fullmatch(word)]
    another_thing = re.compile(rf"\b({'|'.join(another)})\b" if another else "(?!)", re.IGNORECASE)
    styles = [style for concept in concepts if concept.kind == "style" for style in concept.keep]
    scenes, prompts = word_pairs(vocabulary), [article(word) for word in vocabulary]
    if not styles or any(concept.kind == "object" for concept in concepts):
        prompts += scenes
    prompts += [f"{article(style)} of {scene}" for scene, style in zip(scenes, itertools.cycle(styles))]
    for concept in concepts:
        words = concept.keep if concept.kind == "style" else (*concept.keep, *vocabulary)
        prompts += [concept.phrase(t, word) for word in words for t in ("{}", *(concept.templates or TEMPLATES[concept.kind]))]
    return [prompt for prompt in dict.fromkeys(prompts) if not asks_for_it.search(another_thing.sub("", prompt))]


def word_pairs(vocabulary: Sequence[str]) -> list[str]:
    """Every word before `BESIDE` others, drawn by chance."""
    chance, few = random.Random(0), min(PARTNERS_PER_WORD, len(vocabulary))
    return [f"{article(one)} and {article(other)}" for one in vocabulary for other in chance.sample(vocabulary, few) if other != one]
