"""What the gloss of a meaning says about other meanings."""

import re
from collections.abc import Iterable

# What a gloss says a thing is: "an adult female" hog, "a" vehicle "carrying many passengers".
STOP = (
    "of|for|with|in|on|to|by|from|at|as|than|like|that|which|who|whose|where|or|and|used|having|"
    "around|near|under|over|inside|outside|between|into|behind|beside|above|against|along|through|"
    "within|without|adjoining|surrounding|containing|holding|resembling|attached"
)
HEAD = rf"^(?:\([^)]*\) )?(?:(?!(?:{STOP})\b)[\w'-]+,? ){{0,5}}?"
END = rf"(?=$|[;,:.()]| (?:{STOP}|\w+ed|\w+ing|kept)\b)"


def described_as(nouns: Iterable[str]) -> re.Pattern:
    """A pattern for the glosses of what is one of some nouns: "an adult female hog".

    Args:
        nouns: Names of a meaning, in the singular. Without any, the pattern matches nothing.

    Returns:
        To be used with `search`: it matches from the beginning of a gloss to the noun, where the
        noun ends what the thing is said to be.
    """
    return re.compile(HEAD + pattern_of(nouns) + END)


def mentions(gloss: str, nouns: Iterable[str]) -> bool:
    """Does a gloss use one of some nouns?

    Args:
        gloss: Of a meaning.
        nouns: Those of another meaning.
    """
    return bool(re.search(rf"\b{pattern_of(nouns)}", gloss))


def class_words(gloss: str) -> set[str]:
    """The words with which a gloss names the class of its meaning: "a vehicle", of a bus.

    Args:
        gloss: Of a meaning, as WordNet has it.

    Returns:
        All words up to the end of the noun, articles and adjectives included: {"a", "vehicle"};
        empty where the gloss has another form.
    """
    head = re.search(rf"{HEAD}[\w-]+{END}", gloss)
    return set(head[0].split()) if head else set()


def pattern_of(nouns: Iterable[str]) -> str:
    """A pattern for some nouns and their plurals; without any, nothing fits.

    Args:
        nouns: Words or phrases; they are escaped.

    Returns:
        The source of a regular expression without an anchor at its beginning.
    """
    choices = "|".join(map(re.escape, nouns))
    return rf"(?:{choices})s?\b" if choices else "(?!)"
