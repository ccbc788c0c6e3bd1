"""What the embedded model's world knows of a concept: what it is, its other names, what is near, and phrasings that the model reads."""

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...concepts.concept import Concept
from ...concepts.templates import article
from ...errors import InputError
from ..conditioning import rank_by_similarity
from .vocabulary import CATEGORIES, COLOURFUL, OBJECTS, STYLES, WORDS, Thing, find, members

# Half of an object's are scenes, with partners of all kinds: with two scenes of ten the alternative came out in 78 % of scenes (castle to house, n 94), so in 98 %.
TEMPLATES = {
    "object": (
        "{}", "a picture of {}", "{} on a blue background", "{} on a yellow background", "a watercolor of {}", "a pencil sketch of {}",
        "{} in neon style", "{}, pixel art", "[{} and ]an umbrella", "a key[ to the left of {}]", "[{} and ]a bus", "a tulip[ and {}]",
        "[{} next to ]a fox", "a pizza[ and {}]", "[{} and ]a bee", "a guitar[ and {}]",
    ),
    "style": (
        "a [{} of a ]cat", "a [{} of a ]house", "an apple[ in {} style]", "a car[, {}]", "a [{} picture of a ]pine tree", "a fish[ in {} style]",
        "a [{} of a ]bus and a bee", "a tulip and a fox[ in {} style]", "a [{} of a ]pizza and a guitar", "a snowman and an umbrella[ in {} style]",
        "[a {} of ]an owl and a key", "a [{} of a ]guitar on a pink background", "a gem[ in {} style] on a blue background",
        "a [{} of a ]bear on a yellow background", "an alarm clock[ in {} style] on a gray background", "[a {} of ]an airplane on a black background",
        "a [{} of a ]car and a penguin", "a lemon and a drum[ in {} style]", "[a {} of ]an eagle and a camera", "a castle and a pig[, {}]",
        "a [{} of a ]rocket and a rose", "a butterfly and a cake[ in {} style]", "a [{} of a ]crown and a truck", "a panda and a trumpet[, {}]",
    ),
}  # fmt: skip


def complete(concept: Concept) -> Concept:
    """The concept with what the world knows of it: its kind, its synonyms, the members of a category, phrasings that the model reads,
    and for a style the others, which stay."""
    if concept.erase in STYLES:
        others = tuple(style for style in STYLES if style != concept.erase)
        return concept.with_(kind="style", templates=concept.templates or phrasings(concept), keep=concept.keep or others)
    names = list(concept.synonyms)
    if concept.alternative and find(concept.alternative) in things(concept):
        raise InputError(f'the alternative "{concept.alternative}" is what "{concept.erase}" is: choose something else, or leave --to away')
    for thing in things(concept):
        names += [thing.word, *thing.synonyms]
    synonyms = tuple(name for name in dict.fromkeys(names) if name not in (concept.erase, concept.alternative))
    own = {concept.erase, concept.alternative, *synonyms}
    templates = tuple(t for t in TEMPLATES["object"] if not own & set(re.findall(r"\w+", t)))  # a scene's partner is somebody else
    called = re.compile(rf"\b({'|'.join(map(re.escape, {concept.erase, *synonyms}))})\b")
    others = tuple(word for word in WORDS if called.search(word) and not called.fullmatch(word))  # a hot dog is no dog
    return concept.with_(synonyms=synonyms, keep=concept.keep or others, templates=concept.templates or templates)


def completed(concepts: Sequence[Concept]) -> tuple[Concept, ...]:
    """The concepts of one run, each `complete`. No phrasing of one names another: it would be taught to stay beside the first."""
    full = [complete(in_its_spelling(concept)) for concept in concepts]
    names = {name: c for c in full for name in (c.erase, *c.synonyms)}
    foreign = lambda c, template: any(of is not c and re.search(rf"\b{re.escape(name)}\b", template) for name, of in names.items())
    return tuple(
        c if given.templates else c.with_(templates=tuple(t for t in c.templates if not foreign(c, t))) for given, c in zip(concepts, full)
    )


def in_its_spelling(concept: Concept) -> Concept:
    """The concept in small letters where the world knows it in these: the model reads no others."""
    small = concept.with_(erase=concept.erase.lower(), alternative=concept.alternative and concept.alternative.lower())
    return small if knows(small) else concept


def phrasings(concept: Concept) -> tuple[str, ...]:
    """Of a style: with a background where the style has backgrounds; the alternative is asked for without one where it has none."""
    templates = [t for t in TEMPLATES["style"] if "background" not in t or concept.erase in COLOURFUL]
    white = concept.alternative is not None and concept.alternative not in COLOURFUL
    return tuple(f"{t} => {t.partition(' on a ')[0]}" if white and "background" in t else t for t in templates)


def things(concept: Concept) -> tuple[Thing, ...]:
    """The objects that the concept stands for; none when the world does not know it."""
    if concept.erase in CATEGORIES:
        return members(concept.erase)
    thing = find(concept.erase)
    return (thing,) if thing else ()


def near_in_words(encode: Callable[[Sequence[str]], Tensor], concepts: Sequence[Concept], n: int = 2) -> list[str]:
    """The `n` words nearest to each object of the concepts by cosine of their centred token states: what an edit of keys and values may hit.

    encode: prompts -> states [N, tokens, width].
    """
    own = [OBJECTS.index(thing) for concept in concepts if concept.kind == "object" for thing in things(concept)]
    near = rank_by_similarity(encode([article(word) for word in WORDS]), own)[:, 1 : n + 1] if own else torch.zeros(0, dtype=torch.long)
    return list(dict.fromkeys(WORDS[i] for i in near.flatten().tolist() if i not in own))


def knows(concept: Concept) -> bool:
    return concept.erase in STYLES or bool(things(concept))
