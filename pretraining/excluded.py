"""Concepts that a training never sees: `draw_label` never draws them, so no image and no caption
does.

A caption names only what its label holds (the object's word, a synonym or a category of it, the
style), so the words and synonyms of an excluded object are never written. A category stays as long
as one of its members does: "a farm animal" is then a cow, a horse or a chicken, never a pig.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from unconcept.errors import InputError
from unconcept.models.emoji.vocabulary import OBJECTS, STYLES, find


@dataclass(frozen=True)
class Excluded:
    """Objects and styles that must not be drawn, as indices into `OBJECTS` and `STYLES`."""

    objects: frozenset[int] = frozenset()
    styles: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, names: Iterable[str]) -> "Excluded":
        """Look up concepts by name.

        Args:
            names: Words or synonyms of objects, and names of styles.

        Raises:
            InputError: A name is neither an object nor a style.
        """
        objects: set[int] = set()
        styles: set[int] = set()
        for name in names:
            thing = find(name)
            if name in STYLES:
                styles.add(STYLES.index(name))
            elif thing is not None:
                objects.add(OBJECTS.index(thing))
            else:
                raise InputError(f'"{name}" is neither an object nor a style of the embedded model')
        return cls(frozenset(objects), frozenset(styles))

    def allows(self, a: int, b: int, style: int) -> bool:
        """True if neither object (b = -1: there is one object) nor the style is excluded."""
        return a not in self.objects and b not in self.objects and style not in self.styles

    def concepts(self) -> list[str]:
        """The words of the objects and the names of the styles, in the order of the tables."""
        objects = [OBJECTS[index].word for index in sorted(self.objects)]
        return objects + [STYLES[index] for index in sorted(self.styles)]

    def words(self) -> list[str]:
        """Everything that names an excluded concept: words, synonyms and styles."""
        synonyms: list[str] = []
        for index in sorted(self.objects):
            synonyms += OBJECTS[index].synonyms
        return self.concepts() + synonyms


NOTHING = Excluded()
