"""Clips of moving emoji, as latents, in shards.

A frame is stored once and used by several motions: "left" and "right" are made of the same frames
in opposite order. A shard holds every object on one background; ten shards hold every pair of an
object and a color. It also holds single images in all styles, which the training repeats as still
clips: without them the model would forget the styles.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from unconcept.concepts.templates import article
from unconcept.evaluation.emoji.moving import Placement, placements, render_frame
from unconcept.evaluation.emoji.rendering import LABELS, ONE_HAND, render_image
from unconcept.models.emoji.motions import MOTIONS
from unconcept.models.emoji.vocabulary import COLOURS, OBJECTS

from .captions import COLOUR_NAMES, caption, noun
from .dataset import draw_label
from .vae import latents

NAMES = tuple(MOTIONS)
SHARDS = 10  # one for every color of an object
STILLS = 192  # single images of a shard
SEED = 2027


def colour_of(thing: int, shard: int) -> int:
    """The background of an object in a shard; every color in one of the ten."""
    return (3 * thing + shard) % len(COLOURS)


def held_out(thing: int, motion: int) -> bool:
    """Is this pair of an object and a motion kept from the training?

    The object is trained with other motions and the motion with other objects, so these pairs
    measure whether the model combines them.
    """
    return NAMES[motion] != "still" and (thing + 5 * motion) % 17 == 0


def make_shard(folder: Path, shard: int, vae: AutoencoderKL) -> None:
    """Draw and encode one shard; the same bytes every time."""
    images, rows = [], np.empty((len(OBJECTS), len(NAMES), 8), np.int32)
    for thing in range(len(OBJECTS)):
        known: dict[Placement, int] = {}
        for motion, name in enumerate(NAMES):
            # The same seed for all motions of an object: they start at the same place.
            path = placements(name, np.random.default_rng([SEED, shard, thing]))
            for f, placement in enumerate(path):
                if placement not in known:
                    known[placement] = len(images)
                    images.append(render_frame(thing, colour_of(thing, shard), placement))
                rows[thing, motion, f] = known[placement]
    rng = np.random.default_rng([SEED, shard])
    labels = np.array([draw_label(rng) for _ in range(STILLS)], LABELS)
    stills = np.stack([render_image(label, rng, ONE_HAND, aligned=True) for label in labels])
    part = folder / f"{shard:02}.part"
    tensors = {
        "frames": latents(vae, np.stack(images), batch=64),
        "rows": torch.from_numpy(rows),
        "stills": latents(vae, stills, batch=64),
        "labels": torch.from_numpy(labels.view("i2").reshape(STILLS, -1).copy()),
    }
    save_file(tensors, part)
    part.rename(folder / f"{shard:02}.safetensors")


def make(folder: Path, shards: int, vae: AutoencoderKL) -> None:
    """Make the shards that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        if not (folder / f"{shard:02}.safetensors").exists():
            make_shard(folder, shard, vae)
            print(f"clips: shard {shard + 1} of {shards}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Clip:
    """One clip of the training: latents [F, 8, 16, 16], not yet scaled, and its caption."""

    latents: Tensor
    caption: str


class Clips:
    """The shards of a folder.

    Args:
        folder: Where `make` put them.
        shards: How many to use.
    """

    def __init__(self, folder: Path, shards: int):
        self.shards = [load_file(folder / f"{i:02}.safetensors") for i in range(shards)]

    def clip(self, shard: int, thing: int, motion: int) -> Tensor:
        """Latents [8, 8, 16, 16] of one clip."""
        rows = self.shards[shard]["rows"][thing, motion]
        return self.shards[shard]["frames"][rows.long()]

    def draw_group(
        self, motions: Sequence[str], rng: np.random.Generator, on_white: bool = False
    ) -> list[Clip]:
        """Clips of a random object on its background, one in each motion.

        With the same noise they differ in nothing but the motion.

        Args:
            motions: Names; none of them is held out for the object.
            rng: Draws object, background and words.
            on_white: Draw no clip on another background.
        """
        numbers = [NAMES.index(name) for name in motions]
        while True:
            shard = int(rng.integers(len(self.shards)))
            thing = int(rng.integers(len(OBJECTS)))
            colour = colour_of(thing, shard)
            if on_white and COLOUR_NAMES[colour] != "white":
                continue
            if not any(held_out(thing, motion) for motion in numbers):
                break
        group = []
        for motion in numbers:
            words = moving_caption(thing, NAMES[motion], colour, rng)
            group.append(Clip(self.clip(shard, thing, motion), words))
        return group

    def draw_still(self, rng: np.random.Generator) -> Clip:
        """A single image of any style as a still clip."""
        shard = self.shards[rng.integers(len(self.shards))]
        i = int(rng.integers(STILLS))
        label = shard["labels"][i].numpy().view(LABELS)[0]
        words = caption(label, rng)
        if words and rng.random() < 0.5:
            words = add_phrase(words, "still", rng)
        return Clip(shard["stills"][i].expand(8, -1, -1, -1), words)


def add_phrase(words: str, motion: str, rng: np.random.Generator) -> str:
    phrases = MOTIONS[motion]
    return f"{words}, {phrases[rng.integers(len(phrases))]}"


def moving_caption(thing: int, motion: str, colour: int, rng: np.random.Generator) -> str:
    """A caption of a clip: the color is named in seven of eight, and the motion always.

    Half of the still clips have no phrase: a prompt without one means a still clip. A tenth of
    the captions is empty, for classifier-free guidance.
    """
    if rng.random() < 0.1:
        return ""
    words = noun(thing, rng)
    if rng.random() < 0.875:
        words += f" on {article(COLOUR_NAMES[colour])} background"
    if motion == "still" and rng.random() < 0.5:
        return words
    return add_phrase(words, motion, rng)
