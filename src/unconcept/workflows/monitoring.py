"""What can be watched while a training runs: samples of the student from the same seeds, and the losses in an experiment tracker."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback
from ..errors import InputError
from ..models.image_cache import sample_images
from ..models.interface import Model
from ..reporting.image_grid import columns

EACH = 2  # questions of each group that samples are made of

SCALARS = (str, int, float, bool)


def sample_while_training(
    progress: ProgressCallback, model: Model, questions: Sequence, seeds: Sequence[int], before: Tensor, *, every: int, file: Path, steps: int, guidance: float
) -> ProgressCallback:  # fmt: skip
    """Besides `report`: every so many steps of a training, one more column in the sheet `file`. It draws no random number of the training's."""
    groups = list(dict.fromkeys(q.group for q in questions))
    some = [i for g in groups for i in [i for i, q in enumerate(questions) if q.group == g][:EACH]]
    asked, looks = [questions[i] for i in some], {"before": before[some]}

    def look(progress: Progress) -> None:
        progress(progress)
        if progress.on is None or progress.done % every:
            return
        with torch.no_grad(), model.text_encoders_on(model.device), progress.on():
            made = sample_images(model, [q.prompt for q in asked], [seeds[i] for i in some], steps=steps, guidance=guidance)
        of = "" if progress.stage == "training" else progress.stage.removesuffix(": training") + ", "  # the group, where there are several
        looks[f"{of}step {progress.done}"] = made
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        columns(asked, looks, rows=EACH).save(part, "png")
        part.replace(file)

    return look


@contextmanager
def track_losses(progress: ProgressCallback, name: str, folder: Path, run: str, settings: Mapping[str, Any]) -> Iterator[ProgressCallback]:
    """Besides `report`: the losses of every step in a tracker that accelerate knows ("tensorboard", "wandb", "trackio", ...).

    folder: for those that write files. settings: nested, of which strings and numbers are told.
    """
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kinds: Mapping[str, Callable[..., Any]] = {str(kind): made for kind, made in LOGGER_TYPE_TO_CLASS.items()}
    if name not in kinds:
        raise InputError(f'unknown tracker "{name}": one of {", ".join(sorted(kinds))}')
    PartialState()
    try:
        where = {"logging_dir": str(folder)} if getattr(kinds[name], "requires_logging_directory", False) else {}
        tracker = kinds[name](run, **where)
        tracker.start()
    except ImportError as error:
        raise InputError(f"{name} is not installed: pip install {error.name or name}") from error
    tracker.store_init_configuration(flatten(settings))

    steps = 0

    def told(progress: Progress) -> None:
        nonlocal steps
        progress(progress)
        if progress.loss is not None:
            steps = max(steps + 1, progress.done)  # of several groups each counts from 1; one that was resumed goes on where it was
            losses = {"loss": progress.loss, **({} if progress.held_out is None else {"best held-out loss": progress.held_out})}
            tracker.log(losses, step=steps)

    try:
        yield told
    finally:
        tracker.finish()


def flatten(settings: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """{"tune": {"lr": 1}} -> {"tune.lr": 1}"""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{under}{key}"
        value = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        found |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value} if isinstance(value, SCALARS) else {}
    return found
