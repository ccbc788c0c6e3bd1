"""The judge: a small network that says what a picture shows. Trained on pictures of the atlas, never on the model's samples.

    scores [N, K+1, 8, 8] = 1x1 convolution of the features;     logits = log mean exp of the scores over an area

The area is the whole picture for one object, and its left or right half for two. Class K is "none of these". It looks twice, at the
picture and at its mirror image, and takes the mean of the logits.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ...models.devices import default_device
from ...models.emoji.vocabulary import COLOURS, OBJECTS, STYLES


@cache
def quality() -> dict:
    """What was measured of the model and of its judge: {"judge": {what: [share right, n]}, "model": {...}}."""
    return json.loads((Path(__file__).parent / "quality.json").read_text())


NONE = len(OBJECTS)

SURE = (
    0.6  # probability from which an object counts as seen: chosen on unknown objects that are not in the examination (pretraining/judge.py)
)

WEIGHTS = Path(__file__).parent / "judge.safetensors"


def block(i: int, o: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, 3, stride, 1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(),
        nn.Conv2d(o, o, 3, 1, 1, bias=False),
        nn.BatchNorm2d(o),
    )


class Residual(nn.Module):
    def __init__(self, i: int, o: int, stride: int = 1):
        super().__init__()
        self.body = block(i, o, stride)
        self.skip = nn.Identity() if (i, stride) == (o, 1) else nn.Conv2d(i, o, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


@dataclass(frozen=True)
class Verdict:
    """What the judge sees in N pictures. Indices into OBJECTS (NONE: none of these), STYLES, COLOURS; probabilities in [0, 1]."""

    whole: Tensor  # [N] the object of a picture that holds one: NONE where no object has the probability SURE
    left: Tensor  # [N] and of its halves, for pictures that hold two
    right: Tensor
    style: Tensor
    colour: Tensor
    guess: dict[
        str, Tensor
    ]  # whole, left, right [N]: the likeliest class, however unlikely. What was to be erased counts as there by this one
    objects: Tensor  # [N, K + 1] probabilities over the whole picture


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 4, 2, 1),
            Residual(32, 32),
            Residual(32, 64, 2),
            Residual(64, 64),
            Residual(64, 128, 2),
            Residual(128, 128),
        )
        self.objects = nn.Conv2d(128, len(OBJECTS) + 1, 1)
        self.manner = nn.Linear(2 * 128, len(STYLES) + len(COLOURS))

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Logits of pictures [N, 3, 64, 64] in [0, 1]."""
        h = self.features(pictures * 2 - 1)
        scores = self.objects(h)
        area = lambda s: s.flatten(2).logsumexp(2) - torch.tensor(s.shape[2] * s.shape[3]).log()
        manner = self.manner(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1))
        return {
            "whole": area(scores),
            "left": area(scores[..., : scores.shape[-1] // 2]),
            "right": area(scores[..., scores.shape[-1] // 2 :]),
            "style": manner[:, : len(STYLES)],
            "colour": manner[:, len(STYLES) :],
        }

    @torch.no_grad()
    def look(self, pictures: Tensor, batch: int = 128, sure: float = SURE) -> Verdict:
        """The verdict on pictures [N, 3, 64, 64] in [0, 1]; sure: the probability from which an object counts as seen."""
        logits = {name: torch.cat(parts) for name, parts in self.both_ways(pictures.split(batch)).items()}
        likely = {area: logits[area].softmax(1).max(1) for area in ("whole", "left", "right")}
        return Verdict(
            **{area: torch.where(top.values >= sure, top.indices, NONE) for area, top in likely.items()},
            style=logits["style"].argmax(1), colour=logits["colour"].argmax(1),
            guess={area: top.indices for area, top in likely.items()}, objects=logits["whole"].softmax(1),
        )  # fmt: skip

    def both_ways(self, parts: Iterable[Tensor]) -> dict[str, list[Tensor]]:
        """The mean logits of every part and its mirror image, whose left is the picture's right."""
        means: dict[str, list[Tensor]] = defaultdict(list)
        for part in parts:
            part = part.to(self.manner.weight.device)
            seen, mirrored = self(part), self(part.flip(3))
            mirrored["left"], mirrored["right"] = mirrored["right"], mirrored["left"]
            for name, value in seen.items():
                means[name].append(((value + mirrored[name]) / 2).cpu())
        return means


@cache
def load_judge() -> Judge:
    """The judge of the package, read once."""
    from safetensors.torch import load_file

    judge = Judge()
    judge.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in load_file(WEIGHTS).items()})
    return judge.eval().requires_grad_(False).to(default_device())
