"""Prompts of `emoji-video`'s benchmark: those of the images, with a motion behind a comma."""

from collections.abc import Sequence
from dataclasses import replace

from ...concepts.concept import Concept
from ...models.emoji.concepts import knows_motion
from ...models.emoji.motions import MOTIONS, PHRASES, ROUND, TRAINED, motion_of, with_motion
from ...models.emoji.vocabulary import Thing
from .cases import COLOUR, PLAIN, SCENE, STYLE, CaseWriter, EmojiCase

MOVING_WAYS = ("plain", "colour")  # of phrasing; a style or a second object stands still


WAYS = (PLAIN, PLAIN, COLOUR, COLOUR, STYLE, SCENE)


class ClipCaseWriter(CaseWriter):
    """Writes prompts about objects that move, or about motions.

    Where a motion is erased, its own prompts and those of its neighbours, the other motions, name
    one, and unrelated prompts name none. Else every plain prompt names the next motion. Motions
    that the packaged model was not trained on are left out.
    """

    def __init__(self, concepts: Sequence[Concept], seed: int = 0, likely: Sequence[str] = ()):
        super().__init__(concepts, seed, likely)
        self.moving = not any(knows_motion(concept) for concept in concepts)
        self.turn = 0  # of the motions

    def ask(
        self,
        thing: Thing,
        group: str,
        name: str,
        word: str | None = None,
        style: str | None = None,
        way: int | None = None,
    ) -> EmojiCase:
        """Phrase a prompt for an object, which may move.

        Args:
            thing: The object.
            group: One of `benchmark.GROUPS`.
            name: The word that the case is about.
            word: What the object is called; None: its own word.
            style: The style of the image; None: any.
            way: PLAIN, COLOUR, STYLE or SCENE; None: a random one of WAYS.

        Returns:
            The case.
        """
        if way is None:
            way = WAYS[int(self.rng.integers(len(WAYS)))]
        case = super().ask(thing, group, name, word, style, way)
        if not self.moving or case.way not in MOVING_WAYS or case.style >= 0:
            return case
        motions = [motion for motion in TRAINED if motion != "spin" or case_can_spin(thing)]
        phrase = MOTIONS[motions[self.turn % len(motions)]][0]
        self.turn += 1
        return moved(case, phrase, phrase)

    def _target(self, i: int) -> EmojiCase | None:
        concept, turn = self._in_turn(i)
        if not knows_motion(concept):
            return super()._target(i)
        return self._about_motion("target", concept, concept.erase, turn)

    def _synonym(self, i: int) -> EmojiCase | None:
        concept, turn = self._in_turn(i)
        if not knows_motion(concept):
            return super()._synonym(i)
        phrases = [phrase for phrase in concept.synonyms if phrase in PHRASES]
        if not phrases:
            return None
        return self._about_motion("synonym", concept, phrases[turn % len(phrases)], turn)

    def _neighbour(self, i: int) -> EmojiCase | None:
        concept, turn = self._in_turn(i)
        if not knows_motion(concept):
            return super()._neighbour(i)
        erased = {PHRASES[c.erase] for c in self.concepts if knows_motion(c)}
        others = [MOTIONS[motion][0] for motion in TRAINED if motion not in erased]
        phrase = others[turn % len(others)]
        case = self._about_motion("neighbour", concept, phrase, turn)
        return replace(case, name=phrase, instead="")

    def _about_motion(self, group: str, concept: Concept, phrase: str, turn: int) -> EmojiCase:
        """A prompt for some object, on a background or without, that moves as a phrase says."""
        things = self.free
        if PHRASES[phrase] == "spin":
            things = [thing for thing in self.free if case_can_spin(thing)]
        way = COLOUR if turn % 2 else PLAIN
        case = super().ask(self.choose(things), group, concept.erase, way=way)
        return moved(case, phrase, concept.alternative or "")


def case_can_spin(thing: Thing) -> bool:
    """Does spinning show in the drawing of an object?

    Args:
        thing: The object.
    """
    return thing.word not in ROUND


def moved(case: EmojiCase, phrase: str, instead: str) -> EmojiCase:
    """A case whose prompt names a motion.

    Args:
        case: Its prompt names none.
        phrase: The motion.
        instead: The motion in the prompt of the alternative; "": there is no such prompt.

    Returns:
        The case.
    """
    alternative = case.instead or case.prompt
    has_alternative = bool(instead) and (bool(case.instead) or instead != phrase)
    return replace(
        case,
        prompt=with_motion(case.prompt, phrase),
        instead=with_motion(alternative, instead) if has_alternative else "",
    )


def named_motion(case: EmojiCase) -> str:
    """The motion that a case's prompt names.

    Args:
        case: Its prompt may end with a phrase of `MOTIONS`.

    Returns:
        A name of `MOTIONS`; "" if the prompt names none.
    """
    return motion_of(case.prompt) or ""
