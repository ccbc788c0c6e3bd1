"""Real clips: drawings of the emoji atlas that move on a coloured background.

No diffusion model is involved. `emoji-video` and the judge of motions were trained on such clips.

Clips of "left" and "right" are made of the same frames, those of "up" and "down" and of "grow" and
"shrink" as well: only the order tells them apart.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...models.emoji.motions import FRAMES
from .rendering import CELL, PALETTE, SIZE, drawing, paste

SET = "fluent-emoji-flat"  # the drawings of all clips

CELLS = SIZE // CELL  # of the latent, in a row

WIDTH = 13  # cells of a drawing at its usual size, as in the single images of the training

# Left edge of a drawing that moves to the left, in cells: whole cells, so that the latent moves
# with the drawing. At the ends one or two columns of the drawing are outside the image.
DRIFT = (4, 3, 2, 1, 1, 0, -1, -2)

WIDTHS = (5, 6, 7, 8, 10, 11, 12, 13)  # of a drawing that grows, in cells

SMALLEST = 10  # cells: the judge of images was trained on drawings of 11 and more

HOP = (0, 2, 3, 4, 4, 3, 2, 0)  # cells above the ground

SHAKE = (0, 2, 0, -2, 0, 2, 0, -2)

ZIGZAG = (0, 3, -3, 3, -3, 3, -3, 0)

# Motions that no prompt of the training names: a judge must call them none of its motions.
OTHERS = ("bounce", "fade", "blink", "shake", "swing", "zigzag", "jumps")


@dataclass(frozen=True)
class Placement:
    """Where and how a drawing stands in one frame.

    x, y     its left and upper edge, in cells; may be outside
    width    of the drawing, in cells
    angle    in degrees, counterclockwise
    opacity  from 0 to 1
    """

    x: int
    y: int
    width: int = WIDTH
    angle: float = 0.0
    opacity: float = 1.0


def placements(motion: str, rng: np.random.Generator) -> list[Placement]:
    """How a motion goes, frame by frame.

    Args:
        motion: One of `MOTIONS` or of `OTHERS`.
        rng: Draws the place where the drawing starts.

    Returns:
        One placement for each of the FRAMES frames.
    """
    x, y = (int(v) for v in rng.integers(1, 3, 2))
    frames = range(FRAMES)
    if motion == "left":
        return [Placement(DRIFT[f], y) for f in frames]
    if motion == "right":
        return [Placement(DRIFT[-1 - f], y) for f in frames]
    if motion == "up":
        return [Placement(x, DRIFT[f]) for f in frames]
    if motion == "down":
        return [Placement(x, DRIFT[-1 - f]) for f in frames]
    if motion in ("grow", "shrink"):
        widths = WIDTHS if motion == "grow" else WIDTHS[::-1]
        return [Placement((CELLS - w) // 2, (CELLS - w) // 2, w) for w in widths]
    if motion == "spin":
        return [Placement(x, y, angle=-45.0 * f) for f in frames]
    if motion == "still":
        return [Placement(x, y) for f in frames]
    return other_placements(motion, x, y, rng)


def visible_frames(motion: str) -> list[bool]:
    """In which frames a drawing is large enough for the judge of images, and upright.

    Args:
        motion: One of `MOTIONS`; "" for none.

    Returns:
        FRAMES booleans.
    """
    if motion == "spin":
        return [frame == 0 for frame in range(FRAMES)]
    widths = {"grow": WIDTHS, "shrink": WIDTHS[::-1]}.get(motion, (WIDTH,) * FRAMES)
    return [width >= SMALLEST for width in widths]


def other_placements(motion: str, x: int, y: int, rng: np.random.Generator) -> list[Placement]:
    """A motion of `OTHERS`, frame by frame.

    Args:
        motion: One of `OTHERS`.
        x: Left edge at rest, in cells.
        y: Upper edge at rest, in cells.
        rng: Draws places that follow no path.

    Raises:
        KeyError: There is no such motion.
    """
    frames = range(FRAMES)
    if motion == "bounce":
        return [Placement(x, 3 - HOP[f]) for f in frames]
    if motion == "fade":
        return [Placement(x, y, opacity=1 - f / (FRAMES - 1)) for f in frames]
    if motion == "blink":
        return [Placement(x, y, opacity=float(f % 4 < 2)) for f in frames]
    if motion == "shake":
        return [Placement(x + SHAKE[f], y) for f in frames]
    if motion == "swing":
        return [Placement(x, y, angle=20.0 * SHAKE[f]) for f in frames]
    if motion == "zigzag":
        return [Placement(x + ZIGZAG[f], DRIFT[f]) for f in frames]
    if motion == "jumps":
        return [Placement(*(int(v) for v in rng.integers(-2, 5, 2))) for f in frames]
    raise KeyError(motion)


def render_frame(thing: int, colour: int, placement: Placement) -> np.ndarray:
    """Draw one frame.

    Args:
        thing: Index into OBJECTS.
        colour: Index into COLOURS.
        placement: Where the drawing stands.

    Returns:
        [64, 64, 3] uint8.
    """
    background = np.broadcast_to(PALETTE[colour], (SIZE, SIZE, 3))
    art = drawing(SET, thing)
    if placement.angle:
        art = art.rotate(placement.angle, Image.Resampling.BICUBIC)
    canvas = background.copy()
    paste(canvas, art, placement.width * CELL, placement.x * CELL, placement.y * CELL)
    canvas = background * (1 - placement.opacity) + canvas * placement.opacity
    small = canvas.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean((1, 3))
    return (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8)


def render_clip(thing: int, motion: str, colour: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one clip.

    Args:
        thing: Index into OBJECTS.
        motion: One of `MOTIONS` or of `OTHERS`.
        colour: Index into COLOURS.
        rng: Draws the place.

    Returns:
        [FRAMES, 64, 64, 3] uint8.
    """
    frames = []
    for placement in placements(motion, rng):
        frames.append(render_frame(thing, colour, placement))
    return np.stack(frames)
