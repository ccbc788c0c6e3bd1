"""The judge: a small network that says what a picture shows. Trained on pictures of the atlas, never on the model's samples.

    scores [N, K+1, 8, 8] = 1x1 convolution of the features;     logits = log mean exp of the scores over an area

The area is the whole picture for one object, and its left or right half for two. Class K is "none of these".
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from .world import COLOURS, OBJECTS, STYLES

NONE = len(OBJECTS)
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

    whole: Tensor  # [N] the object of a picture that holds one
    left: Tensor  # [N] and of its halves, for pictures that hold two
    right: Tensor
    style: Tensor
    colour: Tensor
    objects: Tensor  # [N, K + 1] probabilities over the whole picture

    def shows(self, index: int, scene: bool) -> Tensor:
        """Does it show object `index`? [N] bool. In a scene either half may hold it."""
        return (self.left == index) | (self.right == index) if scene else self.whole == index


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
    def look(self, pictures: Tensor, batch: int = 128) -> Verdict:
        """The verdict on pictures [N, 3, 64, 64] in [0, 1]."""
        outputs = [self(part) for part in pictures.split(batch)]
        logits = {name: torch.cat([o[name] for o in outputs]) for name in outputs[0]}
        return Verdict(**{name: value.argmax(1) for name, value in logits.items()}, objects=logits["whole"].softmax(1))


@cache
def load_judge() -> Judge:
    """The judge of the package, read once."""
    from safetensors.torch import load_file

    judge = Judge()
    judge.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in load_file(WEIGHTS).items()})
    return judge.eval().requires_grad_(False)
