"""Concepts of one run that contradict each other, or themselves."""

from collections.abc import Sequence

from ..errors import InputError
from .concept import Concept
from .words import canonical, same_name


def check_distinct(concepts: Sequence[Concept]) -> None:
    """Refuse concepts of one run that contradict each other.

    Args:
        concepts: As the user named them, before a model completes them.

    Raises:
        InputError: A name is erased twice, or is erased and also an alternative or a word that
            must not change.
    """
    erased: list[tuple[str, int]] = []
    for i, concept in enumerate(concepts):
        if any(canonical(name) == canonical(concept.erase) for name in concept.synonyms):
            raise InputError(f'"{concept.erase}" is its own synonym: name another, or none')
        for name in dict.fromkeys((concept.erase, *concept.synonyms)):
            for other, owner in erased:
                if owner != i and same_name(name, other):
                    same = "" if name == other else f' ("{other}")'
                    raise InputError(f'"{name}"{same} is to be erased twice: name it once')
            erased.append((name, i))
    for concept in concepts:
        check_what_stays(concept, [name for name, _ in erased])


def check_what_stays(concept: Concept, erased: Sequence[str]) -> None:
    """Refuse an alternative or a word to keep that is to be erased.

    Args:
        concept: One concept of a run.
        erased: Names of all its concepts.

    Raises:
        InputError: A name is in both.
    """
    for name in erased:
        if concept.alternative is not None and same_name(concept.alternative, name):
            raise InputError(
                f'"{concept.alternative}" is the alternative of "{concept.erase}" and is to be '
                "erased itself: choose another alternative"
            )
        for word in concept.keep:
            if same_name(word, name):
                raise InputError(f'"{word}" is to be kept, and "{name}" to be erased: drop one')
