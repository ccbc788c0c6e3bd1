"""Sampling options: steps, guidance, sampler, seed, size and length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import InputError


class SamplingLimits(Protocol):
    """What a model can sample. Every `Model` says it."""

    @property
    def steps(self) -> int:
        """Default number of sampling steps."""
        ...

    @property
    def guidance(self) -> float:
        """Default CFG scale."""
        ...

    @property
    def samplers(self) -> Sequence[str]:
        """Names of its samplers; the first is the default."""
        ...

    @property
    def image_size(self) -> int:
        """Height and width of its images in pixels."""
        ...

    @property
    def frames(self) -> int:
        """Number of frames of its clips; 0: it samples images."""
        ...


@dataclass(frozen=True)
class Sampling:
    """How images are sampled; None is the model's own choice.

    steps     sampling steps, 1 or more; None: as many as the model needs
    guidance  CFG scale; None: the default of the model's pipeline
    sampler   one of `Model.samplers`; None: the first of them
    seed      first seed of a run, from which an evaluation derives the seed of every image
    size      height and width in pixels; None: the size that the model was made for
    frames    length of a video; None: an image
    """

    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    seed: int = 0
    size: int | None = None
    frames: int | None = None

    def __post_init__(self):
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps is {self.steps}: sampling takes 1 step or more")

    def resolve(self, model: SamplingLimits) -> ResolvedSampling:
        """Fill in the model's own choices.

        Args:
            model: The model that is to be sampled from.

        Returns:
            A sampling whose steps, guidance, sampler and size are not None.

        Raises:
            InputError: The model does not have that sampler, or cannot sample that size or length.
        """
        guidance = model.guidance if self.guidance is None else self.guidance
        sampler = self.sampler or model.samplers[0]
        if sampler not in model.samplers:
            raise InputError(f'unknown sampler "{sampler}": one of {", ".join(model.samplers)}')
        if self.size not in (None, model.image_size):
            raise InputError(
                f"this model samples images of {model.image_size} pixels, not of {self.size}"
            )
        if self.frames not in (None, model.frames):
            raise InputError(
                f"this model samples clips of {model.frames} frames, not of {self.frames}"
                if model.frames
                else "this model samples images, not videos: leave frames away"
            )
        steps = model.steps if self.steps is None else self.steps
        return ResolvedSampling(steps, guidance, sampler, self.seed, model.image_size, self.frames)


@dataclass(frozen=True)
class ResolvedSampling(Sampling):
    """A sampling that leaves no choice to the model: only the types are narrower."""

    steps: int  # pyright: ignore[reportGeneralTypeIssues]  (`resolve` always sets it)
    guidance: float  # pyright: ignore[reportGeneralTypeIssues]
    sampler: str  # pyright: ignore[reportGeneralTypeIssues]
