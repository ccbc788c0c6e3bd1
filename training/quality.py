"""How well the model draws, by the judge: prompts of all kinds, one picture each, 25 DDIM steps."""

import numpy as np
import torch

from unconcept.concept import article
from unconcept.metrics import proportion
from unconcept.models.base import Model
from unconcept.models.emoji.drawings import LABELS
from unconcept.models.emoji.judge import Judge
from unconcept.models.emoji.world import COLOURFUL, COLOURS, HELD_OUT, OBJECTS, STYLES, WORDS

from .captions import COLOUR_NAMES
from .pictures import draw_label


def prompt(label: np.void) -> str:
    """Everything that the label says, in words."""
    style = STYLES[label["style"]]
    a = article(OBJECTS[label["a"]].word)
    text = f"{article(style)} of {a}" if label["b"] < 0 else f"{article(style)} of {a} and {article(OBJECTS[label['b']].word)}"
    return f"{text} on {article(COLOUR_NAMES[label['colour']])} background" if style in COLOURFUL else text


@torch.no_grad()
def measure(model: Model, judge: Judge, n: int, steps: int = 25, guidance: float = 5.0, seed: int = 0) -> dict[str, dict]:
    """{what: {value, n, ci95}} over n prompts of random labels and, behind them, n/4 of held-out (object, style) pairs."""
    rng = np.random.default_rng([11, seed])
    labels = [draw_label(rng) for _ in range(n)]
    for i in range(n // 4):
        word, style = HELD_OUT[i % len(HELD_OUT)]
        row = (WORDS.index(word), -1, STYLES.index(style), int(rng.integers(len(COLOURS))))
        labels.append(np.array(row, LABELS)[()])
    prompts = [prompt(label) for label in labels]
    pictures = []
    for i in range(0, len(prompts), 32):
        part = prompts[i : i + 32]
        pictures.append(model.decode(model.sample(part, range(seed + i, seed + i + len(part)), steps=steps, guidance=guidance)).cpu())
    seen, known = judge.look(torch.cat(pictures)), np.array(labels, LABELS)
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
