"""Stage 2. Labelled pictures of the atlas, in shards.

Every shard is made from its own seed, so a killed run goes on with the next missing shard and gives
the same bytes.
"""

import sys
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from unconcept.evaluation.emoji.rendering import LABELS, SETS, render_image
from unconcept.models.emoji.vocabulary import (
    COLOURFUL,
    COLOURS,
    HELD_OUT,
    OBJECTS,
    SCENIC,
    STYLES,
    WORDS,
)

from .excluded import NOTHING, Excluded

SHARD = 2048
UNKNOWN = Path(__file__).parent / ".work/unknown"  # sheets of drawings of other things
FORBIDDEN = {(WORDS.index(word), STYLES.index(style)) for word, style in HELD_OUT}


def draw_label(rng: np.random.Generator, excluded: Excluded = NOTHING) -> np.void:
    """A random label that is neither held out nor excluded; in scenic styles two pictures in five
    hold two objects.
    """
    while True:
        style = int(rng.integers(len(STYLES)))
        a, b = (int(v) for v in rng.choice(len(OBJECTS), 2, replace=False))
        b = b if STYLES[style] in SCENIC and rng.random() < 0.4 else -1
        if (
            (a, style) not in FORBIDDEN
            and (b, style) not in FORBIDDEN
            and excluded.allows(a, b, style)
        ):
            # Styles that swallow the background's colour are drawn on white, the others on any.
            colour = int(rng.integers(len(COLOURS))) if STYLES[style] in COLOURFUL else 0
            return np.array((a, b, style, colour), LABELS)[()]


def make_shard(job: tuple[int, Path, Collection[str], bool, Excluded]) -> None:
    index, folder, sets, aligned, excluded = job
    rng = np.random.default_rng([2026, index])
    labels = np.array([draw_label(rng, excluded) for _ in range(SHARD)], LABELS)
    pictures = np.stack([render_image(label, rng, sets, aligned) for label in labels])
    part = folder / f"{index:03}.part.npz"
    np.savez(part, pictures=pictures, labels=labels)
    part.rename(folder / f"{index:03}.npz")


def make(
    folder: Path,
    shards: range,
    sets: Collection[str] = tuple(SETS),
    aligned: bool = False,
    workers: int = 2,
    excluded: Excluded = NOTHING,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (i, folder, sets, aligned, excluded)
        for i in shards
        if not (folder / f"{i:03}.npz").exists()
    ]
    with ProcessPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(make_shard, jobs), 1):
            print(f"{folder.name}: shard {done} of {len(jobs)}", file=sys.stderr, flush=True)


def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All pictures [N, 64, 64, 3] uint8 with their labels [N], in the order of the shards."""
    shards = [np.load(path) for path in sorted(folder.glob("[0-9][0-9][0-9].npz"))]
    return np.concatenate([s["pictures"] for s in shards]), np.concatenate(
        [s["labels"] for s in shards]
    )
