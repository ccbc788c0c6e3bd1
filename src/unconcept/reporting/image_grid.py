"""Pictures for people: one picture as an image, a grid of many, and the sheet of pairs from the same seeds."""

import textwrap
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GROUP_TITLES = {
    "target": "the concept", "synonym": "its synonyms", "implied": "what may imply it", "neighbour": "near neighbours", "unrelated": "unrelated", "structure": "controls",
}  # fmt: skip


def to_image(picture: Tensor, size: int) -> Image.Image:
    """A picture [3, H, W] in [0, 1], `size` pixels wide; small ones are enlarged without smoothing."""
    array = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(array)
    smooth = image.width > size or size % image.width
    return image.resize((size, size * image.height // image.width), Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)


def before_after_grid(questions: Sequence, before: Tensor, after: Tensor, columns: int = 8, size: int = 128) -> Image.Image:
    """Before above after, from the same seeds, in a band for each group; the prompt stands under each pair."""
    groups = [g for g in GROUP_TITLES if any(q.group == g for q in questions)]
    font, bold = ImageFont.load_default(13), ImageFont.load_default(17)
    gap, head, foot, left = 6, 34, 62, 64
    band = head + 2 * size + gap + foot
    page = Image.new("RGB", (left + columns * (size + gap) + gap, len(groups) * band + gap), "white")
    draw = ImageDraw.Draw(page)
    for row, group in enumerate(groups):
        top, chosen = row * band + gap, [i for i, q in enumerate(questions) if q.group == group][:columns]
        draw.text((gap, top + 6), GROUP_TITLES[group], fill="black", font=bold)
        for line, (pictures, title) in enumerate(((before, "before"), (after, "after"))):
            y = top + head + line * (size + gap)
            draw.text((gap, y + size // 2 - 8), title, fill="#666", font=font)
            for column, i in enumerate(chosen):
                page.paste(to_image(pictures[i], size), (left + column * (size + gap), y))
        for column, i in enumerate(chosen):
            text = "\n".join(textwrap.wrap(questions[i].prompt, 18)[:3])
            draw.multiline_text((left + column * (size + gap), top + head + 2 * size + gap + 4), text, fill="#333", font=font, spacing=2)
    return page


def grid(pictures: Tensor, columns: int = 4, size: int = 256) -> Image.Image:
    columns = min(columns, len(pictures))
    tiles = [to_image(p, size) for p in pictures]
    page = Image.new("RGB", (columns * tiles[0].width, -(-len(tiles) // columns) * tiles[0].height), "white")
    for i, tile in enumerate(tiles):
        page.paste(tile, (i % columns * tile.width, i // columns * tile.height))
    return page


def columns(questions: Sequence, pictures: Mapping[str, Tensor], rows: int = 4, size: int = 128) -> Image.Image:
    """A row for each question, `rows` of each group, and a column for each set of pictures, all from the same seeds."""
    shown = [i for g in GROUP_TITLES for i in [i for i, q in enumerate(questions) if q.group == g][:rows]]
    font, bold = ImageFont.load_default(13), ImageFont.load_default(15)
    gap, head, left = 6, 34, 190
    page = Image.new("RGB", (left + len(pictures) * (size + gap), head + len(shown) * (size + gap)), "white")
    draw = ImageDraw.Draw(page)
    for column, (name, made) in enumerate(pictures.items()):
        draw.text((left + column * (size + gap), 8), name, fill="black", font=bold)
        for row, i in enumerate(shown):
            page.paste(to_image(made[i], size), (left + column * (size + gap), head + row * (size + gap)))
    for row, i in enumerate(shown):
        y = head + row * (size + gap)
        draw.text((gap, y + 8), GROUP_TITLES[questions[i].group], fill="#888", font=font)
        draw.multiline_text((gap, y + 30), "\n".join(textwrap.wrap(questions[i].prompt, 24)[:4]), fill="black", font=font, spacing=2)
    return page
