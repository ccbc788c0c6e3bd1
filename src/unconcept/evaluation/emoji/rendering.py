"""Real images: drawings of an emoji atlas in eleven styles, one or two on a coloured background.

No diffusion model is involved. The embedded models and their judge were trained on such images;
here they are the reference for how intact an erased model's images are.
"""

from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops
from scipy import ndimage

from ...models.emoji.vocabulary import COLOURS, OBJECTS, STYLES

SHEETS = Path(__file__).parent / "atlas"

SIZE = 128  # of a drawing on a sheet, in pixels

COLUMNS = 12  # drawings per row of a sheet

# The style that the drawings of each emoji set have.
SETS = {
    "noto": "cartoon",
    "noto-v1": "cartoon",
    "twemoji": "cartoon",
    "emojione": "cartoon",
    "fluent-emoji-flat": "cartoon",
    "fluent-emoji": "3d render",
    "fluent-emoji-high-contrast": "line icon",
    "emojione-monotone": "line icon",
}

# Sets by one artist: the same drawing of every object flat, in relief and in black lines. The
# denoiser is trained on these alone (728 drawings by eight artists were more than it learnt within
# hours); the autoencoder and the judge are trained on all sets.
ONE_HAND = ("fluent-emoji-flat", "fluent-emoji", "fluent-emoji-high-contrast")

# Pixels of a drawing per cell of the latent: a drawing shifted by whole cells has the same latent,
# shifted.
CELL = 8

# What an image shows, as indices: object a, object b to its right (-1: none), style, colour.
LABELS = np.dtype([("a", "i2"), ("b", "i2"), ("style", "i2"), ("colour", "i2")])

PALETTE = np.array(list(COLOURS.values()), np.float32) / 255


@cache
def atlas_sheet(path: Path) -> Image.Image:
    """An image file of the atlas in RGBA, read once.

    Args:
        path: A file of the packaged atlas. The image is shared: it must not be changed.
    """
    return Image.open(path).convert("RGBA")


def drawing(name: str, index: int, unknown: Path | None = None) -> Image.Image:
    """One drawing of an emoji set.

    Args:
        name: The set, a key of SETS.
        index: Index into OBJECTS; beyond the last object, into the sheets in `unknown`.
        unknown: Folder with sheets of other objects.

    Returns:
        [SIZE, SIZE] RGBA.
    """
    folder = SHEETS
    if unknown and index >= len(OBJECTS):
        folder, index = unknown, index - len(OBJECTS)
    x, y = index % COLUMNS * SIZE, index // COLUMNS * SIZE
    return atlas_sheet(folder / f"{name}.webp").crop((x, y, x + SIZE, y + SIZE))


def grey(image: np.ndarray) -> np.ndarray:
    """Luma [H, W] of an image [H, W, 3].

    Args:
        image: RGB, in any range.
    """
    return image @ np.array([0.299, 0.587, 0.114], np.float32)


def edges(image: np.ndarray, width: float) -> np.ndarray:
    """Strength of the strongest colour edge at every pixel.

    Args:
        image: [H, W, 3] in [0, 1].
        width: Standard deviation of the smoothing before, in pixels.

    Returns:
        [H, W] in [0, 1].
    """
    smooth = ndimage.gaussian_filter(image, (width, width, 0))
    slope = np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)).max(-1)
    return np.clip(slope / 1.2, 0, 1)


def cells(image: np.ndarray, n: int) -> np.ndarray:
    """The image with every n x n cell replaced by its mean colour.

    Args:
        image: [H, W, 3]; H and W are multiples of n.
        n: Size of a cell in pixels.

    Returns:
        [H, W, 3].
    """
    h, w, c = image.shape
    mean = image.reshape(h // n, n, w // n, n, c).mean((1, 3))
    return mean.repeat(n, 0).repeat(n, 1)


# Styles: filters of an image p [H, W, 3] in [0, 1], with a random generator for the paper's grain.


def pixel_art(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cells of 8 x 8 pixels in 8 levels per channel.

    Args:
        p: Image [H, W, 3] in [0, 1]; H and W are multiples of 8.
        rng: Unused.

    Returns:
        [H, W, 3].
    """
    return np.round(cells(p, 8) * 7) / 7


def pencil_sketch(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grey drawing: colour dodge, darkened along edges.

    Args:
        p: Image [H, W, 3] in [0, 1].
        rng: Unused.

    Returns:
        [H, W, 3].
    """
    g = grey(p)
    dodge = np.clip(g / (ndimage.gaussian_filter(g, 4) + 1e-3), 0, 1) ** 2.5
    lines = 1 - 0.85 * edges(p, 1.0)
    shade = 0.86 + 0.14 * g
    return np.repeat((np.minimum(dodge, lines) * shade)[..., None], 3, -1)


def watercolor(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth areas with dark rims on grainy paper.

    Args:
        p: Image [H, W, 3] in [0, 1].
        rng: Draws the grain of the paper.

    Returns:
        [H, W, 3].
    """
    smooth = ndimage.median_filter(p, (9, 9, 1))
    rim = 1 - 0.35 * edges(smooth, 2.0)[..., None]
    noise = rng.standard_normal(p.shape[:2]).astype(np.float32)
    paper = 1 + 0.10 * ndimage.gaussian_filter(noise, 5)[..., None] * 8
    return np.clip((0.30 + 0.70 * smooth) * rim * paper, 0, 1)


def neon(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Glowing edges in saturated colours on a dark ground.

    Args:
        p: Image [H, W, 3] in [0, 1].
        rng: Unused.

    Returns:
        [H, W, 3].
    """
    line = edges(p, 1.0)
    hue = p / (p.max(-1, keepdims=True) + 0.05)
    hue = hue / (hue.max(-1, keepdims=True) + 1e-3)
    hue = 0.35 + 0.65 * ndimage.gaussian_filter(hue, (3, 3, 0))
    hue = np.clip((hue - hue.min(-1, keepdims=True) * 0.8) * 1.5, 0, 1)
    hue = hue + np.array([0.10, 0.08, 0.18], np.float32)
    glow = ndimage.gaussian_filter(line, 4) * 0.7
    dark = np.array([0.03, 0.02, 0.07], np.float32)
    return np.clip(dark + hue * (line + glow)[..., None], 0, 1)


def blueprint(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White edges and a grid of 16 pixels on blue.

    Args:
        p: Image [H, W, 3] in [0, 1].
        rng: Unused.

    Returns:
        [H, W, 3].
    """
    y, x = np.mgrid[: p.shape[0], : p.shape[1]]
    grid = 0.10 * ((y % 16 < 2) | (x % 16 < 2))
    line = np.clip(edges(p, 1.0) * 1.3, 0, 1)
    blue = np.array([0.07, 0.24, 0.58], np.float32)
    white = np.array([0.9, 0.9, 0.8], np.float32)
    return np.clip(blue + (grid + 0.85 * line)[..., None] * white, 0, 1)


def halftone(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One dot per cell of 8 x 8 pixels, larger where the image is darker.

    Args:
        p: Image [H, W, 3] in [0, 1]; H and W are multiples of 8.
        rng: Unused.

    Returns:
        [H, W, 3].
    """
    y, x = np.mgrid[: p.shape[0], : p.shape[1]]
    mean = cells(p, 8)
    radius = 2.2 + 2.6 * (1 - grey(mean))
    dot = np.clip(radius - np.hypot(y % 8 - 3.5, x % 8 - 3.5), 0, 1)[..., None]
    return mean * 0.75 * dot + (0.45 + 0.55 * mean) * (1 - dot)


def cross_stitch(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A cross of bright thread per cell of 8 x 8 pixels.

    Args:
        p: Image [H, W, 3] in [0, 1]; H and W are multiples of 8.
        rng: Unused.

    Returns:
        [H, W, 3].
    """
    y, x = np.mgrid[: p.shape[0], : p.shape[1]]
    u, v = y % 8, x % 8
    thread = (np.minimum(abs(u - v), abs(u + v - 7)) <= 1)[..., None]
    return cells(p, 8) * np.where(thread, 1.0, 0.55)


def sepia(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Luma, on a scale from dark to light brown.

    Args:
        p: Image [H, W, 3] in [0, 1].
        rng: Unused.

    Returns:
        [H, W, 3].
    """
    g = np.clip(grey(p) * 1.05, 0, 1)[..., None]
    dark = np.array([0.20, 0.11, 0.05], np.float32)
    light = np.array([0.98, 0.88, 0.70], np.float32)
    return dark * (1 - g) + light * g


FILTERS = {
    "pixel art": pixel_art,
    "pencil sketch": pencil_sketch,
    "watercolor": watercolor,
    "neon": neon,
    "blueprint": blueprint,
    "halftone": halftone,
    "cross-stitch": cross_stitch,
    "sepia": sepia,
}


def paste(canvas: np.ndarray, art: Image.Image, size: int, x: int, y: int) -> None:
    """Blend a drawing into a canvas, with an outline where its rim would vanish in the background.

    Args:
        canvas: [SIZE, SIZE, 3] in [0, 1], changed in place.
        art: The drawing, RGBA.
        size: Height and width of the drawing on the canvas, in pixels.
        x: Its left edge.
        y: Its upper edge.
    """
    tile = np.asarray(art.resize((size, size), Image.Resampling.LANCZOS), np.float32) / 255
    tile = np.pad(tile, ((3, 3), (3, 3), (0, 0)))  # room for the outline
    top, left = max(0, 3 - y), max(0, 3 - x)
    tile = tile[top:, left:][: SIZE - max(0, y - 3), : SIZE - max(0, x - 3)]
    colour, alpha = tile[..., :3], tile[..., 3:]
    spot = canvas[max(0, y - 3) :, max(0, x - 3) :][: tile.shape[0], : tile.shape[1]]
    inside = alpha[..., 0] > 0.5
    rim = inside & np.logical_not(ndimage.binary_erosion(inside, iterations=4))
    if rim.any() and np.abs(colour - spot)[rim].mean() < 0.28:
        wider = ndimage.binary_dilation(inside, iterations=3).astype(np.float32)
        halo = ndimage.gaussian_filter(wider, 0.7)
        rim_light = 1.0 if grey(spot).mean() < 0.7 else 0.25
        spot[:] = spot * (1 - halo[..., None]) + rim_light * halo[..., None]
    spot[:] = spot * (1 - alpha) + colour * alpha


def slot(i: int, n: int, rng: np.random.Generator, aligned: bool) -> tuple[int, int, int]:
    """Size and place of one drawing.

    Args:
        i: Which drawing of the image.
        n: How many there are, 1 or 2.
        rng: Draws size and place.
        aligned: One size only, shifted by whole cells of the latent (CELL); two drawings side by
            side are not shifted at all.

    Returns:
        (size, x, y) in pixels.
    """
    if n == 1:
        size = 13 * CELL if aligned else int(SIZE * rng.uniform(0.70, 0.94))
        x, y = rng.integers(1, 3, 2) * CELL if aligned else rng.integers(0, SIZE - size + 1, 2)
        return size, int(x), int(y)
    if aligned:
        # One place per drawing: at an odd cell it would be a second pattern to the 8 x 8 level of
        # the U-Net.
        return 7 * CELL, i * SIZE // 2, 4 * CELL
    size = int(SIZE * rng.uniform(0.42, 0.49))
    x = rng.integers(0, SIZE // 2 - size + 1)
    y = rng.integers(SIZE // 8, SIZE - SIZE // 8 - size + 1)
    return size, int(x) + i * SIZE // 2, int(y)


def render_image(
    label: np.void,
    rng: np.random.Generator,
    sets: Collection[str] = tuple(SETS),
    aligned: bool = False,
    unknown: Path | None = None,
) -> np.ndarray:
    """Draw one image.

    Args:
        label: What it shows, of type LABELS.
        rng: Draws the emoji set, size, place and mirroring.
        sets: Emoji sets to choose from.
        aligned: Align drawings to the cells of the latent, and never mirror them.
        unknown: Folder with sheets of other objects, for labels beyond the last of OBJECTS.

    Returns:
        [64, 64, 3] uint8.
    """
    style = STYLES[label["style"]]
    kind = style if style in ("3d render", "line icon") else "cartoon"
    source = rng.choice([name for name, drawn in SETS.items() if drawn == kind and name in sets])
    background = PALETTE[label["colour"]]
    canvas = np.broadcast_to(background, (SIZE, SIZE, 3)).copy()
    things = [label["a"]] if label["b"] < 0 else [label["a"], label["b"]]
    for i, thing in enumerate(things):
        art = drawing(source, int(thing), unknown)
        if kind == "line icon" and background.mean() < 0.35:
            *colours, alpha = art.split()
            art = Image.merge("RGBA", [*(ImageChops.invert(band) for band in colours), alpha])
        if not aligned and rng.random() < 0.5:
            art = art.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        paste(canvas, art, *slot(i, len(things), rng, aligned))
    if style in FILTERS:
        canvas = FILTERS[style](canvas, rng)
    small = canvas.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean((1, 3))
    return (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8)
