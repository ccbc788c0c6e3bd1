"""Images for people: one as a file, a grid of many, and the sheet of pairs from the same seeds."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .verdict import GROUP_TITLES

SMALLEST_CELL, LARGEST_CELL = 128, 512  # pixels; images in between are shown at their own size

COLUMNS, FEWEST_COLUMNS = 8, 4  # pairs in a band; fewer where the cells are large

WIDEST = 2200  # pixels of a sheet, about

SCALED_FROM = 256  # pixels of a cell, from which on text grows with it

STRIP = 8  # frames of a clip that a sheet shows; fewer beside clips of other methods
COLUMN_FRAMES = 3

CLIPS_IN_A_GROUP = 4

FOUR_LINES = 104  # pixels

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
    scale       of the text; 1 on a small sheet
    columns     pairs in a band
    """

    size: int
    band_title: int
    prompt: int
    left: int
    head_line: int
    scale: float = 1.0
    columns: int = COLUMNS

    @classmethod
    def of(cls, width: int) -> "Layout":
        """The layout for images of a width: larger cells have larger text.

        Args:
            width: Of the images, in pixels; cells have it, from SMALLEST_CELL to LARGEST_CELL.
        """
        size = min(max(width, SMALLEST_CELL), LARGEST_CELL)
        scale = max(1.0, size / SCALED_FROM)
        columns = min(COLUMNS, max(FEWEST_COLUMNS, WIDEST // (size + GAP)))
        pixels = [round(scale * length) for length in (34, 62, 64, 26)]
        band_title, prompt, left, head_line = pixels
        return cls(size, band_title, prompt, left, head_line, scale, columns)

    @classmethod
    def of_strips(cls, frames: int) -> "Layout":
        """The layout for clips: a cell is a row of frames, and the text is that of one frame.

        Args:
            frames: Of a clip.
        """
        size = min(frames, STRIP) * SMALLEST_CELL
        columns = min(COLUMNS, max(1, WIDEST // (size + GAP)))
        return replace(cls.of(SMALLEST_CELL), size=size, columns=columns)

    def font(self, size: int) -> Any:
        """A font of a size that a small sheet has.

        Args:
            size: In pixels, on a sheet whose text is not scaled.
        """
        return ImageFont.load_default(round(size * self.scale))


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


def strips(samples: Tensor, frames: int = STRIP) -> Tensor:
    """Clips as rows of frames side by side, evenly spaced over their length.

    Args:
        samples: Images [N, 3, H, W] or clips [N, F, 3, H, W].
        frames: Frames of a row, at most.

    Returns:
        [N, 3, H, frames W] of clips; images as they are.
    """
    if samples.ndim == 4:
        return samples
    n = samples.shape[1]
    places = torch.linspace(0, n - 1, min(frames, n)).round().long()
    return samples[:, places].permute(0, 2, 3, 1, 4).flatten(3)


def filmstrips(clips: Tensor) -> Image.Image:
    """A sheet with a row of frames for each clip.

    Args:
        clips: [N, F, 3, H, W] in [0, 1].
    """
    return grid(strips(clips), columns=1, size=min(STRIP, clips.shape[1]) * SMALLEST_CELL)


def before_after_grid(
    cases: Sequence, before: Tensor, after: Tensor, head: str = ""
) -> Image.Image:
    """The sheet of pairs: before above after, from the same seeds, in a band for each group.

    Cells are as large as the images, from 128 to 512 pixels; larger ones are fewer. A clip is a row
    of frames.

    Args:
        cases: N prompts with their groups; the prompt stands under each pair.
        before: Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1].
        after: Images or clips from the same seeds.
        head: Stands above everything: the verdict and the model.

    Returns:
        The sheet.
    """
    clips = before.ndim == 5
    layout = Layout.of_strips(before.shape[1]) if clips else Layout.of(before.shape[-1])
    before, after = strips(before), strips(after)
    bands = []
    for group, title in GROUP_TITLES.items():
        most = CLIPS_IN_A_GROUP if clips else layout.columns
        places = [i for i, case in enumerate(cases) if case.group == group][:most]
        if places:
            pairs = [(before[i], after[i], cases[i].prompt) for i in places]
            for start in range(0, len(pairs), layout.columns):
                row = pairs[start : start + layout.columns]
                bands.append(Band("" if start else title, row))
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


def row_height(cells: Tensor, size: int) -> int:
    """Height of a row of a sheet with prompts of four lines beside the cells.

    Args:
        cells: [N, 3, H, W].
        size: Width of a cell, in pixels.
    """
    return max(FOUR_LINES, size * cells.shape[-2] // cells.shape[-1])


def columns(
    cases: Sequence, images: Mapping[str, Tensor], rows: int = 4, size: int = 128
) -> Image.Image:
    """Sets of images from the same seeds side by side.

    Args:
        cases: N prompts with their groups.
        images: By the title of the column, images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1].
        rows: Prompts of each group.
        size: Width of an image, in pixels; a clip is a row of three frames.

    Returns:
        The sheet, a row for each prompt.
    """
    shown = []
    for group in GROUP_TITLES:
        shown += [i for i, case in enumerate(cases) if case.group == group][:rows]
    font, bold = ImageFont.load_default(13), ImageFont.load_default(15)
    top, left = 34, 190
    first = next(iter(images.values()))
    size *= 1 if first.ndim == 4 else min(COLUMN_FRAMES, first.shape[1])
    cell_width = size + GAP
    cell_height = row_height(strips(first, COLUMN_FRAMES), size) + GAP
    width, height = left + len(images) * cell_width, top + len(shown) * cell_height
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (name, samples) in enumerate(images.items()):
        x = left + column * cell_width
        draw.text((x, 8), name, fill="black", font=bold)
        cells = strips(samples, COLUMN_FRAMES)
        for row, i in enumerate(shown):
            sheet.paste(to_image(cells[i], size), (x, top + row * cell_height))
    for row, i in enumerate(shown):
        y = top + row * cell_height
        draw.text((GAP, y + 8), GROUP_TITLES[cases[i].group], fill="#888", font=font)
        prompt = "\n".join(textwrap.wrap(cases[i].prompt, 24)[:4])
        draw.multiline_text((GAP, y + 30), prompt, fill="black", font=font, spacing=2)
    return sheet
