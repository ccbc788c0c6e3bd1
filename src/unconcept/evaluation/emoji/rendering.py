"""Real pictures: drawings of the atlas on coloured backgrounds, in eleven styles, alone or two side by side. No diffusion model made them.

The embedded models and their judge learnt from such pictures; here they are the ruler of how whole an erased model's pictures are.
"""

from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from ...models.emoji.vocabulary import COLOURS, OBJECTS, STYLES

SHEETS = Path(__file__).parent / "atlas"

SIZE, COLUMNS = 128, 12  # of a drawing on a sheet, in pixels; drawings in a row

SETS = {  # which style each set's drawings are
    "noto": "cartoon",
    "noto-v1": "cartoon",
    "twemoji": "cartoon",
    "emojione": "cartoon",
    "fluent-emoji-flat": "cartoon",
    "fluent-emoji": "3d render",
    "fluent-emoji-high-contrast": "line icon",
    "emojione-monotone": "line icon",
}

# One hand, three techniques: the same drawing of every object flat, in relief and in black lines. The denoiser learns from it alone
# (728 drawings by eight hands were more than it could take in within hours); autoencoder and judge see all sets.
ONE_HAND = ("fluent-emoji-flat", "fluent-emoji", "fluent-emoji-high-contrast")

CELL = 8  # of a drawing's pixels are one cell of the latent: a drawing moved by whole cells has the same latent, moved

LABELS = np.dtype([("a", "i2"), ("b", "i2"), ("style", "i2"), ("colour", "i2")])  # b = -1: one object; else a is left of b

PALETTE = np.array(list(COLOURS.values()), np.float32) / 255


@cache
def atlas_sheet(path: Path) -> Image.Image:
    return Image.open(path).convert("RGBA")


def drawing(name: str, index: int, unknown: Path | None = None) -> Image.Image:
    """Drawing `index` of an emoji set; behind the last of OBJECTS come those of the sheets in `unknown`."""
    folder = SHEETS
    if unknown and index >= len(OBJECTS):
        folder, index = unknown, index - len(OBJECTS)
    x, y = index % COLUMNS * SIZE, index // COLUMNS * SIZE
    return atlas_sheet(folder / f"{name}.webp").crop((x, y, x + SIZE, y + SIZE))


def grey(picture: np.ndarray) -> np.ndarray:
    return picture @ np.array([0.299, 0.587, 0.114], np.float32)


def edges(picture: np.ndarray, width: float) -> np.ndarray:
    """Strength of the strongest colour edge at every pixel, in [0, 1]."""
    smooth = ndimage.gaussian_filter(picture, (width, width, 0))
    slope = np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)).max(-1)
    return np.clip(slope / 1.2, 0, 1)


def cells(picture: np.ndarray, n: int) -> np.ndarray:
    h, w, c = picture.shape
    mean = picture.reshape(h // n, n, w // n, n, c).mean((1, 3))
    return mean.repeat(n, 0).repeat(n, 1)


def pixel_art(p, rng):
    return np.round(cells(p, 8) * 7) / 7


def pencil_sketch(p, rng):
    g = grey(p)
    dodge = np.clip(g / (ndimage.gaussian_filter(g, 4) + 1e-3), 0, 1) ** 2.5
    lines = 1 - 0.85 * edges(p, 1.0)
    shade = 0.86 + 0.14 * g
    return np.repeat((np.minimum(dodge, lines) * shade)[..., None], 3, -1)


def watercolor(p, rng):
    smooth = ndimage.median_filter(p, (9, 9, 1))
    rim = 1 - 0.35 * edges(smooth, 2.0)[..., None]
    paper = 1 + 0.10 * ndimage.gaussian_filter(rng.standard_normal(p.shape[:2]).astype(np.float32), 5)[..., None] * 8
    return np.clip((0.30 + 0.70 * smooth) * rim * paper, 0, 1)


def neon(p, rng):
    line = edges(p, 1.0)
    hue = p / (p.max(-1, keepdims=True) + 0.05)
    hue = 0.35 + 0.65 * ndimage.gaussian_filter(hue / (hue.max(-1, keepdims=True) + 1e-3), (3, 3, 0))
    hue = np.clip((hue - hue.min(-1, keepdims=True) * 0.8) * 1.5, 0, 1) + np.array([0.10, 0.08, 0.18], np.float32)
    glow = ndimage.gaussian_filter(line, 4) * 0.7
    return np.clip(np.array([0.03, 0.02, 0.07], np.float32) + hue * (line + glow)[..., None], 0, 1)


def blueprint(p, rng):
    y, x = np.mgrid[: p.shape[0], : p.shape[1]]
    grid = 0.10 * ((y % 16 < 2) | (x % 16 < 2))
    line = np.clip(edges(p, 1.0) * 1.3, 0, 1)
    return np.clip(np.array([0.07, 0.24, 0.58], np.float32) + (grid + 0.85 * line)[..., None] * np.array([0.9, 0.9, 0.8], np.float32), 0, 1)


def halftone(p, rng):
    y, x = np.mgrid[: p.shape[0], : p.shape[1]]
    mean = cells(p, 8)
    radius = 2.2 + 2.6 * (1 - grey(mean))
    dot = np.clip(radius - np.hypot(y % 8 - 3.5, x % 8 - 3.5), 0, 1)[..., None]
    return mean * 0.75 * dot + (0.45 + 0.55 * mean) * (1 - dot)


def cross_stitch(p, rng):
    y, x = np.mgrid[: p.shape[0], : p.shape[1]]
    u, v = y % 8, x % 8
    thread = (np.minimum(abs(u - v), abs(u + v - 7)) <= 1)[..., None]
    return cells(p, 8) * np.where(thread, 1.0, 0.55)


def sepia(p, rng):
    g = np.clip(grey(p) * 1.05, 0, 1)[..., None]
    return np.array([0.20, 0.11, 0.05], np.float32) * (1 - g) + np.array([0.98, 0.88, 0.70], np.float32) * g


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
    """Blend `art` into `canvas` at (x, y); where its rim would drown in the background, draw a light outline first."""
    tile = np.asarray(art.resize((size, size), Image.Resampling.LANCZOS), np.float32) / 255
    tile = np.pad(tile, ((3, 3), (3, 3), (0, 0)))
    top, left = max(0, 3 - y), max(0, 3 - x)
    tile = tile[top:, left:][: SIZE - max(0, y - 3), : SIZE - max(0, x - 3)]
    colour, alpha = tile[..., :3], tile[..., 3:]
    spot = canvas[max(0, y - 3) :, max(0, x - 3) :][: tile.shape[0], : tile.shape[1]]
    rim = (alpha[..., 0] > 0.5) & np.logical_not(ndimage.binary_erosion(alpha[..., 0] > 0.5, iterations=4))
    if rim.any() and np.abs(colour - spot)[rim].mean() < 0.28:
        halo = ndimage.gaussian_filter(ndimage.binary_dilation(alpha[..., 0] > 0.5, iterations=3).astype(np.float32), 0.7)
        rim_light = 1.0 if grey(spot).mean() < 0.7 else 0.25
        spot[:] = spot * (1 - halo[..., None]) + rim_light * halo[..., None]
    spot[:] = spot * (1 - alpha) + colour * alpha


def slot(i: int, n: int, rng: np.random.Generator, aligned: bool) -> tuple[int, int, int]:
    """(size, x, y) of drawing `i` of `n`: anywhere it fits, or of one size and moved by whole cells (two side by side: not at all)."""
    if n == 1:
        size = 13 * CELL if aligned else int(SIZE * rng.uniform(0.70, 0.94))
        x, y = rng.integers(1, 3, 2) * CELL if aligned else rng.integers(0, SIZE - size + 1, 2)
    else:
        size = 7 * CELL if aligned else int(SIZE * rng.uniform(0.42, 0.49))
        # Of the denoiser's scenes every drawing has one place: at an odd cell it would be a second pattern to the U-Net's 8 × 8 level.
        x = 0 if aligned else rng.integers(0, SIZE // 2 - size + 1)
        y = 4 * CELL if aligned else rng.integers(SIZE // 8, SIZE - SIZE // 8 - size + 1)
    return size, int(x) + i * SIZE // 2, int(y)


def render_image(
    label: np.void, rng: np.random.Generator, sets: Collection[str] = tuple(SETS), aligned: bool = False, unknown: Path | None = None
) -> np.ndarray:
    """One 64 px picture [64, 64, 3] uint8 of `label`, drawn by one of the emoji `sets`; `aligned`: to the latent's cells, never mirrored.

    unknown: the folder with sheets of other drawings, which labels behind the last object mean.
    """
    style = STYLES[label["style"]]
    kind = style if style in ("3d render", "line icon") else "cartoon"
    source = rng.choice([name for name, of in SETS.items() if of == kind and name in sets])
    background = PALETTE[label["colour"]]
    canvas = np.broadcast_to(background, (SIZE, SIZE, 3)).copy()
    things = [label["a"]] if label["b"] < 0 else [label["a"], label["b"]]
    for i, thing in enumerate(things):
        art = drawing(source, int(thing), unknown)
        if kind == "line icon" and background.mean() < 0.35:
            art = Image.merge("RGBA", [band.point(lambda v: 255 - v) for band in art.split()[:3]] + [art.split()[3]])
        if not aligned and rng.random() < 0.5:
            art = art.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        paste(canvas, art, *slot(i, len(things), rng, aligned))
    if style in FILTERS:
        canvas = FILTERS[style](canvas, rng)
    small = canvas.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean((1, 3))
    return (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8)
