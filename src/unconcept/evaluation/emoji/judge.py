"""The judge of the embedded models: a small network that recognizes what an image shows.

It was trained on images of the atlas, never on samples of a model.

    scores [N, K+1, 8, 8] = 1x1 convolution of the features
    logits [N, K+1]       = log mean exp of the scores over an area

The area is the whole image for one object, and its left or right half for two. Class K is "none of
these". The logits are the mean over the image and its mirror image.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ...models.devices import default_device
from ...models.emoji.vocabulary import COLOURS, OBJECTS, STYLES

WEIGHTS = Path(__file__).parent / "judge.safetensors"

NONE = len(OBJECTS)  # the class "none of these"

# Probability from which an object counts as seen: chosen on unknown objects that are not part of
# the benchmark (pretraining/judge.py).
SURE = 0.6

AREAS = ("whole", "left", "right")


@cache
def quality() -> dict:
    """Measured accuracy of the model and of its judge.

    Returns:
        {"judge": {what: [share right, n]}, "model": {...}, "confusions": {word: [words]}}.
    """
    return json.loads((Path(__file__).parent / "quality.json").read_text())


def block(i: int, o: int, stride: int) -> nn.Sequential:
    """Two 3x3 convolutions with batch norm.

    Args:
        i: Input channels.
        o: Output channels.
        stride: Of the first convolution.

    Returns:
        The block, without a last activation.
    """
    return nn.Sequential(
        nn.Conv2d(i, o, 3, stride, 1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(),
        nn.Conv2d(o, o, 3, 1, 1, bias=False),
        nn.BatchNorm2d(o),
    )


class Residual(nn.Module):
    """A `block` with a skip connection."""

    def __init__(self, i: int, o: int, stride: int = 1):
        super().__init__()
        self.body = block(i, o, stride)
        self.skip = nn.Identity() if (i, stride) == (o, 1) else nn.Conv2d(i, o, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU of the block's output plus the skip connection.

        Args:
            x: Features [N, i, H, W].

        Returns:
            [N, o, H / stride, W / stride], 0 or more.
        """
        return torch.relu(self.body(x) + self.skip(x))


@dataclass(frozen=True)
class Verdict:
    """What the judge sees in N images: indices into OBJECTS (NONE: none of these), STYLES, COLOURS.

    whole    [N] the object of an image that holds one; NONE where none has the probability SURE
    left     [N] the object of the left half, for images that hold two
    right    [N] the object of the right half
    style    [N]
    colour   [N] the background colour
    guess    by area [N]: the likeliest class, however unlikely; what was erased counts as present
             by this one
    objects  [N, K + 1] probabilities over the whole image
    styles   [N, styles] probabilities
    """

    whole: Tensor
    left: Tensor
    right: Tensor
    style: Tensor
    colour: Tensor
    guess: dict[str, Tensor]
    objects: Tensor
    styles: Tensor


class Judge(nn.Module):
    """The network; see the module's docstring."""

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

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of images.

        Args:
            images: [N, 3, 64, 64] in [0, 1].

        Returns:
            "whole", "left", "right" [N, K + 1], "style" [N, styles], "colour" [N, colours].
        """
        h = self.features(images * 2 - 1)
        scores = self.objects(h)
        half = scores.shape[-1] // 2
        manner = self.manner(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1))
        return {
            "whole": _log_mean_exp(scores),
            "left": _log_mean_exp(scores[..., :half]),
            "right": _log_mean_exp(scores[..., half:]),
            "style": manner[:, : len(STYLES)],
            "colour": manner[:, len(STYLES) :],
        }

    @torch.no_grad()
    def look(self, images: Tensor, batch: int = 128, sure: float = SURE) -> Verdict:
        """Recognize what images show.

        Args:
            images: [N, 3, 64, 64] in [0, 1].
            batch: Images per forward pass.
            sure: Probability from which an object counts as seen.

        Returns:
            The verdict, on the CPU.
        """
        logits = self.mirrored_logits(images, batch)
        seen, guess = {}, {}
        for area in AREAS:
            likeliest = logits[area].softmax(1).max(1)
            guess[area] = likeliest.indices
            seen[area] = torch.where(likeliest.values >= sure, likeliest.indices, NONE)
        return Verdict(
            **seen,
            style=logits["style"].argmax(1),
            colour=logits["colour"].argmax(1),
            guess=guess,
            objects=logits["whole"].softmax(1),
            styles=logits["style"].softmax(1),
        )

    def mirrored_logits(self, images: Tensor, batch: int) -> dict[str, Tensor]:
        """Mean logits of every image and its mirror image, whose left is the image's right.

        Args:
            images: [N, 3, 64, 64] in [0, 1].
            batch: Images per forward pass.

        Returns:
            As `forward`, on the CPU.
        """
        batches: dict[str, list[Tensor]] = defaultdict(list)
        for x in images.split(batch):
            x = x.to(self.manner.weight.device)
            plain, mirrored = self(x), self(x.flip(3))
            mirrored["left"], mirrored["right"] = mirrored["right"], mirrored["left"]
            for name, value in plain.items():
                batches[name].append(((value + mirrored[name]) / 2).cpu())
        return {name: torch.cat(parts) for name, parts in batches.items()}


def _log_mean_exp(scores: Tensor) -> Tensor:
    """Of scores [N, K + 1, h, w] over the area: [N, K + 1]."""
    return scores.flatten(2).logsumexp(2) - torch.tensor(scores.shape[2] * scores.shape[3]).log()


@cache
def load_judge() -> Judge:
    """The judge of the package, loaded once."""
    from safetensors.torch import load_file

    weights = {}
    for name, tensor in load_file(WEIGHTS).items():
        weights[name] = tensor.float() if tensor.is_floating_point() else tensor
    judge = Judge()
    judge.load_state_dict(weights)
    return judge.eval().requires_grad_(False).to(default_device())
