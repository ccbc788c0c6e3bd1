"""Options that workflows share: model, output folder, and how images are sampled and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch

from ..attacks.catalogue import Budget
from ..callbacks import ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..config.options import Look, Source
from ..config.ranges import check_numbers
from ..errors import InputError
from ..evaluation.benchmark import Benchmark
from ..evaluation.runner import (
    CASES_PER_GROUP,
    CLIP_CONTROLS,
    CLIPS_PER_GROUP,
    CONTROLS,
    Extent,
)
from ..evaluation.setup import prepare
from ..io.units import format_bytes
from ..io.weights import can_write
from ..models.interface import Model
from ..models.sampling import ImageSampler, Sampling
from ..profiling.memory_estimate import FP32_BYTES
from ..profiling.memory_fit import with_headroom
from ..profiling.usage import free_memory

CLIP_COPIES = 2.5  # before, after, and what a measure copies of them


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of every workflow.

    out       the folder to write
    model     what `--model` takes, or a `Source` with device, precision, ...
    force     replace the output folder of an earlier run; accept an edit of another base model
    progress  receives reports while it runs
    """

    out: Path
    model: str | Source = "emoji"
    force: bool = False
    progress: ProgressCallback = no_progress

    def __post_init__(self):
        object.__setattr__(self, "out", Path(self.out))  # a string is accepted, too

    @property
    def source(self) -> Source:
        """The model with its options, whichever form `model` has."""
        return Source.of(self.model)


def check_images(model: Model, command: str) -> None:
    """Does a model sample images, which a command needs?

    Args:
        model: The model of the run.
        command: What the user knows it by.

    Raises:
        InputError: It samples clips.
    """
    if model.frames:
        raise InputError(f"{command} is for images, and this is a text-to-video model")


def check_clips_fit(
    model: Model, clips: int, remedy: str = "evaluate nothing (--extent none)"
) -> None:
    """Do the clips of an evaluation fit into the CPU's memory?

    Args:
        model: A text-to-video model.
        clips: Before the edit; as many are sampled with it.
        remedy: What else the user can do.

    Raises:
        InputError: They do not, with what to change.
    """
    height, width = model.image_shape
    needed = int(CLIP_COPIES * clips * model.frames * 3 * height * width * FP32_BYTES)
    limit = with_headroom(free_memory(torch.device("cpu")))
    if limit is not None and needed > limit:
        raise InputError(
            f"{clips} clips of {model.frames} frames of {height} x {width} pixels before and after "
            f"take {format_bytes(needed)} of memory, and {format_bytes(limit)} are free: choose "
            f"fewer --frames or a smaller --height and --width, or {remedy}"
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(RunOptions):
    """Options of workflows that evaluate edits, besides `RunOptions`.

    seed     of the prompts and of the images
    extent   how many images are sampled: "short", "full" or "none"
    prompts  a CSV file of the user's own prompts, added to the benchmark's
    look     steps, guidance, judge and real images
    cache    folder of images that were sampled before; None: every image is sampled
    """

    seed: int = 0
    extent: Extent = "short"
    prompts: Path | None = None
    look: Look = Look()
    cache: Path | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.prompts is not None:
            object.__setattr__(self, "prompts", Path(self.prompts))
        check_numbers(seed=self.seed)
        self.look.check()
        if self.cache and not can_write(self.cache):
            object.__setattr__(self, "cache", None)

    def controls(self, model: Model) -> int:
        """Images or clips per control.

        Args:
            model: The model that is evaluated.
        """
        return (CLIP_CONTROLS if model.frames else CONTROLS)[self.extent]

    def benchmark(self, model: Model, concepts: Sequence[Concept]) -> Benchmark:
        """The benchmark of the run.

        Args:
            model: The model that is evaluated.
            concepts: Completed concepts (`Model.complete`).

        Returns:
            Its prompts and judge.
        """
        n = (CLIPS_PER_GROUP if model.frames else CASES_PER_GROUP)[self.extent]
        benchmark = prepare(model, concepts, n, self.seed, self.prompts, self.look)
        if model.frames:
            check_clips_fit(model, len(benchmark.cases))
        return benchmark

    def sampler(self, model: Model) -> ImageSampler:
        """What samples the run's evaluation images.

        Args:
            model: The model to sample from.

        Returns:
            A sampler that uses the run's cache and reports its progress.
        """
        return ImageSampler(
            model, evaluation_sampling(self.look, self.seed), self.cache, self.progress
        )


def evaluation_sampling(look: Look, seed: int) -> Sampling:
    """How the evaluation images of a run are sampled.

    Args:
        look: Steps, guidance and sampler.
        seed: First seed of the run.
    """
    return Sampling(look.steps, look.guidance, sampler=look.sampler, seed=seed)


class EvaluationKeywords(TypedDict, total=False):
    """The fields of `EvaluationOptions`, for type checkers and editors."""

    out: Path
    model: str | Source
    force: bool
    progress: ProgressCallback
    seed: int
    extent: Extent
    prompts: Path | None
    look: Look
    cache: Path | None


@dataclass(frozen=True, kw_only=True)
class AttackOptions(RunOptions):
    """Options of `attack_edit`, besides `RunOptions`.

    attacks  "quick", "all", or names of attacks with commas
    budget   "small", or "paper" for the authors' own settings, which take hours
    images   per attack and control, 4 or more
    floor    folder of a model that never knew the concept; None: that of the embedded model where
             the user's cache has it
    seed     of the prompts, images and searches
    look     steps, guidance and judge
    cache    folder of earlier images and outcomes; None: everything is computed
    """

    attacks: str = "quick"
    budget: Budget = "small"
    images: int = 24
    floor: Path | None = None
    seed: int = 0
    look: Look = Look(steps=15)
    cache: Path | None = None

    def __post_init__(self):
        check_numbers(seed=self.seed, images=self.images)
        self.look.check()
        if self.images < 4:
            raise InputError(f"images is {self.images}: a share needs 4 or more")
        if self.cache and not can_write(self.cache):
            object.__setattr__(self, "cache", None)
