"""Progress of a run, reported to whoever shows it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """What a run is doing at the moment.

    stage     what is being done, in words: "training", "sampling, before"
    done      units of the stage that are finished: training steps, images, ...
    total     units of the stage in all
    loss      training loss of the last step, in a training
    held_out  best loss so far on held-out points, in a training that measures it
    on        in a training: `with progress.on():` replaces the model's weights by the trained ones
    part      units that are under way, by the share of them that is done: of a batch of four images
              after half of its sampling steps, 2
    """

    stage: str
    done: int
    total: int
    loss: float | None = None
    held_out: float | None = None
    on: Callable[[], AbstractContextManager] | None = None
    part: float = 0.0


ProgressCallback = Callable[[Progress], None]


def no_progress(progress: Progress) -> None:
    """Report nothing: the default wherever a `ProgressCallback` is expected.

    Args:
        progress: The report of a stage; it is dropped.
    """


def prefixed(progress: ProgressCallback, prefix: str) -> ProgressCallback:
    """Report under a longer name of the stage, as one part of a larger run does.

    Args:
        progress: Receives the reports.
        prefix: Put before every stage, with a colon: "pig" turns "training" into "pig: training".

    Returns:
        A callback that passes every report on with its stage prefixed.
    """

    def report(step: Progress) -> None:
        progress(replace(step, stage=f"{prefix}: {step.stage}"))

    return report
