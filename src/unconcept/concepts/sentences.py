"""Long prompts, as users of video models write them, built from frames of sentences.

A prompt is one sentence about the subject among sentences about light, camera and mood. Every
prompt of a concept has a twin: the same words with the alternative, or with a neutral subject, in
its place. A third of all phrases is held out: training never sees them, an evaluation of long
prompts can.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .concept import Concept
from .templates import article

HELD_OUT_EVERY = 3  # the third, sixth, ninth, ... phrase of every list is held out

NEUTRAL = "something"  # stands in the twin of an object without an alternative


OPENINGS = (
    "A video of",
    "A clip of",
    "A short film of",
    "A wide shot of",
    "A close-up of",
    "A slow shot of",
    "A detailed view of",
    "Footage of",
    "A scene with",
    "A calm scene with",
    "A cinematic shot of",
    "A handheld video of",
    "A drone video of",
    "A documentary about",
    "A studio recording of",
    "A vintage film of",
    "A realistic video of",
    "A colorful clip of",
    "A long take of",
    "An establishing shot of",
    "A steady view of",
)

DOINGS = (
    "moving slowly",
    "standing still",
    "turning to the left",
    "turning to the right",
    "in the middle of the frame",
    "coming closer",
    "going away",
    "in the foreground",
    "in the distance",
    "seen from above",
    "seen from below",
    "seen from the side",
    "appearing from the left",
    "leaving to the right",
    "half in the shadow",
    "in full view",
    "surrounded by fog",
    "partly hidden",
    "seen through a window",
    "next to a wall",
    "in slow motion",
)

PLACES = (
    "in a meadow",
    "on a beach",
    "in a forest",
    "on a city street",
    "in an empty room",
    "in a garden",
    "near a river",
    "on a mountain path",
    "in a market",
    "on a wooden table",
    "in the snow",
    "in the desert",
    "on a bridge",
    "in a harbor",
    "in a library",
    "on a stage",
    "under a tree",
    "in a courtyard",
    "beside a lake",
    "on a rooftop",
    "in a kitchen",
)

LIGHTS = (
    "Soft morning light fills the scene.",
    "The light is warm and low.",
    "Bright sunlight falls from the left.",
    "The sky is grey and the light is even.",
    "Street lamps give a yellow light.",
    "The last light of the day is red.",
    "Moonlight makes everything blue.",
    "Light comes through the leaves.",
    "A single lamp lights the scene.",
    "Long shadows lie on the ground.",
    "The light flickers a little.",
    "Neon signs color the walls.",
    "Light is reflected by water.",
    "Dust shines in the light.",
    "The picture is bright and clear.",
)

CAMERAS = (
    "The camera does not move.",
    "The camera pans slowly to the right.",
    "The camera moves closer step by step.",
    "The camera circles around the center.",
    "The camera follows every movement.",
    "The lens is wide and everything is sharp.",
    "The background is out of focus.",
    "The shot is taken from the ground.",
    "The camera rises above the scene.",
    "The frame shakes a little.",
    "The camera tilts up.",
    "The view is symmetrical.",
    "The picture has a fine grain.",
    "The camera moves back at the end.",
    "The shot lasts a few seconds.",
)

MOODS = (
    "The mood is quiet.",
    "The colors are strong.",
    "The colors are pale.",
    "Everything looks new.",
    "Everything looks old and worn.",
    "It feels like a dream.",
    "It feels like a memory.",
    "The air is clear and cold.",
    "The air is warm and heavy.",
    "A light wind is blowing.",
    "Nobody is near.",
    "There is a lot of space around.",
    "The scene is simple.",
    "The details are rich.",
    "Time seems to pass slowly.",
)


@dataclass(frozen=True)
class LongPrompt:
    """A long prompt with its twin.

    text    the prompt that names the concept
    twin    the same with the alternative or a neutral subject
    before  the part of `text` in front of the concept's name
    name    the concept's name in it
    """

    text: str
    twin: str
    before: str
    name: str


def phrases(items: Sequence[str], held_out: bool) -> list[str]:
    """The part of a list that is trained with, or the part that is held out.

    Args:
        items: One of the lists of this module.
        held_out: Which part.
    """
    chosen = []
    for i, item in enumerate(items):
        if (i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1) == held_out:
            chosen.append(item)
    return chosen


def long_prompts(
    concept: Concept, n: int, *, seed: int = 0, held_out: bool = False
) -> list[LongPrompt]:
    """Draw long prompts of a concept. The same arguments draw the same prompts.

    Args:
        concept: Its names take turns.
        n: Number of prompts.
        seed: Of the draw.
        held_out: Draw from the phrases that training never sees.

    Returns:
        The prompts with their twins.
    """
    draw = random.Random(f"{concept.erase} {seed} {held_out}")
    names = (concept.erase, *concept.synonyms)
    prompts = []
    for i in range(n):
        opening = draw.choice(phrases(OPENINGS, held_out))
        doing = draw.choice(phrases(DOINGS, held_out))
        place = draw.choice(phrases(PLACES, held_out))
        fillers = []
        for sentences in (LIGHTS, CAMERAS, MOODS):
            if draw.random() < 0.7:
                fillers.append(draw.choice(phrases(sentences, held_out)))
        draw.shuffle(fillers)
        first = draw.randint(0, len(fillers))
        in_front = "".join(f"{sentence} " for sentence in fillers[:first])
        behind = "".join(f" {sentence}" for sentence in fillers[first:])
        name = names[i % len(names)]
        subject, twin = subjects(concept, name)
        place_of_name = len(subject) - len(name) if subject.endswith(name) else 0
        start = f"{in_front}{opening} "
        rest = f" {doing} {place}.{behind}"
        prompts.append(
            LongPrompt(
                start + subject + rest,
                start + twin + rest,
                (start + subject[:place_of_name]).strip(),
                subject[place_of_name:],
            )
        )
    return prompts


def subjects(concept: Concept, name: str) -> tuple[str, str]:
    """What a sentence is about: (with the concept, in the twin).

    Args:
        concept: An object is the subject itself; a style is that of a house.
        name: One of the concept's names.
    """
    if concept.kind == "style":
        twin = "a house"
        if concept.alternative is not None:
            twin = f"a house in the style of {concept.alternative}"
        return f"a house in the style of {name}", twin
    twin = NEUTRAL if concept.alternative is None else article(concept.alternative)
    return article(name), twin
