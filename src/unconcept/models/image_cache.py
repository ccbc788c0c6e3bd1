"""The cache of sampled images: one PNG file for each, and for each clip.

An image is identified by the hash of everything that determines it: the model's weights, the edit,
prompt, seed, sampler, steps and guidance. Images are rounded to 8 bits whether they are sampled or
read, so that a second run gives identical ones.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..io.warnings import warn_once
from ..io.weights import user_cache
from ..io.whole_file import whole_file


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


def read_image(file: Path, frames: int = 0) -> Tensor | None:
    """Read an image or a clip.

    Args:
        file: Its place in the cache.
        frames: Of a clip; 0: an image.

    Returns:
        [3, H, W] or [frames, 3, H, W] in [0, 1]; None where there is none, or a damaged one: it is
        sampled again.
    """
    try:
        pixels = np.array(Image.open(file).convert("RGB"))
    except FileNotFoundError:
        return None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        warn_once("the image cache holds damaged files: their images are sampled again")
        return None
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    if not frames:
        return image
    if image.shape[2] % frames:  # of another length
        return None
    return image.unflatten(2, (frames, -1)).permute(2, 0, 1, 3)


def write_image(file: Path, image: Tensor) -> None:
    """Write an image completely or not at all.

    A cache that cannot be written makes runs slower and nothing else: the problem is logged.

    Args:
        file: Its place in the cache.
        image: [3, H, W], or a clip [frames, 3, H, W], whose frames are put side by side; in [0, 1].
    """
    if image.ndim == 4:
        image = image.permute(1, 2, 0, 3).flatten(2)
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file, durable=False) as part:
            Image.fromarray(pixels).save(part, "png")
    except OSError as error:
        warn_once(f"images are not cached for the next run: {error.strerror or error}")
