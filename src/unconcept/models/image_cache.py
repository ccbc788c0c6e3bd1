"""The cache of sampled images: one PNG file for each.

An image is identified by the hash of everything that determines it: the model's weights, the edit,
prompt, seed, sampler, steps and guidance. Images are rounded to 8 bits whether they are sampled or
read, so that a second run gives identical ones.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..io.weights import user_cache

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where images are cached."""
    return user_cache() / "pictures"


def file_name(*parts: str | float | None) -> str:
    """Name of an image's file in the cache.

    Args:
        *parts: Everything that determines the image.

    Returns:
        A hash, of which the first two letters are a folder: 256 folders hold a few files each.
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return f"{digest[:2]}/{digest[2:]}.png"


def read_image(file: Path) -> Tensor:
    """Read an image [3, H, W] in [0, 1]."""
    pixels = np.array(Image.open(file).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def write_image(file: Path, image: Tensor) -> None:
    """Write an image completely or not at all.

    A cache that cannot be written makes runs slower and nothing else: the problem is logged.

    Args:
        file: Its place in the cache.
        image: [3, H, W] in [0, 1].
    """
    part = file.with_name(f".{file.name}.{os.getpid()}")
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(part, "png")
        part.replace(file)
    except OSError as error:
        log.warning("images are not cached for the next run: %s", error)
