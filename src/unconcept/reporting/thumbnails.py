"""Small copies of images and clips that stand inside a web page, as data URIs."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from .image_files import FRAMES_PER_SECOND, encode_webp, sample_frames

# Pixels: images up to the first size are lossless, beyond the second they are made smaller.
SMALL, THUMBNAIL = 64, 160

CLIP_FRAMES = 16  # of a longer clip are on the page, evenly spaced

QUALITIES = (80, 65, 50, 35, 20, 5)  # of WebP: the best that fits

ROOM = 2_700_000  # characters for all images: the page stays below 3 MB


@dataclass(frozen=True)
class Thumbnail:
    """A small copy of an image or a clip.

    frames   one of an image, several of a clip
    seconds  length of the clip
    """

    frames: list[Image.Image]
    seconds: float = 0.0


def embed(sample: Tensor) -> str:
    """A data URI of an image or a clip: small ones are as they are, others thumbnails.

    Args:
        sample: An image [3, H, W] or a clip [F, 3, H, W] in [0, 1]. It need not be square; others
            than small ones lose detail, and a long clip frames.
    """
    return encode(thumbnail(sample))


def thumbnail(sample: Tensor) -> Thumbnail:
    """A small copy of an image or a clip.

    Args:
        sample: An image [3, H, W] or a clip [F, 3, H, W] in [0, 1]; its shape stays.

    Returns:
        At most THUMBNAIL pixels wide and high, and of CLIP_FRAMES frames; smaller ones keep their
        size.
    """
    frames = sample_frames(sample, CLIP_FRAMES)
    for frame in frames:
        frame.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return Thumbnail(frames, len(sample) / FRAMES_PER_SECOND if sample.ndim == 4 else 0.0)


def encode(small: Thumbnail, quality: int = QUALITIES[0]) -> str:
    """A data URI of an image, or of an animation.

    Args:
        small: Small ones are lossless at the best quality.
        quality: Of WebP, 0 to 100.

    Returns:
        "data:image/webp;base64,..."
    """
    lossless = max(small.frames[0].size) <= SMALL and quality == QUALITIES[0]
    data = encode_webp(small.frames, quality, lossless, small.seconds)
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def encode_to_fit(thumbnails: Sequence[Thumbnail], room: int = ROOM) -> list[str]:
    """Data URIs that fit together.

    Args:
        thumbnails: The images or clips.
        room: Characters for all of them.

    Returns:
        A URI for each, at the best quality that fits; at the worst if none does.
    """
    uris: list[str] = []
    for quality in QUALITIES:
        uris = [encode(small, quality) for small in thumbnails]
        if sum(map(len, uris)) <= room:
            break
    return uris


def embed_file(path: Path) -> str:
    """A data URI of a PNG file.

    Args:
        path: Of the PNG file, which is read whole.
    """
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
