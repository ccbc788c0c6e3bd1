"""Files of clips: animated WebP, which browsers play, and mp4, which video programs read."""

import importlib.util
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from ..errors import InputError
from .image_files import FRAMES_PER_SECOND, encode_webp, sample_frames
from .image_grid import to_image

ClipFormat = Literal["webp", "mp4"]


def check_clip_format(name: str) -> None:
    """Check that clips can be written in a format.

    Args:
        name: "webp" or "mp4".

    Raises:
        InputError: It is another one, or PyAV is not installed, which writes mp4.
    """
    if name not in get_args(ClipFormat):
        raise InputError(f"clip_format is {name!r}: it must be webp or mp4")
    if name == "mp4" and importlib.util.find_spec("av") is None:
        raise InputError('mp4 files need PyAV: pip install "unconcept[video]"; webp needs nothing')


def save_clip(clip: Tensor, file: Path) -> None:
    """Write a clip.

    Args:
        clip: [frames, 3, H, W] in [0, 1]; for mp4, H and W are even.
        file: Ends with .webp or .mp4.
    """
    if file.suffix == ".mp4":
        save_mp4(clip, file)
    else:
        save_webp(clip, file)


def save_webp(clip: Tensor, file: Path) -> None:
    """Write an animated WebP, without loss.

    Args:
        clip: [frames, 3, H, W] in [0, 1].
        file: Ends with .webp.
    """
    file.write_bytes(encode_webp(sample_frames(clip), quality=100, lossless=True))


def save_mp4(clip: Tensor, file: Path) -> None:
    """Write H.264 in an mp4 file: every player reads it, colours are halved in resolution.

    Args:
        clip: [frames, 3, H, W] in [0, 1], H and W even.
        file: Ends with .mp4.
    """
    import av

    height, width = clip.shape[-2:]
    with av.open(str(file), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "14"}
        for frame in clip:
            image = av.VideoFrame.from_image(to_image(frame, width))
            container.mux(stream.encode(image))
        container.mux(stream.encode())
