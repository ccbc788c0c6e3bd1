"""Images of a run at the model's own size, as files beside its report."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .image_grid import to_image

FOLDER = "images"

LOSSLESS = 64  # pixels: smaller images lose nothing

QUALITIES = (85, 75, 60, 45, 30)  # of WebP: the best that fits

ROOM = 64 * 2**20  # bytes for all images of a folder

FRAMES_PER_SECOND = 8  # of a clip

PROBES = 12  # images by which the size of all is estimated


def image_file(i: int, name: str) -> str:
    """Where an image is, relative to the folder of the run: "images/003-before.webp".

    Args:
        i: The place of its prompt.
        name: "before", "after", or the name of a method.
    """
    return f"{FOLDER}/{i:03}-{name}.webp"


def sample_frames(sample: Tensor, most: int | None = None) -> list[Image.Image]:
    """The frames of a sample: one of an image, all of a clip.

    Args:
        sample: [3, H, W] or [frames, 3, H, W] in [0, 1].
        most: Frames of a longer clip that are left, evenly spaced; None: all.

    Returns:
        At their own size.
    """
    clip = sample if sample.ndim == 4 else sample[None]
    if most is not None and len(clip) > most:
        clip = clip[torch.linspace(0, len(clip) - 1, most).round().long()]
    return [to_image(frame, frame.shape[-1]) for frame in clip]


def write_images(folder: Path, sets: Mapping[str, Tensor], places: Sequence[int]) -> None:
    """Write images at their own size, at the best quality at which the folder stays small.

    Clips become animations.

    Args:
        folder: The folder of the run; they go to its subfolder "images".
        sets: By name, images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1].
        places: Which of the N are written.
    """
    if not places:
        return
    (folder / FOLDER).mkdir()
    quality = choose_quality(list(sets.values()), places)
    for name, images in sets.items():
        for i in places:
            data = encode_webp(sample_frames(images[i]), quality)
            (folder / image_file(i, name)).write_bytes(data)


def choose_quality(sets: Sequence[Tensor], places: Sequence[int], room: int = ROOM) -> int:
    """The best quality at which all images probably fit.

    Args:
        sets: [N, 3, H, W] or [N, F, 3, H, W] in [0, 1] each.
        places: Which of the N are written.
        room: Bytes for all of them.

    Returns:
        One of `QUALITIES`, the last if none fits.
    """
    probes = []
    for k in range(min(PROBES, len(places))):
        images = sets[k % len(sets)]
        image = images[places[k * len(places) // min(PROBES, len(places))]]
        probes.append(sample_frames(image))
    total = len(sets) * len(places)
    for quality in QUALITIES:
        mean = sum(len(encode_webp(probe, quality)) for probe in probes) / len(probes)
        if mean * total <= room:
            return quality
    return QUALITIES[-1]


def encode_webp(
    frames: Sequence[Image.Image], quality: int, lossless: bool | None = None, seconds: float = 0
) -> bytes:
    """An image as a WebP file, or a clip as an animated one.

    Args:
        frames: One of an image, several of a clip.
        quality: Of WebP, 0 to 100.
        lossless: Without loss; None: if they are small.
        seconds: Length of a clip; 0: by FRAMES_PER_SECOND.

    Returns:
        The bytes of the file.
    """
    if lossless is None:
        lossless = max(frames[0].size) <= LOSSLESS
    file = io.BytesIO()
    options: dict[str, Any] = {"lossless": lossless, "quality": quality}
    if len(frames) > 1:
        length = seconds or len(frames) / FRAMES_PER_SECOND
        duration = round(1000 * length / len(frames))
        options |= {"save_all": True, "append_images": frames[1:], "duration": duration, "loop": 0}
    frames[0].save(file, "webp", **options)
    return file.getvalue()
