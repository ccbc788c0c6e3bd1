"""Clips on disk: as many frames as the clip has, in order, and the colours of each."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from unconcept.errors import InputError
from unconcept.reporting.clip_files import check_clip_format, save_clip


@pytest.fixture
def clip():
    """Five frames [5, 3, 16, 32], each of one brightness."""
    return torch.linspace(0.1, 0.9, 5)[:, None, None, None].expand(5, 3, 16, 32)


def brightness(image: Image.Image) -> float:
    return float(np.asarray(image.convert("L")).mean()) / 255


def test_webp_holds_every_frame(clip, tmp_path):
    save_clip(clip, tmp_path / "clip.webp")
    with Image.open(tmp_path / "clip.webp") as file:
        values = [brightness(frame) for frame in ImageSequence.Iterator(file)]
    assert values == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.01)


def test_mp4_holds_every_frame(clip, tmp_path):
    av = pytest.importorskip("av")
    save_clip(clip, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, int(stream.average_rate)) == (32, 16, 8)
        values = [brightness(frame.to_image()) for frame in container.decode(stream)]
    assert values == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.03)


def test_a_missing_library_is_named_before_work(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_clip_format("webp")
    with pytest.raises(InputError, match=r"unconcept\[video\]"):
        check_clip_format("mp4")
    with pytest.raises(InputError, match="must be webp or mp4"):
        check_clip_format("gif")
