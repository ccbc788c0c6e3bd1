"""`--dry-run`: what a run will need here, in plain lines, and what to set if it will not fit."""

import functools
import time
from collections.abc import Sequence
from typing import Any

import torch

from ..concepts.concept import Concept
from ..config.options import Source, Training
from ..errors import InputError, UnknownShapesError
from ..io.units import format_bytes, format_duration
from ..methods import method_caveat
from ..methods.all_but_one import AllButOne
from ..models.devices import choose_device
from ..models.interface import Model
from ..models.source_checks import check_source
from .cpu_memory import CpuMemory, estimate_cpu_memory
from .memory_estimate import FP32_BYTES, MemoryEstimate, changed_numbers
from .memory_fit import MemoryPredictor, with_headroom
from .memory_savings import (
    Setting,
    asked_setting,
    describe_costs,
    describe_savings,
    fixed_settings,
)
from .usage import free_memory

NO_TRAINING = Training(save_every=0)


@functools.cache
def matmul_speed(device: torch.device, dtype: torch.dtype, n: int = 1024) -> float:
    """Measure the speed of one large matrix product, which no network reaches, once in a process.

    Args:
        device: Where to multiply.
        dtype: The precision.
        n: Rows and columns of the matrices.

    Returns:
        FLOPs per second.
    """
    a = torch.ones(n, n, device=device, dtype=dtype)
    b = torch.ones(n, n, device=device, dtype=dtype)
    float((a @ b)[0, 0])
    start = time.perf_counter()
    for _ in range(4):
        a = (a @ b) / n
    float(a[0, 0])
    return 4 * 2 * n**3 / (time.perf_counter() - start)


def describe_run(
    source: Source,
    method: object,
    concepts: Sequence[Concept],
    training: Training = NO_TRAINING,
) -> list[str]:
    """Describe the needs of a run.

    Args:
        source: The model.
        method: An instance of a method; memory and time are estimated for All but One alone.
        concepts: What is erased.
        training: How weights that are not trained are held, and what memory the run may take.

    Returns:
        Lines for people; the last ones warn if the run does not fit.

    Raises:
        InputError: The model is not there, damaged, or something else than a model.
    """
    device = choose_device(source.device)
    requested = asked_setting(source, method, training.quantize)
    check_source(source)
    predictor = MemoryPredictor(source, concepts)
    try:
        model = predictor.passes(requested.dtype).model
        notes = [line for line in (model.remark, method_caveat(method, model)) if line]
        notes = [f"note     {line}" for line in notes]
        if not isinstance(method, AllButOne):
            return ["memory   estimated for all-but-one only", *notes]
        need = predictor.estimate(requested)
        cpu = estimate_cpu_memory(model, method, concepts)
    except UnknownShapesError as error:
        return [f"memory   cannot be estimated: {error}"]
    lines = [f"device   {device}, {requested.dtype}", *describe_edit(model, method, need)]
    lines += describe_needs(need, cpu, device)
    lines += [describe_time(need, device, model.dtype), *notes]
    cpu_free = free_memory(torch.device("cpu"))
    if device.type != "cpu" and cpu_free and cpu.whole + need.text_encoders > cpu_free:
        lines.append(
            f"warning  CPU memory will not hold it: {format_bytes(cpu.whole + need.text_encoders)} "
            f"of {format_bytes(cpu_free)} free; fewer trajectories or points would"
        )
    return lines + describe_fit(predictor, requested, training)


def describe_edit(model: Model, method: AllButOne, need: MemoryEstimate) -> list[str]:
    """The lines about what is changed, and how large the edit's file will be.

    Args:
        model: A model on the device "meta".
        method: The method with its hyperparameters.
        need: The estimate, with the number of trained parameters.

    Returns:
        Two lines.
    """
    group = f"{need.trained_parameters:,} parameters: {method.tune.group}"
    largest = changed_numbers(model, method)
    note = "in fp32"
    if not method.trains:
        note += " at most: the closed form's change has a low rank, and is stored as its factors"
    return [
        f"changed  {group}",
        f"edit     {format_bytes(largest * FP32_BYTES)} ({largest:,} numbers) {note}",
    ]


def describe_fit(predictor: MemoryPredictor, requested: Setting, training: Training) -> list[str]:
    """The lines about the peak, and the savings with which it fits.

    Args:
        predictor: Of the run.
        requested: The run as requested.
        training: Says what memory it may take, and which settings stay.

    Returns:
        One or two lines.
    """
    if training.memory in ("auto", "off"):
        limit = with_headroom(free_memory(predictor.device))
    else:
        limit = int(float(training.memory) * 2**30)
    peak = predictor.needed(requested)
    lines = [f"peak     {format_bytes(peak)}"]
    if not limit or peak <= limit:
        return lines
    fixed = fixed_settings(predictor.source, requested, training.fixed)
    try:
        chosen = predictor.choose(requested, fixed, limit)
    except InputError as error:
        return [*lines, f"warning  this will not fit, and no saving makes it fit: {error}"]
    savings = chosen.savings(requested)
    lines.append(f"warning  this will not fit: {describe_settings(savings)} would")
    if training.memory != "off":
        needs = format_bytes(predictor.needed(chosen))
        lines.append(
            f"         --memory {training.memory} takes {describe_savings(savings)}: {needs} "
            f"({describe_costs(savings)})"
        )
    return lines


def describe_needs(need: MemoryEstimate, cpu: CpuMemory, device: torch.device) -> list[str]:
    """The lines about memory.

    Args:
        need: The estimate for the device.
        cpu: The estimate for CPU memory besides the networks.
        device: Where training runs; its free memory is stated.

    Returns:
        Three lines.
    """
    free = free_memory(device)
    stage = "training" if need.calls else "solving the closed form"
    sampling = need.while_sampling + need.sampling
    moved = ""
    if device.type != "cpu":
        moved = f", and text encoders {format_bytes(need.text_encoders)}"
    return [
        f"memory   {format_bytes(need.while_training)} while {stage} "
        f"(weights {format_bytes(need.weights)}, trained {format_bytes(need.training)}, "
        f"activations {format_bytes(need.activations)})",
        f"         {format_bytes(sampling)}{'' if need.sampling else ' and more'} while sampling; "
        f"{format_bytes(free) if free else 'an unknown amount'} free",
        f"         {format_bytes(cpu.whole)} of CPU memory in addition "
        f"(replay points {format_bytes(cpu.points)}, {cpu.prompts:,} prompts "
        f"{format_bytes(cpu.conditions)}, token states {format_bytes(cpu.states)}){moved}",
    ]


def describe_time(need: MemoryEstimate, device: torch.device, dtype: torch.dtype) -> str:
    """The line about the work, and the least time it takes here.

    Args:
        need: The estimate, with its network calls and FLOPs.
        device: Where training runs; a large matrix product is timed there.
        dtype: Of the weights; the product is computed in it.

    Returns:
        One line. The time is a lower bound: FLOPs / (FLOPs per second of the product).
    """
    if not need.calls:
        return (
            "time     seconds: a closed form, without network calls; most of a run is the images "
            "before and after"
        )
    seconds = need.flops / matmul_speed(device, dtype)
    return (
        f"time     at least {format_duration(seconds)} of erasing: {need.calls:,} network calls "
        f"({need.flops / 1e12:,.1f} TFLOP), at the speed of one large matrix product here"
    )


def describe_settings(savings: dict[str, Any]) -> str:
    """Savings as a config file and the command line name them.

    Args:
        savings: By the names of the settings.

    Returns:
        Such as "settings: tune: {rank: 8} and --quantize nf4".
    """
    changes = []
    options = []
    for key, value in savings.items():
        if key in ("dtype", "quantize"):
            options.append(f"--{key} {value}")
        elif key == "cpu_offload":
            options.append("weights in CPU memory, which --memory chooses")
        else:
            changes.append(f"{key}: {str(value).lower()}")
    tune = [f"settings: tune: {{{', '.join(changes)}}}"] if changes else []
    return " and ".join([*tune, *options])
