"""Retained prompts: what must not change when a concept is erased."""

import itertools
import random
import re
from collections.abc import Sequence

from .concept import Concept
from .templates import TEMPLATES, article
from .words import number_forms

# Other words that each word of the vocabulary is paired with. Without pairs, "an eagle and a
# trumpet" lost its eagle to an erased weapon in 6 of 6 images.
PARTNERS_PER_WORD = 16

# Words that represent all other prompts if the caller does not name any.
DEFAULT_VOCABULARY = tuple(
    """
    person woman man child crowd face hand dog cat horse bird fish tree flower forest mountain river
    sea beach sky cloud sun moon snow rain city street house bridge tower car bus train bicycle boat
    airplane table chair lamp bed book clock phone computer guitar piano ball bag shoe shirt hat
    bread apple cake coffee bottle photo painting drawing sketch sculpture poster logo portrait
    landscape
    """.split()  # noqa: SIM905  (a list of words is easier to read as words)
)


def with_retained(concept: Concept, others: Sequence[Concept]) -> Concept:
    """Add other concepts' names to what a concept keeps.

    Args:
        concept: The concept.
        others: Further concepts; those of another kind are ignored.
    """
    names = [other.erase for other in others if other.kind == concept.kind]
    return concept.with_(keep=tuple(dict.fromkeys([*concept.keep, *names])))


def retain_prompts(concepts: Sequence[Concept], vocabulary: Sequence[str]) -> list[str]:
    """Prompts that must give the same images after the concepts are erased.

    They contain each word alone; each word beside `PARTNERS_PER_WORD` others, in the other styles
    by turns if a style is erased; and each word in the concepts' templates, because the rest of a
    template ("a watercolor of ...") must not change either.

    Args:
        concepts: The erased concepts, with the words that they keep.
        vocabulary: Words that represent all other prompts.

    Returns:
        Distinct prompts. None contains an erased name, in the singular or the plural, unless
        within a word that a concept keeps
        (the "guinea pig" of an erased "pig").
    """
    styles = []
    for concept in concepts:
        if concept.kind == "style":
            styles += concept.keep
    scenes = word_pairs(vocabulary)
    prompts = [article(word) for word in vocabulary]
    if not styles or any(concept.kind == "object" for concept in concepts):
        prompts += scenes
    for scene, style in zip(scenes, itertools.cycle(styles)):
        # "a watercolor of a cat", "a painting by Claude Monet of a cat"
        work = article(style) if style == style.lower() else f"a painting by {style}"
        prompts.append(f"{work} of {scene}")
    for concept in concepts:
        words = concept.keep if concept.kind == "style" else (*concept.keep, *vocabulary)
        templates = ("{}", *(concept.templates or TEMPLATES[concept.kind]))
        prompts += [concept.phrase(template, word) for word in words for template in templates]
    return without_erased(list(dict.fromkeys(prompts)), concepts)


def without_erased(prompts: Sequence[str], concepts: Sequence[Concept]) -> list[str]:
    """The prompts that do not contain an erased name, in the singular or the plural.

    Args:
        prompts: Any prompts.
        concepts: The erased concepts. A kept word may contain an erased name ("guinea pig").
    """
    names: set[str] = set()
    for concept in concepts:
        for name in (concept.erase, *concept.synonyms):
            names |= {name, *number_forms(name)}
    erased = whole_words_of(sorted(names))
    exceptions = []
    for concept in concepts:
        for word in concept.keep:
            if erased.search(word) and not erased.fullmatch(word):
                exceptions.append(word)
    allowed = whole_words_of(exceptions)
    return [prompt for prompt in prompts if not erased.search(allowed.sub("", prompt))]


def whole_words_of(words: Sequence[str]) -> re.Pattern[str]:
    """A pattern that finds any of some words, as whole words, in capitals or not.

    Args:
        words: The words; without any, nothing is found.
    """
    choices = "|".join(re.escape(word) for word in words)
    # not \b: a word may end with a sign, as "C++" does
    return re.compile(rf"(?<!\w)({choices})(?!\w)" if words else "(?!)", re.IGNORECASE)


def word_pairs(vocabulary: Sequence[str]) -> list[str]:
    """Every word beside `PARTNERS_PER_WORD` others, in a fixed random choice.

    Args:
        vocabulary: The words.

    Returns:
        Prompts such as "a cat and a house".
    """
    generator = random.Random(0)
    partners = min(PARTNERS_PER_WORD, len(vocabulary))
    pairs = []
    for word in vocabulary:
        for partner in generator.sample(vocabulary, partners):
            if partner != word:
                pairs.append(f"{article(word)} and {article(partner)}")
    return pairs
