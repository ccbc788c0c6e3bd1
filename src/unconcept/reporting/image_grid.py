"""Images for people: one as a file, a grid of many, and the sheet of pairs from the same seeds."""

import math
import textwrap
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .verdict import GROUP_TITLES

SMALL_CELL, LARGE_CELL = 128, 256  # pixels: of images up to the first, and of larger ones

GAP = 6  # pixels between cells

BAND_TITLE, PROMPT_LINES = 34, 62  # pixels above and below a band of pairs

LEFT = 64  # pixels for "before" and "after"

HEAD_LINE = 26  # pixels of a line of the head

SOFT = "#666"


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


def before_after_grid(
    cases: Sequence, before: Tensor, after: Tensor, head: str = "", columns: int = 8
) -> Image.Image:
    """The sheet of pairs: before above after, from the same seeds, in a band for each group.

    Args:
        cases: N prompts with their groups; the prompt stands under each pair.
        before: Images [N, 3, H, W] in [0, 1].
        after: Images from the same seeds.
        head: Stands above everything, in one or two lines.
        columns: Pairs of each group.

    Returns:
        The sheet.
    """
    size = SMALL_CELL if before.shape[-1] <= SMALL_CELL else LARGE_CELL
    present = {case.group for case in cases}
    groups = [group for group in GROUP_TITLES if group in present]
    width = LEFT + columns * (size + GAP) + GAP
    bold = ImageFont.load_default(17)
    lines = textwrap.wrap(head, width // 10)
    top = HEAD_LINE * len(lines) + GAP
    band = BAND_TITLE + 2 * size + GAP + PROMPT_LINES
    sheet = Image.new("RGB", (width, top + len(groups) * band), "white")
    draw = ImageDraw.Draw(sheet)
    for i, line in enumerate(lines):
        draw.text((GAP, GAP + i * HEAD_LINE), line, fill="black", font=ImageFont.load_default(19))
    for group in groups:
        places = [i for i, case in enumerate(cases) if case.group == group][:columns]
        draw.text((GAP, top + 6), GROUP_TITLES[group], fill="black", font=bold)
        draw_pairs(sheet, top + BAND_TITLE, size, [(before[i], after[i]) for i in places])
        draw_prompts(draw, top + BAND_TITLE + 2 * size + GAP, size, [cases[i] for i in places])
        top += band
    return sheet


def draw_pairs(
    sheet: Image.Image, top: int, size: int, pairs: Sequence[tuple[Tensor, Tensor]]
) -> None:
    """Two rows of images, with their names on the left.

    Args:
        sheet: Where to draw.
        top: Pixels from the top.
        size: Of a cell, in pixels.
        pairs: (before, after) [3, H, W] for each column.
    """
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for row, name in enumerate(("before", "after")):
        y = top + row * (size + GAP)
        draw.text((GAP, y + size // 2 - 8), name, fill=SOFT, font=font)
        for column, pair in enumerate(pairs):
            sheet.paste(to_image(pair[row], size), (LEFT + column * (size + GAP), y))


def draw_prompts(draw: ImageDraw.ImageDraw, top: int, size: int, cases: Sequence) -> None:
    """The prompt under each column, in at most three lines.

    Args:
        draw: Where to draw.
        top: Pixels from the top.
        size: Of a cell, in pixels.
        cases: A prompt for each column.
    """
    font = ImageFont.load_default(13)
    for column, case in enumerate(cases):
        text = "\n".join(textwrap.wrap(case.prompt, size // 7)[:3])
        corner = (LEFT + column * (size + GAP), top + 4)
        draw.multiline_text(corner, text, fill="#333", font=font, spacing=2)


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
