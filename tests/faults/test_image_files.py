"""One reader for the images of users: what a viewer shows is what is read."""

import numpy as np
import pytest
import torch
from PIL import Image

from unconcept.errors import InputError
from unconcept.evaluation.judges import load_judge
from unconcept.evaluation.setup import load_images
from unconcept.io.images import read_rgb
from unconcept.workflows.purification import read_image

RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))


def saved(pixels: np.ndarray, file, **options):
    Image.fromarray(pixels).save(file, **options)
    return file


@pytest.mark.parametrize("name", ["16.png", "16.tiff", "float.tiff", "32.tiff", "16.pgm"])
def test_grey_of_more_than_8_bits(tmp_path, name):
    pixels = RAMP.astype(np.uint16) * 257
    if name == "float.tiff":
        pixels = RAMP.astype(np.float32) / 255
    if name == "32.tiff":
        pixels = pixels.astype(np.int32)
    file = saved(pixels, tmp_path / name)
    assert np.array_equal(np.asarray(read_rgb(file))[..., 0], RAMP)
    plain = read_image(saved(RAMP, tmp_path / "8.png"), 64)
    assert torch.equal(read_image(file, 64), plain)


@pytest.mark.parametrize("value", [-1.0, 255.0, np.nan, np.inf])
def test_floats_without_a_known_range_are_refused(tmp_path, value):
    pixels = RAMP.astype(np.float32) / 255
    pixels[0, 0] = value
    with pytest.raises(InputError, match="between 0 and 1"):
        read_rgb(saved(pixels, tmp_path / "x.tiff"))


def test_transparency_is_laid_on_white(tmp_path):
    logo = np.zeros((64, 64, 4), np.uint8)
    logo[16:48, 16:48, 3] = 255
    logo[0, 0] = 0, 0, 0, 128
    image = np.asarray(read_rgb(saved(logo, tmp_path / "logo.png")))
    assert image[20, 20].tolist() == [0, 0, 0]
    assert image[5, 5].tolist() == [255, 255, 255]
    assert image[0, 0, 0] in (127, 128)
    grey = Image.fromarray(logo[..., 3]).convert("LA")
    grey.putalpha(Image.fromarray(logo[..., 3]))
    grey.save(tmp_path / "la.png")
    assert np.asarray(read_rgb(tmp_path / "la.png"))[5, 5].tolist() == [255, 255, 255]
    palette = Image.fromarray(np.zeros((8, 8), np.uint8)).convert("P")
    palette.save(tmp_path / "p.png", transparency=0)
    assert np.asarray(read_rgb(tmp_path / "p.png")).min() == 255


def test_plain_images_are_read_to_the_bit(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = saved(pixels, tmp_path / "rgb.png")
    expected = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    assert torch.equal(read_image(file, 64), expected)
    assert torch.equal(load_images(tmp_path, 64)[0], expected)


def test_an_image_is_turned_as_its_data_say(tmp_path):
    image, exif = Image.fromarray(RAMP), Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.png"))[..., 0], RAMP[::-1, ::-1])


def test_hidden_files_are_left_out(tmp_path):
    saved(RAMP, tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / ".thumbs").mkdir()
    (tmp_path / ".thumbs" / "b.png").write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    assert len(load_images(tmp_path, 16)) == 1


def test_files_that_are_no_images(tmp_path, monkeypatch):
    saved(RAMP, tmp_path / "big.png")
    data = (tmp_path / "big.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "none.png").touch()
    for name in ("cut.png", "text.png", "none.png", "missing.png", "."):
        with pytest.raises(InputError, match="cannot be read as an image"):
            read_rgb(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="too many pixels"):
        read_rgb(tmp_path / "big.png")
    with pytest.raises(InputError, match="cannot be read"):
        load_images(tmp_path, 16)


@pytest.mark.parametrize(
    "config", ["", "{", "[]", "{}", '{"model_type": "clip"}', '{"model_type": "nothing"}']
)
def test_folders_that_are_no_judges(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match="CLIP"):
        load_judge(str(tmp_path))
    with pytest.raises(InputError, match="does not contain"):
        load_judge(str(tmp_path / "nowhere"))
