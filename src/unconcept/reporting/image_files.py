"""Images of a run at the model's own size, as files beside its report."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from .image_grid import to_image

FOLDER = "images"

LOSSLESS = 64  # pixels: smaller images lose nothing

QUALITIES = (85, 75, 60, 45, 30)  # of WebP: the best that fits

ROOM = 64 * 2**20  # bytes for all images of a folder

PROBES = 12  # images by which the size of all is estimated


def image_file(i: int, name: str) -> str:
    """Where an image is, relative to the folder of the run: "images/003-before.webp".

    Args:
        i: The place of its prompt.
        name: "before", "after", or the name of a method.
    """
    return f"{FOLDER}/{i:03}-{name}.webp"


def write_images(folder: Path, sets: Mapping[str, Tensor], places: Sequence[int]) -> None:
    """Write images at their own size, at the best quality at which the folder stays small.

    Args:
        folder: The folder of the run; they go to its subfolder "images".
        sets: By name, [N, 3, H, W] in [0, 1].
        places: Which of the N are written.
    """
    if not places:
        return
    (folder / FOLDER).mkdir()
    quality = choose_quality(list(sets.values()), places)
    for name, images in sets.items():
        for i in places:
            data = encode_webp(to_image(images[i], images.shape[-1]), quality)
            (folder / image_file(i, name)).write_bytes(data)


def choose_quality(sets: Sequence[Tensor], places: Sequence[int], room: int = ROOM) -> int:
    """The best quality at which all images probably fit.

    Args:
        sets: [N, 3, H, W] in [0, 1] each.
        places: Which of the N are written.
        room: Bytes for all of them.

    Returns:
        One of `QUALITIES`, the last if none fits.
    """
    probes = []
    for k in range(min(PROBES, len(places))):
        images = sets[k % len(sets)]
        image = images[places[k * len(places) // min(PROBES, len(places))]]
        probes.append(to_image(image, images.shape[-1]))
    total = len(sets) * len(places)
    for quality in QUALITIES:
        mean = sum(len(encode_webp(probe, quality)) for probe in probes) / len(probes)
        if mean * total <= room:
            return quality
    return QUALITIES[-1]


def encode_webp(image: Image.Image, quality: int) -> bytes:
    """An image as a WebP file.

    Args:
        image: Small ones are stored without loss.
        quality: Of WebP, 0 to 100.
    """
    file = io.BytesIO()
    image.save(file, "webp", lossless=max(image.size) <= LOSSLESS, quality=quality)
    return file.getvalue()
