"""The one reader of users' image files: what a viewer shows is what is read."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import InputError

WHITE = (255, 255, 255, 255)

IMAGE_FILES = (".png", ".jpg", ".jpeg", ".webp")

ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


def read_rgb(path: Path) -> Image.Image:
    """Read an image file as 8-bit RGB.

    Grey values of 16 bits and of floats in [0, 1] are scaled, transparency is laid on white, and
    the image is turned as its EXIF data say. The first of several frames is read.

    Args:
        path: The file.

    Returns:
        The image, in the mode RGB.

    Raises:
        InputError: It cannot be read, is too large to be one, or its numbers have no known range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                file.load()
                return to_rgb(ImageOps.exif_transpose(file))
    except InputError as error:
        raise InputError(f"{path} cannot be read as an image: {error}") from None
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} cannot be read as an image: it has too many pixels, make it smaller"
        ) from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads to
        raise InputError(f"{path} cannot be read as an image: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to 8-bit RGB.

    Args:
        image: In any mode.

    Returns:
        In the mode RGB; transparency is laid on white.

    Raises:
        InputError: Its numbers have no known range.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return scale_to_8_bits(image).convert("RGB")
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, WHITE)
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def scale_to_8_bits(image: Image.Image) -> Image.Image:
    """Scale grey values of more than 8 bits, which Pillow would clip.

    Args:
        image: In a mode of whole numbers (16 bits: 0 to 65535) or of floats (0 to 1).

    Returns:
        In the mode L.

    Raises:
        InputError: A value is out of that range, or is not a number.
    """
    values = np.asarray(image).astype(np.float64)
    largest = 1.0 if image.mode == "F" else 65535.0
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > largest:
        raise InputError(
            f"its values are not between 0 and {largest:g}: save it with 8 or 16 bits per channel"
        )
    shown = np.round(values / largest * 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        shown[values == transparent] = 255
    return Image.fromarray(shown)


def images_in(folder: Path, most: int) -> list[Path]:
    """Image files of a folder and its subfolders, hidden ones left out.

    Args:
        folder: The folder.
        most: How many are listed at most, in the order of their paths.

    Raises:
        InputError: The folder cannot be listed.
    """
    try:
        return sorted(_image_files(folder))[:most]
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error


def _image_files(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.suffix.lower() in IMAGE_FILES and not hidden and file.is_file():
            yield file
