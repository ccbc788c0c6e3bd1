"""What the embedded models know of a concept: kind, other names, neighbors, prompt templates."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ...concepts.concept import Concept
from ...concepts.templates import article
from ...errors import InputError
from ..conditioning import rank_by_similarity
from .motions import MOTIONS, PHRASES, TRAINED
from .vocabulary import CATEGORIES, COLOURFUL, OBJECTS, STYLES, WORDS, Thing, find, members

# Half of an object's templates are scenes, with partners of all kinds. With two scenes among ten
# templates the alternative appeared in 78 % of scenes (castle to house, n 94), with these in 98 %.
TEMPLATES = {
    "object": (
        "{}",
        "a picture of {}",
        "{} on a blue background",
        "{} on a yellow background",
        "a watercolor of {}",
        "a pencil sketch of {}",
        "{} in neon style",
        "{}, pixel art",
        "[{} and ]an umbrella",
        "a key[ to the left of {}]",
        "[{} and ]a bus",
        "a tulip[ and {}]",
        "[{} next to ]a fox",
        "a pizza[ and {}]",
        "[{} and ]a bee",
        "a guitar[ and {}]",
    ),
    "style": (
        "a [{} of a ]cat",
        "a [{} of a ]house",
        "an apple[ in {} style]",
        "a car[, {}]",
        "a [{} picture of a ]pine tree",
        "a fish[ in {} style]",
        "a [{} of a ]bus and a bee",
        "a tulip and a fox[ in {} style]",
        "a [{} of a ]pizza and a guitar",
        "a snowman and an umbrella[ in {} style]",
        "[a {} of ]an owl and a key",
        "a [{} of a ]guitar on a pink background",
        "a gem[ in {} style] on a blue background",
        "a [{} of a ]bear on a yellow background",
        "an alarm clock[ in {} style] on a gray background",
        "[a {} of ]an airplane on a black background",
        "a [{} of a ]car and a penguin",
        "a lemon and a drum[ in {} style]",
        "[a {} of ]an eagle and a camera",
        "a castle and a pig[, {}]",
        "a [{} of a ]rocket and a rose",
        "a butterfly and a cake[ in {} style]",
        "a [{} of a ]crown and a truck",
        "a panda and a trumpet[, {}]",
    ),
}

MOTION_TEMPLATES = (
    "a pig[, {}]",
    "a key on a yellow background[, {}]",
    "a bus on a green background[, {}]",
    "an owl on a pink background[, {}]",
    "a castle[, {}]",
    "a guitar on a white background[, {}]",
    "a rocket on a gray background[, {}]",
    "a tulip on an orange background[, {}]",
    "a pizza on a purple background[, {}]",
    "a cat on a black background[, {}]",
    "a violin[, {}]",
    "a house on a red background[, {}]",
)


def complete(concept: Concept) -> Concept:
    """Add what is known of one concept; whatever the caller set stays.

    Args:
        concept: An object, a category or a style; an unknown concept gets templates alone.

    Returns:
        The concept with its kind, synonyms, members of a category and templates. `keep` lists
        words that contain its name without meaning it ("hot dog"), for a style the other styles.

    Raises:
        InputError: The alternative is one of the things that the concept stands for.
    """
    if concept.erase in STYLES:
        return complete_style(concept)
    if concept.alternative and find(concept.alternative) in things(concept):
        raise InputError(
            f'the alternative "{concept.alternative}" is what "{concept.erase}" is: '
            "choose something else, or leave --to away"
        )
    names = list(concept.synonyms)
    for thing in things(concept):
        names += [thing.word, *thing.synonyms]
    known = (concept.erase, concept.alternative)
    synonyms = tuple(name for name in dict.fromkeys(names) if name not in known)
    return concept.with_(
        synonyms=synonyms,
        keep=concept.keep or words_containing((concept.erase, *synonyms)),
        templates=concept.templates or templates_without({*known, *synonyms}),
    )


def complete_style(concept: Concept) -> Concept:
    """Add kind, templates and the other styles to a style.

    Args:
        concept: One of `STYLES`.
    """
    others = tuple(style for style in STYLES if style != concept.erase)
    templates = concept.templates or style_templates(concept)
    return concept.with_(kind="style", templates=templates, keep=concept.keep or others)


def complete_motion(concept: Concept) -> Concept:
    """Add kind, templates, the motion's other phrases and the other trained motions to a motion.

    Args:
        concept: A phrase of `MOTIONS`, such as "spinning".
    """
    motion = PHRASES[concept.erase]
    known = (concept.erase, concept.alternative)
    phrases = [phrase for phrase in MOTIONS[motion] if phrase not in known]
    others = []
    for name in TRAINED:
        first = MOTIONS[name][0]
        if name != motion and first != concept.alternative:
            others.append(first)
    return concept.with_(
        kind="style",  # without an article
        synonyms=tuple(dict.fromkeys((*concept.synonyms, *phrases))),
        templates=concept.templates or MOTION_TEMPLATES,
        keep=concept.keep or tuple(others),
    )


def words_containing(names: Sequence[str]) -> tuple[str, ...]:
    """Words of the vocabulary that contain one of some names and are not one: "hot dog" for "dog".

    Args:
        names: A concept's names.
    """
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    return tuple(word for word in WORDS if pattern.search(word) and not pattern.fullmatch(word))


def templates_without(names: set[str | None]) -> tuple[str, ...]:
    """Templates of an object whose scenes do not show the object itself or its alternative.

    Args:
        names: The names that must not occur.
    """
    return tuple(t for t in TEMPLATES["object"] if not names & set(re.findall(r"\w+", t)))


def style_templates(concept: Concept) -> tuple[str, ...]:
    """Templates of a style.

    Args:
        concept: The style. Templates with a background are left out if the style has white ones
            alone; if only the alternative does, its side of the template is without a background.
    """
    templates = []
    white_alternative = concept.alternative is not None and concept.alternative not in COLOURFUL
    for template in TEMPLATES["style"]:
        if "background" not in template:
            templates.append(template)
        elif concept.erase in COLOURFUL:
            alternative = f" => {template.partition(' on a ')[0]}" if white_alternative else ""
            templates.append(template + alternative)
    return tuple(templates)


def completed(concepts: Sequence[Concept]) -> tuple[Concept, ...]:
    """Complete all concepts of one run.

    A template of one must not name another: the second would be trained to stay beside the first.

    Args:
        concepts: The concepts as the caller wrote them.

    Returns:
        The completed concepts, in the same order. Completing them again changes nothing.

    Raises:
        InputError: An alternative is one of the things that its concept stands for.
    """
    complete_concepts = [complete(lowercase_if_known(concept)) for concept in concepts]
    owners = {}
    for concept in complete_concepts:
        for name in (concept.erase, *concept.synonyms):
            owners[name] = concept
    results = []
    for original, concept in zip(concepts, complete_concepts):
        if not original.templates:
            templates = templates_naming_no_other(concept, owners)
            concept = concept.with_(templates=templates)
        results.append(concept)
    return tuple(results)


def templates_naming_no_other(concept: Concept, owners: Mapping[str, Concept]) -> tuple[str, ...]:
    """The templates of a concept that do not contain another concept's name.

    Args:
        concept: One of the concepts of a run.
        owners: Every name of every concept of the run, and the concept that it belongs to.
    """
    others = [name for name, owner in owners.items() if owner is not concept]
    return tuple(template for template in concept.templates if not names_any(template, others))


def names_any(template: str, names: Iterable[str]) -> bool:
    """Does a template contain one of some names as whole words?

    Args:
        template: A prompt template.
        names: Names to look for, in the template's case.
    """
    return any(re.search(rf"\b{re.escape(name)}\b", template) for name in names)


def lowercase_if_known(concept: Concept) -> Concept:
    """The concept in lower case, if it is known then: the models do not know capitals.

    Args:
        concept: Such as "Pig".
    """
    alternative = concept.alternative and concept.alternative.lower()
    lower = concept.with_(erase=concept.erase.lower(), alternative=alternative)
    return lower if knows(lower) else concept


def things(concept: Concept) -> tuple[Thing, ...]:
    """The objects that a concept stands for: one, or the members of a category.

    Args:
        concept: Any concept.

    Returns:
        The objects; () if the concept is unknown or a style.
    """
    if concept.erase in CATEGORIES:
        return members(concept.erase)
    thing = find(concept.erase)
    return (thing,) if thing else ()


def near_in_words(
    encode: Callable[[Sequence[str]], Tensor], concepts: Sequence[Concept], n: int = 2
) -> list[str]:
    """Words whose token states are most similar to those of the concepts' objects.

    An edit of keys and values is most likely to damage them.

    Args:
        encode: prompts -> token states [N, tokens, width].
        concepts: The erased concepts; styles are ignored.
        n: How many words for each object.

    Returns:
        The words, without those of the concepts.
    """
    objects = []
    for concept in concepts:
        if concept.kind == "object":
            objects += [OBJECTS.index(thing) for thing in things(concept)]
    if not objects:
        return []
    ranks = rank_by_similarity(encode([article(word) for word in WORDS]), objects)
    near = torch.flatten(ranks[:, 1 : n + 1]).tolist()
    return list(dict.fromkeys(WORDS[i] for i in near if i not in objects))


def knows(concept: Concept) -> bool:
    """Is a concept a style, an object or a category that the models were trained on?

    Args:
        concept: Any concept; its word is looked up as it is written, its kind does not count.
    """
    return concept.erase in STYLES or bool(things(concept))


def knows_motion(concept: Concept) -> bool:
    """Is a concept a motion that `emoji-video` was trained on?

    Args:
        concept: Of which the name of what is erased decides.
    """
    return concept.erase in PHRASES
