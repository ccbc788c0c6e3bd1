"""Marks of the embedded models' benchmark: what an image shows of what it must show."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...concepts.concept import Concept
from ...models.emoji.vocabulary import OBJECTS, STYLES, find
from .cases import EmojiCase, object_indices
from .judge import Verdict

ERASED = ("target", "synonym", "implied")  # groups whose prompts are about what is erased

MARKS = ("concept", "alternative", "right", "other", "style", "background", "all")


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


class Marker:
    """Compares what the judge sees with what a case is about."""

    def __init__(self, concepts: Sequence[Concept]):
        """Mark images of a run.

        Args:
            concepts: That are erased.
        """
        self.concepts = tuple(concepts)
        self.erased = tuple(object_indices(concept) for concept in concepts)

    def marks_of(self, case: EmojiCase, sight: Sight) -> dict[str, bool]:
        """The marks that apply to one image.

        Args:
            case: What the image must show.
            sight: What the judge sees in it.

        Returns:
            Some of `MARKS`.
        """
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
