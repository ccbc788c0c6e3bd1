"""Images at full size, and sheets whose cells are as large as the images."""

import pytest
import torch
from PIL import Image

from unconcept.evaluation.benchmark import PromptCase
from unconcept.reporting.image_files import choose_quality, image_file, write_images
from unconcept.reporting.image_grid import Layout, before_after_grid


def smooth(n: int, height: int, width: int) -> torch.Tensor:
    """Images [n, 3, height, width] without fine detail."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


def test_images_keep_their_size_and_small_ones_every_pixel(tmp_path):
    images = (smooth(3, 48, 64) * 255).round() / 255
    write_images(tmp_path, {"before": images, "after": images.flip(3)}, [0, 2])
    names = {file.name for file in (tmp_path / "images").iterdir()}
    assert names == {f"00{i}-{side}.webp" for i in (0, 2) for side in ("before", "after")}
    with Image.open(tmp_path / image_file(2, "before")) as image:
        assert image.size == (64, 48)
        pixels = torch.frombuffer(bytearray(image.convert("RGB").tobytes()), dtype=torch.uint8)
    expected = (images[2].permute(1, 2, 0) * 255).round().byte().flatten()
    assert torch.equal(pixels, expected)


def test_nothing_is_written_for_no_images(tmp_path):
    write_images(tmp_path, {"before": torch.zeros(0, 3, 1, 1)}, [])
    assert not list(tmp_path.iterdir())


def test_the_quality_falls_until_all_images_fit():
    images = torch.rand(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    qualities = [choose_quality([images], range(4), room) for room in (10**6, 30_000, 100)]
    assert qualities[0] == 85
    assert qualities == sorted(qualities, reverse=True)
    assert qualities[-1] == 30


@pytest.mark.parametrize(
    ("width", "cell", "columns"), [(64, 128, 8), (256, 256, 8), (1024, 512, 4)]
)
def test_cells_are_as_large_as_images(width, cell, columns):
    layout = Layout.of(width)
    assert (layout.size, layout.columns) == (cell, columns)
    images = smooth(9, width, width)
    cases = [PromptCase("a pig", "target", "pig")] * 9
    sheet = before_after_grid(cases, images, images, "Erased: pig -> cow, on emoji, by uce")
    assert sheet.width > columns * cell
    assert sheet.height > 2 * cell


def test_cells_of_wide_images_are_wide():
    images = smooth(2, 128, 256)
    square = before_after_grid([PromptCase("a", "target", "a")] * 2, smooth(2, 256, 256), images)
    wide = before_after_grid([PromptCase("a", "target", "a")] * 2, images, images)
    assert wide.height == square.height - 2 * 128
