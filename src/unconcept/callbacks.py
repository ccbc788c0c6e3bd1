"""Progress of a run, reported to whoever shows it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What a run is doing: the stage in words, done of total, and in a training the losses and the student: inside `with progress.on():` it
    stands in the model's place."""

    stage: str
    done: int
    total: int
    loss: float | None = None
    held_out: float | None = None
    on: Callable[[], AbstractContextManager] | None = None


ProgressCallback = Callable[[Progress], None]
