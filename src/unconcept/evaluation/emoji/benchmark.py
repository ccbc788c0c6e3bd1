"""Benchmark of the embedded models: prompts with known answers, and marks by a trained judge."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
from ..benchmark import Judgement, PromptCase
from ..prompt_benchmark import LIKELIEST
from .judge import Verdict, load_judge, quality

ERASED = ("target", "synonym", "implied")  # groups whose prompts are about what is erased

MARKS = ("concept", "alternative", "right", "other", "style", "background", "all")

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


@dataclass(frozen=True)
class Sight:
    """What the judge sees in one image.

    objects    indices of objects that are seen
    suspected  indices of the likeliest objects, however unlikely they are
    style      name of the style
    colour     index of the background colour
    """

    objects: set[int]
    suspected: set[int]
    style: str
    colour: int

    @classmethod
    def of(cls, verdict: Verdict, i: int, scene: bool) -> "Sight":
        """The sight of one image: of both halves in a scene, else of the whole image.

        Args:
            verdict: What the judge sees in N images.
            i: Index of the image, 0 to N - 1.
            scene: Whether the prompt names two objects, one on the left and one on the right.

        Returns:
            What is seen in it.
        """
        areas = ("left", "right") if scene else ("whole",)
        return cls(
            objects={int(getattr(verdict, area)[i]) for area in areas},
            suspected={int(verdict.guess[area][i]) for area in areas},
            style=STYLES[int(verdict.style[i])],
            colour=int(verdict.colour[i]),
        )


def object_indices(concept: Concept) -> set[int]:
    """Indices into OBJECTS of the objects that a concept stands for."""
    return {OBJECTS.index(thing) for thing in things(concept)}


class EmojiBenchmark:
    """Prompts about several concepts at once, with known answers; states `Benchmark`."""

    def __init__(
        self,
        concepts: Sequence[Concept],
        n: Mapping[str, int],
        seed: int = 0,
        own: Sequence[EmojiCase] = (),
        likely: Sequence[str] = (),
    ):
        """Draw the prompts.

        Args:
            concepts: Completed concepts that are erased.
            n: Number of prompts by group; a group without any possible prompt stays empty.
            seed: Of the prompts.
            own: The user's own prompts, added to them.
            likely: Words that count as near neighbours besides those of the table, such as those
                near in the text encoder's space.
        """
        self.concepts = tuple(concepts)
        self.seed = seed
        self.rng = np.random.default_rng([7, seed])
        self.likely = tuple(OBJECTS[WORDS.index(word)] for word in likely)
        self.erased = tuple(object_indices(concept) for concept in concepts)
        self.styles = {c.erase for c in concepts if c.kind == "style"}
        self.free = self._free_objects()
        self.cases: list[EmojiCase] = []
        for group, make_case in self._makers().items():
            for i in range(n.get(group, 0)):
                case = make_case(i)
                if case is not None:
                    self.cases.append(case)
        self.cases += own

    @property
    def judge_card(self) -> dict | None:
        """Held-out accuracy of the judge: {what: [share right, n]}."""
        return quality()["judge"]

    def _free_objects(self) -> list[Thing]:
        """Objects that are neither erased nor an alternative."""
        taken = set().union(*self.erased)
        for concept in self.concepts:
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
        concept = self._concept_called(name)
        if concept is None or concept.alternative is None or group not in ("target", "synonym"):
            return ""
        replaced = word if concept.kind == "object" else concept.erase
        if article(replaced) in prompt:
            return prompt.replace(article(replaced), article(concept.alternative), 1)
        return prompt.replace(replaced, concept.alternative, 1)

    def _concept_called(self, name: str) -> Concept | None:
        for concept in self.concepts:
            if concept.erase == name:
                return concept
        return None

    def real(self, group: str) -> Tensor:
        """Rendered images of what a group's prompts should show.

        For a prompt of the erased concept that is the alternative, or anything where there is none.

        Args:
            group: One of `benchmark.GROUPS`.

        Returns:
            [N, 3, 64, 64] in [0, 1], one per case of the group, the same ones every time.
        """
        from .rendering import LABELS, ONE_HAND, render_image

        rng = np.random.default_rng([11, self.seed])
        images = []
        for case in self.cases:
            if case.group != group:
                continue
            thing, style = self._expected(case)
            if thing < 0:
                thing = OBJECTS.index(self.free[int(rng.integers(len(self.free)))])
            if style < 0:
                style = int(rng.integers(2))
            colour = int(rng.integers(len(COLOURS))) if case.colour < 0 else case.colour
            if STYLES[style] not in COLOURFUL:
                colour = 0
            label: Any = np.array((thing, case.other, style, colour), LABELS)
            images.append(render_image(label[()], rng, ONE_HAND, aligned=True))
        if not images:
            return torch.zeros(0, 3, 64, 64)
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255

    def _expected(self, case: EmojiCase) -> tuple[int, int]:
        """(object, style) that an image should show after the erasure; -1: any."""
        if case.group not in ERASED:
            return case.object, case.style
        concept = self._concept_called(case.name)
        alternative = (concept.alternative if concept else None) or ""
        if concept and concept.kind == "style":
            return case.object, STYLES.index(alternative) if alternative in STYLES else -1
        thing = find(alternative)
        return OBJECTS.index(thing) if thing else -1, case.style

    def marks(self, images: Tensor) -> dict[str, Tensor]:
        """The judge's marks.

        concept      what should be erased is seen, or only suspected, whatever was prompted for
        alternative  the alternative is seen
        right        what was prompted for is seen: the style for a style, else the object
        other        of a scene: the second object is seen
        style        the prompted style is seen
        background   the prompted background colour is seen
        all          everything is seen that the prompt names, except what is erased

        Args:
            images: [N, 3, 64, 64] in [0, 1], one per case.

        Returns:
            [N] by name: 0, 1, or NaN where a mark does not apply.
        """
        verdict = load_judge().look(images)
        marks = {name: torch.full((len(self.cases),), math.nan) for name in MARKS}
        for i, case in enumerate(self.cases):
            sight = Sight.of(verdict, i, scene=case.other >= 0)
            for name, mark in self._marks_of(case, sight).items():
                marks[name][i] = mark
        return marks

    def _marks_of(self, case: EmojiCase, sight: Sight) -> dict[str, bool]:
        """The marks that apply to one image."""
        marks: dict[str, bool] = {}
        if case.name in STYLES:
            marks["right"] = sight.style == case.name
        elif case.object >= 0:
            marks["right"] = case.object in sight.objects
        if case.other >= 0:
            marks["other"] = case.other in sight.objects
        if case.style >= 0:
            marks["style"] = sight.style == STYLES[case.style]
        if case.colour >= 0:
            marks["background"] = sight.colour == case.colour
        if case.group in ERASED:
            self._mark_erased(case, sight, marks)
        else:
            # The concept was not prompted for: before the edit, this is the judge's error.
            marks["concept"] = any(self._shows(k, sight) for k in range(len(self.concepts)))
        counted = ["other", "style", "background"]
        if case.group not in ERASED:
            counted.append("right")
        named = [marks[name] for name in counted if name in marks]
        if named:
            marks["all"] = all(named)
        return marks

    def _mark_erased(self, case: EmojiCase, sight: Sight, marks: dict[str, bool]) -> None:
        """Add `concept` and `alternative` for a prompt about what is erased."""
        about = [k for k, concept in enumerate(self.concepts) if concept.erase == case.name]
        # A prompt of the user's own names no concept: it is about all of them.
        about = about or list(range(len(self.concepts)))
        alternatives = []
        for k in about:
            concept = self.concepts[k]
            alternative = concept.alternative or ""
            if concept.kind == "style":
                marks.pop("style", None)  # the prompted style is the one that is erased
                if alternative in STYLES:
                    alternatives.append(sight.style == alternative)
            elif case.group != "implied":
                thing = find(alternative)
                if thing:
                    alternatives.append(OBJECTS.index(thing) in sight.objects)
        marks["concept"] = any(self._shows(k, sight) for k in about)
        if alternatives:
            marks["alternative"] = any(alternatives)

    def _shows(self, k: int, sight: Sight) -> bool:
        """Does an image show concept k, or is the concept at least suspected?"""
        if self.concepts[k].kind == "style":
            return sight.style == self.concepts[k].erase
        return bool(sight.suspected & self.erased[k])

    def judgements(self, images: Tensor) -> list[Judgement]:
        """What the judge says of each image.

        Args:
            images: [N, 3, 64, 64] in [0, 1], one per case.

        Returns:
            N judgements. A prompt about a style is judged by its style, and a scene by the objects
            of both halves, "cow + house". Probabilities are of the whole image.
        """
        verdict = load_judge().look(images)
        judgements = []
        for i, case in enumerate(self.cases):
            sight = Sight.of(verdict, i, scene=case.other >= 0)
            if case.name in STYLES:
                names, probabilities = STYLES, verdict.styles[i]
                name = sight.style
            else:
                names, probabilities = tuple(WORDS), verdict.objects[i]
                seen = [OBJECTS[k].word for k in sorted(sight.objects) if k < len(OBJECTS)]
                name = " + ".join(seen)
            chosen = dict.fromkeys(probabilities[: len(names)].topk(LIKELIEST).indices.tolist())
            for word in self._words_of(case):
                if word in names:
                    chosen[names.index(word)] = None
            shown = {names[k]: probabilities[k].item() for k in chosen}
            judgements.append(Judgement(name, shown))
        return judgements

    def _words_of(self, case: EmojiCase) -> list[str]:
        """Words whose probabilities are recorded for an image."""
        words = [case.name]
        for concept in self.concepts:
            words += [concept.erase, concept.alternative or ""]
        if case.object >= 0:
            words.append(OBJECTS[case.object].word)
        return words

    def values(self, images: Tensor) -> dict[str, Tensor]:
        """How sure the judge is of what it sees: low for images that fell apart.

        Args:
            images: [N, 3, 64, 64] in [0, 1], one per case.

        Returns:
            The largest probability of any object [N] in [0, 1], by name.
        """
        objects = load_judge().look(images).objects
        return {"confidence of the judge": objects[:, :-1].amax(1)}
