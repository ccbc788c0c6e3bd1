"""How well the model draws, by the judge: prompts of all kinds, one picture each, 25 DDIM steps."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unconcept.concepts.templates import article
from unconcept.evaluation.emoji.judge import Judge
from unconcept.evaluation.emoji.rendering import LABELS
from unconcept.evaluation.metrics.proportions import proportion
from unconcept.models.emoji.vocabulary import COLOURFUL, COLOURS, HELD_OUT, OBJECTS, STYLES, WORDS
from unconcept.models.interface import Model, Sampling

from .captions import COLOUR_NAMES
from .dataset import draw_label
from .excluded import NOTHING, Excluded


def prompt(label: np.void) -> str:
    """Everything that the label says, in words."""
    style = STYLES[label["style"]]
    a = article(OBJECTS[label["a"]].word)
    text = (
        f"{article(style)} of {a}"
        if label["b"] < 0
        else f"{article(style)} of {a} and {article(OBJECTS[label['b']].word)}"
    )
    return (
        f"{text} on {article(COLOUR_NAMES[label['colour']])} background"
        if style in COLOURFUL
        else text
    )


@torch.no_grad()
def sample_images(model: Model, labels: list[np.void], seed: int) -> Tensor:
    """One image [3, 64, 64] for each label's full prompt: 25 steps, guidance 5, seeds counted up
    from `seed`.
    """
    prompts = [prompt(label) for label in labels]
    images = []
    for i in range(0, len(prompts), 32):
        part = prompts[i : i + 32]
        seeds = range(seed + i, seed + i + len(part))
        images.append(
            model.decode(model.sample(part, seeds, Sampling(steps=25, guidance=5.0))).cpu()
        )
    return torch.cat(images)


def measure(
    model: Model, judge: Judge, n: int, seed: int = 0, excluded: Excluded = NOTHING
) -> dict[str, dict]:
    """{what: {value, n, ci95}} over n prompts of random labels and, behind them, n/4 of held-out
    (object, style) pairs.

    No prompt names what is `excluded`.
    """
    rng = np.random.default_rng([11, seed])
    labels = [draw_label(rng, excluded) for _ in range(n)]
    pairs = [(WORDS.index(word), STYLES.index(style)) for word, style in HELD_OUT]
    pairs = [(a, style) for a, style in pairs if excluded.allows(a, -1, style)]
    for i in range(n // 4):
        a, style = pairs[i % len(pairs)]
        labels.append(np.array((a, -1, style, int(rng.integers(len(COLOURS)))), LABELS)[()])
    seen, known = judge.look(sample_images(model, labels, seed)), np.array(labels, LABELS)
    a, b, style, colour = (torch.from_numpy(known[k].astype(np.int64)) for k in LABELS.names)
    single, fresh = b < 0, torch.arange(len(labels)) >= n
    coloured = torch.tensor([STYLES[s] in COLOURFUL for s in style])
    both = ((seen.left == a) & (seen.right == b)) | ((seen.left == b) & (seen.right == a))
    right = {
        "object": (seen.whole == a)[single & ~fresh],
        "style": (seen.style == style)[~fresh],
        "background": (seen.colour == colour)[coloured & ~fresh],
        "both objects of a scene": both[~single & ~fresh],
        "held-out pairs": ((seen.whole == a) & (seen.style == style))[fresh],
    }
    return {name: proportion(marks.float()) or {} for name, marks in right.items()}


def measure_excluded(
    model: Model, judge: Judge, excluded: Excluded, n: int = 100, seed: int = 0
) -> dict[str, dict]:
    """How often a model shows what it was never taught: {concept: {value, n, ci95}} over `n`
    prompts that name the concept and no other excluded one. An object counts as shown where it is
    the judge's first guess, however unsure, as in the benchmark of erasures.
    """
    rng = np.random.default_rng([12, seed])
    shares = {}
    for concept in excluded.concepts():
        this = Excluded.parse([concept])
        others = replace(
            excluded, objects=excluded.objects - this.objects, styles=excluded.styles - this.styles
        )
        labels = []
        while len(labels) < n:
            label = draw_label(rng, others)
            if not this.allows(label["a"], label["b"], label["style"]):
                labels.append(label)
        seen = judge.look(sample_images(model, labels, seed))
        shown = []
        for i, label in enumerate(labels):
            areas = ("whole",) if label["b"] < 0 else ("left", "right")
            guesses = {int(seen.guess[area][i]) for area in areas}
            shown.append(bool(guesses & this.objects) or int(seen.style[i]) in this.styles)
        shares[concept] = proportion(torch.tensor(shown).float()) or {}
    return shares
