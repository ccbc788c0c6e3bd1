"""Prompt templates for each kind of concept, and the grammar they need."""

from collections.abc import Sequence
from typing import Literal, TypeVar

T = TypeVar("T")

Kind = Literal["object", "style"]


# Phrasings that the erasure is learnt from; {} is the concept, with its article where it is an object. What stands in brackets goes with it
# when nothing comes instead: "a cat in neon style" without neon is "a cat".
TEMPLATES: dict[Kind, tuple[str, ...]] = {
    "object": ("{}", "a picture of {}", "{} on a white background", "[{} and ]a chair", "a painting of {}"),
    "style": ("{}", "a {} picture", "a [{} of a ]house", "a cat[ in {} style]", "a tree[, {}]"),
}


def article(words: str) -> str:
    """`words` behind an indefinite article ("a pig", "an owl"). Names ("Mickey Mouse": every word with a capital), some plurals, and phrases
    that have an article already stay as they are."""
    first, last = words.split()[0].lower(), words.split()[-1]
    if first in ("a", "an", "the", "some", "two") or last in PLURALS or all(word[0].isupper() for word in words.split()):
        return words
    vowel = first[0] in "aeiou" and not first.startswith(("uni", "eu", "one", "uku"))
    return f"{'an' if vowel else 'a'} {words}"


PLURALS = ("grapes", "fries", "swords", "cattle", "chips", "scissors", "glasses", "people", "animals", "weapons")


def rotated(items: Sequence[T], n: int) -> list[T]:
    """The items from the n-th on, then those before it."""
    n %= len(items)
    return [*items[n:], *items[:n]]
