"""Prompts of the embedded models' benchmark, and what their images must show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...concepts.concept import Concept
from ...concepts.templates import article
from ...models.emoji.concepts import things
from ...models.emoji.vocabulary import (
    CATEGORIES,
    COLOURFUL,
    COLOURS,
    OBJECTS,
    SCENIC,
    STYLES,
    WORDS,
    Thing,
    find,
    neighbours,
)
from ..benchmark import PromptCase
from .judge import quality

# Ways to phrase a prompt: alone, on a coloured background, in a style, beside another object.
PLAIN, COLOUR, STYLE, SCENE = range(4)


@dataclass(frozen=True)
class EmojiCase(PromptCase):
    """A prompt and what its image must show.

    object  index into OBJECTS; -1: unknown
    other   index into OBJECTS of the second object of a scene; -1: there is none
    style   index into STYLES; -1: any
    colour  index into COLOURS, of the background; -1: any
    """

    object: int = -1
    other: int = -1
    style: int = -1
    colour: int = -1


class CaseWriter:
    """Writes prompts about several concepts at once, in several ways, and what they must show."""

    def __init__(self, concepts: Sequence[Concept], seed: int = 0, likely: Sequence[str] = ()):
        """Begin a series of random cases.

        Args:
            concepts: Completed concepts that are erased.
            seed: Of the prompts.
            likely: Words that count as near neighbours besides those of the table, such as those
                near in the text encoder's space.
        """
        self.concepts = tuple(concepts)
        self.rng = np.random.default_rng([7, seed])
        self.likely = tuple(OBJECTS[WORDS.index(word)] for word in likely)
        self.styles = {c.erase for c in concepts if c.kind == "style"}
        self.free = self._free_objects()

    def write(self, n: Mapping[str, int]) -> list[EmojiCase]:
        """Write the cases of all groups.

        Args:
            n: Number of prompts by group; a group without any possible prompt stays empty.

        Returns:
            The cases, group after group.
        """
        cases: list[EmojiCase] = []
        for group, make_case in self._makers().items():
            for i in range(n.get(group, 0)):
                case = make_case(i)
                if case is not None:
                    cases.append(case)
        return cases

    def _free_objects(self) -> list[Thing]:
        """Objects that are neither erased nor an alternative."""
        taken: set[int] = set()
        for concept in self.concepts:
            taken |= object_indices(concept)
            alternative = find(concept.alternative) if concept.alternative else None
            if alternative:
                taken.add(OBJECTS.index(alternative))
        return [thing for i, thing in enumerate(OBJECTS) if i not in taken]

    def _makers(self) -> dict[str, Callable[[int], EmojiCase | None]]:
        """What makes the i-th case of each group; None where there is none for that concept."""
        return {
            "target": self._target,
            "synonym": self._synonym,
            "implied": self._implied,
            "neighbour": self._neighbour,
            "unrelated": self._unrelated,
        }

    def _in_turn(self, i: int) -> tuple[Concept, int]:
        """(the concept of a group's i-th case, the number of its earlier cases)"""
        turn, which = divmod(i, len(self.concepts))
        return self.concepts[which], turn

    def _target(self, i: int) -> EmojiCase | None:
        concept, turn = self._in_turn(i)
        if concept.kind == "style":
            thing = self.choose(self.free)
            return self.ask(thing, "target", concept.erase, style=concept.erase)
        members = things(concept)
        if not members:
            return None
        thing = self.choose(members)
        by_category = concept.erase in CATEGORIES and turn % 2
        word = concept.erase if by_category else thing.word
        return self.ask(thing, "target", concept.erase, word=word)

    def _synonym(self, i: int) -> EmojiCase | None:
        concept, _ = self._in_turn(i)
        named = [thing for thing in things(concept) if thing.synonyms]
        if not named:
            return None
        thing = self.choose(named)
        word = str(self.rng.choice(thing.synonyms))
        return self.ask(thing, "synonym", concept.erase, word=word)

    def _implied(self, i: int) -> EmojiCase | None:
        """A category instead of its member: "a farm animal" may be a pig, and must no longer be."""
        concept, turn = self._in_turn(i)
        named = [thing for thing in things(concept) if set(thing.categories) - {concept.erase}]
        if not named:
            return None
        thing = named[turn % len(named)]
        word = sorted(set(thing.categories) - {concept.erase})[0]
        case = self.ask(thing, "implied", concept.erase, word=word, way=turn % 3)
        return replace(case, object=-1)

    def _neighbour(self, i: int) -> EmojiCase | None:
        concept, turn = self._in_turn(i)
        names = self.nearby(concept)
        if not names:
            return None
        name = names[turn % len(names)]
        if concept.kind == "style":
            return self.ask(self.choose(self.free), "neighbour", name, style=name)
        return self.ask(OBJECTS[WORDS.index(name)], "neighbour", name)

    def _unrelated(self, i: int) -> EmojiCase | None:
        near: set[Thing] = set()
        for concept in self.concepts:
            if concept.kind == "object":
                near.update(self.near(concept))
        thing = self.choose([thing for thing in self.free if thing not in near])
        return self.ask(thing, "unrelated", thing.word)

    def nearby(self, concept: Concept) -> list[str]:
        """The words that are prompted for as neighbours, in turn.

        Args:
            concept: One of `concepts`.

        Returns:
            Near objects that are not erased; for a style the other styles.
        """
        if concept.kind == "style":
            return [style for style in STYLES[2:] if style not in self.styles]
        words = []
        for thing in self.near(concept):
            if thing in self.free or thing.word == concept.alternative:
                words.append(thing.word)
        return words

    def near(self, concept: Concept) -> list[Thing]:
        """Neighbours by the table, by what the judge confuses with the concept, and `likely` ones.

        Args:
            concept: One of `concepts`.

        Returns:
            Objects without those of the concept; none for a style or an unknown object.
        """
        members = things(concept)
        if not members:
            return []
        confusions = quality().get("confusions", {})
        confused = []
        for thing in members:
            for word in confusions.get(thing.word, ())[:2]:
                confused.append(OBJECTS[WORDS.index(word)])
        candidates = dict.fromkeys((*neighbours(members), *confused, *self.likely))
        return [thing for thing in candidates if thing not in members]

    def choose(self, items: Sequence[Thing]) -> Thing:
        """Draw one of some objects.

        Args:
            items: At least one.

        Returns:
            One of them, drawn by the benchmark's random generator.
        """
        return items[int(self.rng.integers(len(items)))]

    def ask(
        self,
        thing: Thing,
        group: str,
        name: str,
        word: str | None = None,
        style: str | None = None,
        way: int | None = None,
    ) -> EmojiCase:
        """Phrase a prompt for an object.

        Args:
            thing: The object.
            group: One of `benchmark.GROUPS`.
            name: The word that the case is about.
            word: What the object is called; None: its own word.
            style: The style it is drawn in; None: none, or one drawn in the way STYLE.
            way: PLAIN, COLOUR, STYLE or SCENE; None: drawn. A way that the style does not allow
                becomes PLAIN.

        Returns:
            The case.
        """
        word = word or thing.word
        subject = article(word)
        way = int(self.rng.integers(4)) if way is None else way
        form = "plain"
        other_index = style_index = colour_index = -1
        if way == SCENE and (style is None or style in SCENIC):
            form = "scene"
            other = self.choose([t for t in self.free if t is not thing])
            other_index = OBJECTS.index(other)
            subject = f"{subject} and {article(other.word)}"
        if way == STYLE and style is None:
            form = "style"
            style = str(self.rng.choice([s for s in STYLES[2:] if s not in self.styles]))
        prompt = subject
        if style is not None:
            style_index = STYLES.index(style)
            before = self.rng.random() < 0.5
            prompt = f"{article(style)} of {subject}" if before else f"{subject} in {style} style"
        if way == COLOUR and (style is None or style in COLOURFUL):
            form = "colour"
            colour = str(self.rng.choice(list(COLOURS)))
            colour_index = list(COLOURS).index(colour)
            prompt = f"{prompt} on {article(colour)} background"
        return EmojiCase(
            prompt,
            group,
            name,
            way=form,
            instead=self._instead(prompt, group, name, word),
            object=OBJECTS.index(thing),
            other=other_index,
            style=style_index,
            colour=colour_index,
        )

    def _instead(self, prompt: str, group: str, name: str, word: str) -> str:
        """The prompt with the alternative in place of the concept; "" where there is none."""
        concept = concept_called(name, self.concepts)
        if concept is None or concept.alternative is None or group not in ("target", "synonym"):
            return ""
        replaced = word if concept.kind == "object" else concept.erase
        if article(replaced) in prompt:
            return prompt.replace(article(replaced), article(concept.alternative), 1)
        return prompt.replace(replaced, concept.alternative, 1)


def object_indices(concept: Concept) -> set[int]:
    """Indices into OBJECTS of the objects that a concept stands for.

    Args:
        concept: An object or a category; of a style or an unknown word there are none.
    """
    return {OBJECTS.index(thing) for thing in things(concept)}


def concept_called(name: str, concepts: Sequence[Concept]) -> Concept | None:
    """The concept that is erased by a name; None if there is none.

    Args:
        name: Of a case.
        concepts: That are erased.
    """
    for concept in concepts:
        if concept.erase == name:
            return concept
    return None
