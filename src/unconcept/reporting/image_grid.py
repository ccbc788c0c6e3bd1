"""Images for people: one as a file, a grid of many, and the sheet of pairs from the same seeds."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .verdict import GROUP_TITLES

SMALLEST_CELL, LARGEST_CELL = 128, 512  # pixels; images in between are shown at their own size

COLUMNS, FEWEST_COLUMNS = 8, 4  # pairs in a band; fewer where the cells are large

WIDEST = 2200  # pixels of a sheet, about

SCALED_FROM = 256  # pixels of a cell, from which on text grows with it

SOFT = "#666"

GAP = 6  # pixels between cells


@dataclass(frozen=True)
class Layout:
    """Sizes of a sheet of pairs, in pixels.

    size        of a cell
    band_title  above a band of pairs
    prompt      below it: up to three lines
    left        for "before" and "after"
    head_line   of a line of the head
    """

    size: int
    band_title: int
    prompt: int
    left: int
    head_line: int

    @classmethod
    def of(cls, width: int) -> "Layout":
        """The layout for images of a width: larger cells have larger text.

        Args:
            width: Of the images, in pixels; cells have it, from SMALLEST_CELL to LARGEST_CELL.
        """
        size = min(max(width, SMALLEST_CELL), LARGEST_CELL)
        scale = max(1.0, size / SCALED_FROM)
        return cls(size, *(round(scale * pixels) for pixels in (34, 62, 64, 26)))

    @property
    def columns(self) -> int:
        """Pairs in a band."""
        return min(COLUMNS, max(FEWEST_COLUMNS, WIDEST // (self.size + GAP)))

    def font(self, size: int) -> Any:
        """A font of a size that a small sheet has.

        Args:
            size: In pixels, on a sheet whose text is not scaled.
        """
        return ImageFont.load_default(round(size * max(1.0, self.size / SCALED_FROM)))


@dataclass(frozen=True)
class Band:
    """A row of pairs: its title, and (before, after, what stands below) for each."""

    title: str
    pairs: list[tuple[Tensor, Tensor, str]]


def to_image(image: Tensor, size: int) -> Image.Image:
    """An image for a file.

    Args:
        image: [3, H, W] in [0, 1].
        size: Width in pixels; small images are enlarged without smoothing.

    Returns:
        The image.
    """
    array = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    result = Image.fromarray(array)
    smooth = result.width > size or size % result.width
    filter = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return result.resize((size, size * result.height // result.width), filter)


def filmstrips(clips: Tensor, frames: int = 8, size: int = 128) -> Image.Image:
    """A row of frames for each clip, evenly spaced over its length.

    Args:
        clips: [N, F, 3, H, W] in [0, 1].
        frames: Frames of a row, at most.
        size: Width of each, in pixels.

    Returns:
        The sheet.
    """
    n = clips.shape[1]
    shown = min(frames, n)
    places = torch.linspace(0, n - 1, shown).round().long()
    return grid(clips[:, places].flatten(0, 1), columns=shown, size=size)


def before_after_grid(
    cases: Sequence, before: Tensor, after: Tensor, head: str = ""
) -> Image.Image:
    """The sheet of pairs: before above after, from the same seeds, in a band for each group.

    Cells are as large as the images, from 128 to 512 pixels; larger ones are fewer.

    Args:
        cases: N prompts with their groups; the prompt stands under each pair.
        before: Images [N, 3, H, W] in [0, 1].
        after: Images from the same seeds.
        head: Stands above everything: the verdict and the model.

    Returns:
        The sheet.
    """
    layout = Layout.of(before.shape[-1])
    bands = []
    for group, title in GROUP_TITLES.items():
        places = [i for i, case in enumerate(cases) if case.group == group][: layout.columns]
        if places:
            pairs = [(before[i], after[i], cases[i].prompt) for i in places]
            bands.append(Band(title, pairs))
    return sheet_of_bands(layout, bands, head)


def sheet_of_bands(
    layout: Layout, bands: Sequence[Band], head: str = "", columns: int | None = None
) -> Image.Image:
    """Draw bands of pairs below each other.

    Args:
        layout: Its sizes.
        bands: The pairs.
        head: Stands above everything.
        columns: Pairs that a band has room for; None: the layout's.

    Returns:
        The sheet.
    """
    size = layout.size
    width = layout.left + (columns or layout.columns) * (size + GAP) + GAP
    head_font = layout.font(19)
    lines = textwrap.wrap(head, max(20, round(width / head_font.getlength("n"))))
    top = layout.head_line * len(lines) + GAP
    height = cell_height(layout, bands[0].pairs) if bands else size
    band_height = layout.band_title + 2 * height + GAP + layout.prompt
    sheet = Image.new("RGB", (width, top + len(bands) * band_height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, line in enumerate(lines):
        draw.text((GAP, GAP + i * layout.head_line), line, fill="black", font=head_font)
    for band in bands:
        draw.text((GAP, top + GAP), band.title, fill="black", font=layout.font(17))
        draw_pairs(sheet, top + layout.band_title, layout, band.pairs)
        top += band_height
    return sheet


def draw_pairs(
    sheet: Image.Image, top: int, layout: Layout, pairs: Sequence[tuple[Tensor, Tensor, str]]
) -> None:
    """Two rows of images with their names on the left, and in up to three lines what they show.

    Args:
        sheet: Where to draw.
        top: Pixels from the top.
        layout: Sizes.
        pairs: (before, after) [3, H, W] and a text for each column.
    """
    draw = ImageDraw.Draw(sheet)
    font = layout.font(13)
    height = cell_height(layout, pairs)
    for row, name in enumerate(("before", "after")):
        y = top + row * (height + GAP)
        draw.text((GAP, y + height // 2 - 8), name, fill=SOFT, font=font)
        for column, (before, after, _) in enumerate(pairs):
            x = layout.left + column * (layout.size + GAP)
            sheet.paste(to_image(after if row else before, layout.size), (x, y))
    letters = round(layout.size / font.getlength("n"))
    for column, pair in enumerate(pairs):
        text = "\n".join(textwrap.wrap(pair[2], letters)[:3])
        corner = (layout.left + column * (layout.size + GAP), top + 2 * (height + GAP) - GAP + 4)
        draw.multiline_text(corner, text, fill="#333", font=font, spacing=2)


def cell_height(layout: Layout, pairs: Sequence[tuple[Tensor, Tensor, str]]) -> int:
    """Height of a cell that is as wide as the layout says.

    Args:
        layout: Sizes.
        pairs: Images of one shape.
    """
    height, width = pairs[0][0].shape[-2:]
    return layout.size * height // width


def grid(images: Tensor, columns: int = 4, size: int = 256) -> Image.Image:
    """All images in rows.

    Args:
        images: [N, 3, H, W] in [0, 1].
        columns: Images in a row.
        size: Width of each, in pixels.

    Returns:
        The sheet.
    """
    columns = min(columns, len(images))
    tiles = [to_image(image, size) for image in images]
    rows = math.ceil(len(tiles) / columns)
    sheet = Image.new("RGB", (columns * tiles[0].width, rows * tiles[0].height), "white")
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % columns * tile.width, i // columns * tile.height))
    return sheet


def columns(
    cases: Sequence, images: Mapping[str, Tensor], rows: int = 4, size: int = 128
) -> Image.Image:
    """Sets of images from the same seeds side by side.

    Args:
        cases: N prompts with their groups.
        images: By the title of the column, [N, 3, H, W] in [0, 1].
        rows: Prompts of each group.
        size: Width of an image, in pixels.

    Returns:
        The sheet, a row for each prompt.
    """
    shown = []
    for group in GROUP_TITLES:
        shown += [i for i, case in enumerate(cases) if case.group == group][:rows]
    font, bold = ImageFont.load_default(13), ImageFont.load_default(15)
    top, left = 34, 190
    width, height = left + len(images) * (size + GAP), top + len(shown) * (size + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (name, samples) in enumerate(images.items()):
        x = left + column * (size + GAP)
        draw.text((x, 8), name, fill="black", font=bold)
        for row, i in enumerate(shown):
            sheet.paste(to_image(samples[i], size), (x, top + row * (size + GAP)))
    for row, i in enumerate(shown):
        y = top + row * (size + GAP)
        draw.text((GAP, y + 8), GROUP_TITLES[cases[i].group], fill="#888", font=font)
        prompt = "\n".join(textwrap.wrap(cases[i].prompt, 24)[:4])
        draw.multiline_text((GAP, y + 30), prompt, fill="black", font=font, spacing=2)
    return sheet
