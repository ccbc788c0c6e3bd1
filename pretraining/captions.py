"""How a label is said in words.

One label has many captions: synonyms, categories, styles and colours named or left out.
"""

import numpy as np

from unconcept.concepts.templates import article
from unconcept.models.emoji.vocabulary import COLOURFUL, COLOURS, OBJECTS, STYLES

COLOUR_NAMES = tuple(COLOURS)
# What people put before a plain subject; it asks for nothing in particular.
OPENINGS = (
    "a picture of",
    "an image of",
    "a photo of",
    "a drawing of",
    "an emoji of",
    "here is",
    "please draw",
    "one more time,",
)


def noun(index: int, rng: np.random.Generator) -> str:
    thing, u = OBJECTS[index], rng.random()
    if u < 0.12 and thing.synonyms:
        return article(str(rng.choice(thing.synonyms)))
    if u < 0.17 and thing.categories:
        return article(str(rng.choice(thing.categories)))
    return article(thing.word)


def subject(label: np.void, rng: np.random.Generator) -> str:
    a = noun(int(label["a"]), rng)
    if label["b"] < 0:
        return a
    b = noun(int(label["b"]), rng)
    # Named first, drawn first: were "and" to say nothing of left and right, the first guess at both
    # places would be a blend of the two.
    forms = (
        f"{a} to the left of {b}",
        f"{b} to the right of {a}",
        f"{a} and {b}",
        f"{a} next to {b}",
    )
    return forms[rng.integers(len(forms))]


def caption(label: np.void, rng: np.random.Generator) -> str:
    """A caption of one picture; empty in a tenth of the draws (classifier-free guidance needs the
    empty prompt).
    """
    u = rng.random()
    if u < 0.10:
        return ""
    style = STYLES[label["style"]]
    if u < 0.12:
        return f"{article(style)} picture"
    text = subject(label, rng)
    # An unnamed style means one of the first two, so every other style is always named.
    if label["style"] > 1 or rng.random() < 0.4:
        forms = (f"{article(style)} of {text}", f"{text} in {style} style", f"{text}, {style}")
        text = forms[rng.integers(len(forms))]
    elif rng.random() < 0.3:
        text = f"{OPENINGS[rng.integers(len(OPENINGS))]} {text}"
    # Styles with a background of their own keep it whatever colour is asked for; never asked, they
    # would turn into another style.
    if style in COLOURFUL and rng.random() < 0.6:
        text += f" on {article(COLOUR_NAMES[label['colour']])} background"
    elif style not in COLOURFUL and rng.random() < 0.2:
        text += f" on {article(str(rng.choice(COLOUR_NAMES)))} background"
    return text
