"""Complete a concept for a model whose words nobody knows: names, prompt templates, neighbours."""

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from . import lexicon, styles
from .concept import Concept
from .templates import TEMPLATES

# At most so many synonyms, and so many members of a category, are erased along with a concept.
SYNONYMS, MEMBERS = 5, 12

# A concept is erased from about so many prompts: the more names it has, the fewer templates.
PROMPTS, FEWEST, MOST = 192, 10, 24

# Further templates of an object, by what they add to it. {s} is the concept in the plural.
SCENES: dict[str, tuple[str, ...]] = {
    "media": (
        "a photo of {}",
        "a close-up photo of {}",
        "a watercolor of {}",
        "a pencil drawing of {}",
        "a cartoon of {}",
        "an oil painting of {}",
        "a black and white photo of {}",
        "a 3d render of {}",
    ),
    "place": (
        "{} in a garden",
        "{} on a city street",
        "{} in a living room",
        "{} on a beach",
        "{} in a forest",
        "{} in front of a mountain",
        "{} in the snow",
    ),
    "beside": (
        "[{} next to ]a tree",
        "a person[ and {}]",
        "a table[ to the left of {}]",
        "[{} and ]a bicycle",
        "a house[ behind {}]",
        "[{} in front of ]a window",
        "a child[ looking at {}]",
    ),
    "light": (
        "{} at night",
        "{} at sunset",
        "{} in soft morning light",
        "{} under neon lights",
        "{} in the fog",
        "a studio photo of {}, dramatic lighting",
    ),
    "plural": (
        "two {s}",
        "a group of {s}",
        "a photo of several {s}",
        "many {s} in a field",
    ),
    "possessive": (
        "{}'s shadow on a wall",
        "a close-up of {}'s shape",
        "{}'s silhouette",
    ),
    "words of prompts": (
        "{}, highly detailed",
        "{}, 4k, professional photography",
        "a beautiful image of {}",
        "{}, digital art",
    ),
}

# Those that only fit things: not names, nor what the lexicon does not know.
COUNTED = ("plural", "possessive")

# Further templates of a style, by what they show. Without the style, that remains.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "people": (
        "a person[ in {} style]",
        "a [{} portrait of a ]woman",
        "a crowd[, {}]",
        "a [{} of a ]man with a hat",
        "a child with a ball[ in {} style]",
    ),
    "animals": (
        "a [{} of a ]dog",
        "a horse[ in {} style]",
        "a bird on a branch[, {}]",
        "a [{} of a ]fish and a boat",
    ),
    "nature": (
        "a landscape[ in {} style]",
        "a [{} of a ]mountain",
        "a river in a forest[, {}]",
        "a beach at sunset[ in the style of {}]",
        "a field of flowers[, {}]",
    ),
    "buildings": (
        "a city street[, {}]",
        "a [{} of a ]castle",
        "a bridge at night[ in {} style]",
        "a church and a tree[, {}]",
        "a [{} of a ]kitchen with a table",
    ),
    "things": (
        "a car[ in {} style]",
        "a [{} of a ]bowl of fruit",
        "a ship at sea[, {}]",
        "an airplane[ in the style of {}]",
        "a vase of flowers[, {}]",
        "a [{} of a ]guitar and a chair",
    ),
    "style": ("{} art", "{} style", "an image in {} style"),
}

# Further templates of an artist.
WORKS: dict[str, tuple[str, ...]] = {
    "by": (
        "a painting by {}",
        "art by {}",
        "a painting in the style of {}",
        "a landscape[ by {}]",
        "a portrait of a woman[ by {}]",
        "a house[ by {}]",
        "a ship at sea[ by {}]",
        "a bowl of fruit[, by {}]",
    ),
    **{name: group for name, group in SUBJECTS.items() if name != "style"},
    "style": ("{} style", "inspired by {}"),
}


class Names(Protocol):
    """What a model knows about names."""

    def among(self, name: str, others: Sequence[str]) -> Sequence[str]:
        """Those of other names that mean the same to the model, or something near it.

        Args:
            name: What the concept is called.
            others: Other names that the lexicon has for it, or for its members.
        """
        ...


def complete(
    concepts: Sequence[Concept], vocabulary: Collection[str], known: Names | None = None
) -> tuple[Concept, ...]:
    """Complete all concepts of one run with what the lexicon knows.

    Objects and categories get synonyms, members, neighbours and common words that are retained;
    styles get other names of an artist and other styles that are retained. All get prompt
    templates. What the caller set stays; a concept with templates and retained words of its own is
    complete.

    Args:
        concepts: The concepts of the run: a template of one must not name another.
        vocabulary: Words that are retained in any case.
        known: Leaves out names that the model does not know; None: all names of the lexicon count.

    Returns:
        The completed concepts, in the same order. Completing them again changes nothing.
    """
    complete_concepts = []
    for concept in concepts:
        if concept.templates and concept.keep:
            complete_concepts.append(concept)
        elif concept.kind == "style" or styles.names_of(concept.erase):
            complete_concepts.append(complete_style(concept, known))
        else:
            complete_concepts.append(complete_object(concept, vocabulary, known))
    results = []
    for original, concept in zip(concepts, complete_concepts):
        if not original.templates:
            others = [other for other in complete_concepts if other is not concept]
            templates = choose_templates(concept, [name for c in others for name in names(c)])
            concept = concept.with_(templates=templates)
        results.append(concept)
    return tuple(results)


def names(concept: Concept) -> tuple[str, ...]:
    """What a concept is called.

    Args:
        concept: Its alternative is not one of the names.

    Returns:
        The erased word first, then its synonyms.
    """
    return (concept.erase, *concept.synonyms)


def complete_object(
    concept: Concept, vocabulary: Collection[str], known: Names | None = None
) -> Concept:
    """Add synonyms, members and retained words.

    Args:
        concept: An object or a category. Names, and words that are not in the lexicon, get retained
            words alone.
        vocabulary: Words that are retained in any case. Those that are members are erased, however
            many there are.
        known: Leaves out names that the model does not know; None: all names of the lexicon count.

    Returns:
        The concept without templates.
    """
    words = lexicon.read()
    entry = words.look_up(concept.erase, concept.alternative, concept.synonyms)
    others: Sequence[str] = ()
    near: tuple[str, ...] = ()
    taken = {concept.erase, *vocabulary}
    if entry is not None:
        rest = [member for member in entry.members[MEMBERS:] if member in vocabulary]
        others = [*entry.synonyms[:SYNONYMS], *entry.members[:MEMBERS], *rest]
        near = entry.neighbours
        taken |= {*entry.synonyms, *entry.members, *near}
    synonyms = new_synonyms(concept, others, known)
    keep = concept.keep or (*near, *words.retained(entry, taken))
    return concept.with_(synonyms=tuple(synonyms), keep=tuple(keep))


def new_synonyms(concept: Concept, others: Sequence[str], known: Names | None) -> list[str]:
    """The concept's own synonyms, and those of other names that the model knows.

    Args:
        concept: Its own synonyms stay.
        others: Other names from the lexicon.
        known: Leaves out names that the model does not know; None: all of them count.

    Returns:
        Each name once, without the erased word and the alternative.
    """
    taken = {concept.erase, concept.alternative or "", *concept.synonyms}
    others = lexicon.without(others, taken)
    if known is not None:
        others = known.among(concept.erase, others)
    return lexicon.without([*concept.synonyms, *others], {concept.erase, concept.alternative or ""})


def complete_style(concept: Concept, known: Names | None = None) -> Concept:
    """Add kind, other names and other styles.

    Args:
        concept: A style, listed or not.
        known: Leaves out names that the model does not know; None: all names of the lexicon count.

    Returns:
        The concept without templates.
    """
    synonyms = tuple(new_synonyms(concept, styles.names_of(concept.erase), known))
    keep = concept.keep
    if not keep:
        taken = {name.lower() for name in (concept.erase, *synonyms)}
        keep = tuple(name for name in styles.neighbours(concept.erase) if name.lower() not in taken)
    return concept.with_(kind="style", synonyms=synonyms, keep=keep)


def choose_templates(concept: Concept, others: Iterable[str]) -> tuple[str, ...]:
    """Templates of a concept: those of its kind, and one after the other of each group.

    Args:
        concept: With its synonyms.
        others: Names of the other concepts of the run.

    Returns:
        The fewer, the more names the concept has. None names the concept itself, its alternative,
        or another concept of the run.
    """
    forbidden = [*names(concept), *others]
    if concept.alternative:
        forbidden.append(concept.alternative)
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, forbidden))})\b", re.IGNORECASE)
    templates = []
    for template in [*TEMPLATES[concept.kind], *taken_in_turn(groups_of(concept))]:
        if not pattern.search(template.replace("{}", "").replace("{s}", "")):
            templates.append(template)
    n = min(MOST, max(FEWEST, PROMPTS // len(names(concept))))
    return tuple(templates[:n]) or ("{}",)


def groups_of(concept: Concept) -> list[tuple[str, ...]]:
    """Groups of further templates that fit a concept.

    Args:
        concept: With kind, alternative and synonyms. Of an object, templates with its plural or
            possessive are left out where the lexicon does not know it as a thing that an image can
            show.

    Returns:
        The groups of SCENES for an object; those of WORKS for an artist, unless the alternative is
        a style of another kind; else those of SUBJECTS.
    """
    if concept.kind == "object":
        words = lexicon.read()
        number = words.choose_sense(concept.erase, concept.alternative, concept.synonyms)
        countable = number is not None and words.is_drawable(number)
        return [group for name, group in SCENES.items() if countable or name not in COUNTED]
    others_fit = concept.alternative is None or styles.is_artist(concept.alternative)
    by_artist = styles.is_artist(concept.erase) and others_fit
    return list((WORKS if by_artist else SUBJECTS).values())


def taken_in_turn(groups: Sequence[Sequence[str]]) -> list[str]:
    """The first of each group, the second of each, and so on.

    Args:
        groups: Templates in groups, which may differ in length.

    Returns:
        All templates. A group that is used up is skipped.
    """
    rows = itertools.zip_longest(*groups)
    return [template for row in rows for template in row if template is not None]
