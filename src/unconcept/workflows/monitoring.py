"""Watch a training while it runs: samples from the same seeds, and tracked losses."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback
from ..errors import InputError
from ..evaluation.benchmark import Benchmark
from ..evaluation.runner import sampling_seeds
from ..io.whole_file import whole_file
from ..models.sampling import ImageSampler
from ..reporting.image_grid import columns

CASES_PER_GROUP = 2  # prompts of each group that are sampled

SCALARS = (str, int, float, bool)


@dataclass(frozen=True)
class SampleSheet:
    """Where samples of a training go.

    file   a PNG; every column is one moment of the training
    every  training steps between two columns
    """

    file: Path
    every: int


def sample_while_training(
    progress: ProgressCallback,
    sampler: ImageSampler,
    benchmark: Benchmark,
    before: Tensor,
    sheet: SampleSheet,
) -> ProgressCallback:
    """Sample the trained model from the same seeds every few steps.

    The training's random numbers are not affected.

    Args:
        progress: Receives all reports as before.
        sampler: Model and sampling of the run; its cache is not used.
        benchmark: The first prompts of each group are sampled.
        before: Images [N, 3, H, W] of its cases without the edit: the first column.
        sheet: The file, and how often.

    Returns:
        A callback for the training.
    """
    some = _first_of_each_group(benchmark)
    cases = [benchmark.cases[i] for i in some]
    prompts = [case.prompt for case in cases]
    all_seeds = sampling_seeds(benchmark, sampler.sampling.seed)
    seeds = [all_seeds[i] for i in some]
    uncached = ImageSampler(sampler.model, sampler.sampling)
    looks = {"before": before[some]}

    def report(step: Progress) -> None:
        progress(step)
        if step.on is None or step.done % sheet.every:
            return
        model = sampler.model
        with torch.no_grad(), model.text_encoders_on(model.device), step.on():
            images = uncached.images(prompts, seeds)
        looks[f"{_part_of_training(step.stage)}step {step.done}"] = images
        _write_sheet(sheet.file, cases, looks)

    return report


def _first_of_each_group(benchmark: Benchmark) -> list[int]:
    some = []
    for group in dict.fromkeys(case.group for case in benchmark.cases):
        members = [i for i, case in enumerate(benchmark.cases) if case.group == group]
        some += members[:CASES_PER_GROUP]
    return some


def _part_of_training(stage: str) -> str:
    """The part that a step belongs to, where a training has several, such as concept groups."""
    return "" if stage == "training" else stage.removesuffix(": training") + ", "


def _write_sheet(file: Path, cases: list, looks: Mapping[str, Tensor]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as part:
        columns(cases, looks, rows=CASES_PER_GROUP).save(part, "png")


@contextmanager
def track_losses(
    progress: ProgressCallback, name: str, folder: Path, run: str, settings: Mapping[str, Any]
) -> Iterator[ProgressCallback]:
    """Log the losses of every training step to an experiment tracker.

    Args:
        progress: Receives all reports as before.
        name: A tracker that accelerate knows: "tensorboard", "wandb", "trackio", ...
        folder: Where trackers that write files do so.
        run: Name of the run.
        settings: Hyperparameters, nested; strings and numbers among them are logged.

    Yields:
        A callback for the training.

    Raises:
        InputError: The tracker is unknown or not installed.
    """
    tracker = _start_tracker(name, folder, run)
    tracker.store_init_configuration(flatten(settings))
    steps = 0

    def report(step: Progress) -> None:
        nonlocal steps
        progress(step)
        if step.loss is None:
            return
        # Each of several groups counts from 1; a training that is resumed continues its count.
        steps = max(steps + 1, step.done)
        losses = {"loss": step.loss}
        if step.held_out is not None:
            losses["best held-out loss"] = step.held_out
        tracker.log(losses, step=steps)

    try:
        yield report
    finally:
        tracker.finish()


def _start_tracker(name: str, folder: Path, run: str) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kinds: dict[str, Callable[..., Any]] = {}
    for key, tracker_class in LOGGER_TYPE_TO_CLASS.items():
        kinds[str(key)] = tracker_class
    if name not in kinds:
        raise InputError(f'unknown tracker "{name}"; known: {", ".join(sorted(kinds))}')
    PartialState()
    needs_folder = getattr(kinds[name], "requires_logging_directory", False)
    try:
        tracker = kinds[name](run, **({"logging_dir": str(folder)} if needs_folder else {}))
        tracker.start()
    except ImportError as error:
        raise InputError(f"{name} is not installed: pip install {error.name or name}") from error
    return tracker


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings: {"tune": {"lr": 1}} -> {"tune.lr": 1}.

    Args:
        settings: Mappings and dataclasses may be nested in it.
        prefix: Put before every key.

    Returns:
        Strings, numbers and booleans by their dotted keys; everything else is left out.
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, SCALARS):
            flat[name] = value
    return flat
