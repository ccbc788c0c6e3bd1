"""The judge of motions: a small network that recognizes how the drawing of a clip moves.

It was trained on real clips (`moving`), never on samples of a model. Frames of "left" and "right"
are the same, so it sees all frames at once, as the channels of one image. Its last class is "none
of these": motions that no prompt asks for, frames in random order, and clips that change their
object halfway.
"""

import json
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...io.weights import user_cache
from ...models.devices import default_device
from ...models.emoji.motions import FRAMES, MOTIONS

WEIGHTS = Path(__file__).parent / "motion_judge.safetensors"

NAMES = tuple(MOTIONS)

NONE = len(NAMES)  # the class "none of these"


def convolution(i: int, o: int, stride: int) -> nn.Sequential:
    """A 3x3 convolution with batch norm and ReLU.

    Args:
        i: Input channels.
        o: Output channels.
        stride: Of the convolution.
    """
    return nn.Sequential(
        nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)
    )


class MotionJudge(nn.Module):
    """The network; see the module's docstring."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            convolution(3 * FRAMES, 48, 1),
            convolution(48, 64, 2),
            convolution(64, 96, 2),
            convolution(96, 96, 2),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * 96, len(NAMES) + 1)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits of clips.

        Args:
            clips: [N, FRAMES, 3, 64, 64] in [0, 1].

        Returns:
            [N, motions + 1]; the last is "none of these".
        """
        x = nn.functional.avg_pool2d(clips.flatten(0, 1), 2).unflatten(0, clips.shape[:2])
        x = x - x.mean((1, 3, 4), keepdim=True)
        return self.head(self.body(x.flatten(1, 2)))

    @torch.no_grad()
    def probabilities(self, clips: Tensor, batch: int = 64) -> Tensor:
        """How likely each motion is.

        Args:
            clips: [N, FRAMES, 3, 64, 64] in [0, 1].
            batch: Clips per forward pass.

        Returns:
            [N, motions + 1], on the CPU; the last is "none of these".
        """
        device = self.head.weight.device
        return torch.cat([self(part.to(device)).softmax(1).cpu() for part in clips.split(batch)])

    def look(self, clips: Tensor, batch: int = 64) -> Tensor:
        """Recognize the motions of clips.

        Args:
            clips: [N, FRAMES, 3, 64, 64] in [0, 1].
            batch: Clips per forward pass.

        Returns:
            Indices into NAMES, or NONE [N], on the CPU.
        """
        return self.probabilities(clips, batch).argmax(1)


def weights_file() -> Path:
    """Where the judge is: in the package, else in the user's cache, if it is anywhere."""
    return WEIGHTS if WEIGHTS.exists() else user_cache() / WEIGHTS.name


@cache
def motion_quality() -> dict:
    """Held-out accuracy of the judge.

    Returns:
        {what: [share right, n]}; empty where it was not measured.
    """
    file = weights_file().with_suffix(".json")
    return json.loads(file.read_text()) if file.exists() else {}


@cache
def load_motion_judge() -> MotionJudge:
    """The judge, loaded once.

    Raises:
        InputError: It was not trained yet: it is not part of the package.
    """
    from safetensors.torch import load_file

    if not weights_file().exists():
        raise InputError(
            "the judge of motions is not in this copy: make it with "
            "`python -m pretraining motion-judge`, some minutes on one core"
        )
    weights = {}
    for name, tensor in load_file(weights_file()).items():
        weights[name] = tensor.float() if tensor.is_floating_point() else tensor
    judge = MotionJudge()
    judge.load_state_dict(weights)
    return judge.eval().requires_grad_(False).to(default_device())
