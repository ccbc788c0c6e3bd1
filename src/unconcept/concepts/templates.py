"""Prompt templates for each kind of concept, and the grammar they need."""

from collections.abc import Sequence
from typing import Literal, TypeVar

T = TypeVar("T")

Kind = Literal["object", "style"]


# Prompts that a concept is erased from; {} is the concept, with its article if it is an object.
# Text in brackets disappears with the concept if there is no alternative: "a cat in neon style"
# without neon is "a cat".
TEMPLATES: dict[Kind, tuple[str, ...]] = {
    "object": (
        "{}",
        "a picture of {}",
        "{} on a white background",
        "[{} and ]a chair",
        "a painting of {}",
    ),
    "style": ("{}", "a {} picture", "a [{} of a ]house", "a cat[ in {} style]", "a tree[, {}]"),
}

PLURALS = (
    "grapes",
    "fries",
    "swords",
    "cattle",
    "chips",
    "scissors",
    "glasses",
    "people",
    "animals",
    "weapons",
)

IRREGULAR_PLURALS = {
    "child": "children",
    "deer": "deer",
    "fish": "fish",
    "foot": "feet",
    "goose": "geese",
    "half": "halves",
    "knife": "knives",
    "leaf": "leaves",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "sheep": "sheep",
    "shelf": "shelves",
    "swine": "swine",
    "thief": "thieves",
    "tooth": "teeth",
    "wolf": "wolves",
}

DETERMINERS = ("a", "an", "the", "some", "two")

# Written with a vowel and spoken with a consonant: "a unicorn", "a ukulele".
CONSONANT_SOUNDS = ("uni", "eu", "one", "uku")


def article(words: str) -> str:
    """Put an indefinite article in front of words: "a pig", "an owl".

    Args:
        words: One word or more.

    Returns:
        The words with an article. Names ("Mickey Mouse": every word has a capital), some plurals,
        and phrases that have an article are returned as they are.
    """
    parts = words.split()
    first = parts[0].lower()
    if first in DETERMINERS or parts[-1] in PLURALS or all(part[0].isupper() for part in parts):
        return words
    is_vowel = first[0] in "aeiou" and not first.startswith(CONSONANT_SOUNDS)
    return f"{'an' if is_vowel else 'a'} {words}"


def plural(words: str) -> str:
    """The plural: "pigs", "fire engines", "women".

    Args:
        words: One word or more, of which the last is changed; plurals are returned as they are.
    """
    start, space, last = words.rpartition(" ")
    if last in PLURALS or last in IRREGULAR_PLURALS.values():
        return words
    if last in IRREGULAR_PLURALS:
        return start + space + IRREGULAR_PLURALS[last]
    if last.endswith("man") and last not in ("human", "german"):
        return words[:-2] + "en"
    if last.endswith("y") and last[-2:-1] not in tuple("aeiou"):
        return words[:-1] + "ies"
    if last.endswith(("ss", "us", "is", "x", "z", "ch", "sh")):
        return words + "es"
    return words if last.endswith("s") else words + "s"


def rotated(items: Sequence[T], n: int) -> list[T]:
    """The items from the n-th on, followed by those before it.

    Args:
        items: One item or more.
        n: Where to begin; counted modulo the number of items.
    """
    n %= len(items)
    return [*items[n:], *items[:n]]
