"""`--dry-run`: what a run will need here, in plain lines, and what to set if it will not fit."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from ..concepts.concept import Concept
from ..config.options import Quantized, Source
from ..errors import UnknownShapesError
from ..io.units import format_bytes, format_duration
from ..methods import method_caveat
from ..methods.all_but_one import AllButOne
from ..models.devices import choose_device
from ..models.interface import Model
from ..models.loading import check_built, check_source, default_precision, load
from ..training.distributed import process_count
from .memory_estimate import CpuMemory, MemoryEstimate, estimate_cpu_memory, estimate_memory

# Savings that `find_saving` tries.
GRADIENT_ACCUMULATION = (1, 2, 4, 8, 16, 32)

RANK = 8


def free_memory(device: torch.device) -> int | None:
    """Free memory of a device.

    Args:
        device: A GPU or the CPU.

    Returns:
        Bytes; None if the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.exists():
        return None
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def matmul_speed(device: torch.device, dtype: torch.dtype, n: int = 1024) -> float:
    """Measure the speed of one large matrix product, which no network reaches.

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


def find_saving(
    model: Model,
    method: AllButOne,
    concepts: int,
    bytes_free: int,
    quantize: Quantized | None = None,
) -> tuple[AllButOne, Quantized | None] | None:
    """Find as few savings as make a training fit.

    Tried in this order: gradient accumulation, gradient checkpointing, an edit of low rank, and
    4 bits for the weights that are not trained.

    Args:
        model: A model on the device "meta".
        method: The method as requested.
        concepts: How many concepts are erased.
        bytes_free: Memory that it must fit into.
        quantize: A quantization that is chosen already.

    Returns:
        (the method with its savings, the quantization); None if nothing makes it fit.
    """
    tune = method.tune
    splits = [n for n in GRADIENT_ACCUMULATION if tune.batch_size % (n * process_count()) == 0]
    splits = [n for n in GRADIENT_ACCUMULATION if max(splits) % n == 0]
    precisions: list[Quantized | None] = [quantize] if quantize else [None, "nf4"]
    ranks = [tune.rank] if tune.rank else [None, RANK]
    checkpointing = dict.fromkeys((tune.gradient_checkpointing, True))
    for bits, rank, checkpoint in itertools.product(precisions, ranks, checkpointing):
        savings = []
        for n in splits:
            saving = replace(
                tune, gradient_accumulation=n, rank=rank, gradient_checkpointing=checkpoint
            )
            savings.append(replace(method, tune=saving))

        def fits(saving: AllButOne, bits: Quantized | None = bits) -> bool:
            return estimate_memory(model, saving, concepts, bits).peak <= bytes_free

        if fits(savings[-1]):
            return next(filter(fits, savings)), bits
    return None


def describe_run(
    source: Source,
    method: object,
    concepts: Sequence[Concept],
    quantize: Quantized | None = None,
) -> list[str]:
    """Describe the needs of a run.

    Args:
        source: The model.
        method: An instance of a method; memory and time are estimated for All but One alone.
        concepts: What is erased.
        quantize: How the weights that are not trained are held.

    Returns:
        Lines for people; the last ones warn if the run does not fit.

    Raises:
        InputError: The model is not there, damaged, or something else than a model.
    """
    device = choose_device(source.device)
    dtype = source.dtype or default_precision(source.model, device)
    check_source(source)
    try:
        model = load(replace(source, device="meta", dtype=dtype))
        check_built(source, model)
        notes = [line for line in (model.remark, method_caveat(method, model)) if line]
        notes = [f"note     {line}" for line in notes]
        if not isinstance(method, AllButOne):
            return ["memory   estimated for all-but-one only", *notes]
        need = estimate_memory(model, method, len(concepts), quantize)
        cpu = estimate_cpu_memory(model, method, concepts)
    except UnknownShapesError as error:
        return [f"memory   cannot be estimated: {error}"]
    group = f"{need.trained_parameters:,} parameters: {method.tune.group}"
    lines = [f"device   {device}, {dtype}", f"changed  {group}", *describe_needs(need, cpu, device)]
    lines += [describe_time(need, device, model.dtype), *notes]
    cpu_free = free_memory(torch.device("cpu"))
    if device.type != "cpu" and cpu_free and cpu.whole + need.text_encoders > cpu_free:
        lines.append(
            f"warning  CPU memory will not hold it: {format_bytes(cpu.whole + need.text_encoders)} "
            f"of {format_bytes(cpu_free)} free; fewer trajectories or points would"
        )
    device_free = free_memory(device)
    if device_free and device.type == "cpu":
        device_free -= cpu.whole  # it is the same memory
    if device_free and need.peak > device_free:
        saving = find_saving(model, method, len(concepts), device_free, quantize)
        remedy = "and no saving makes it fit"
        if saving:
            remedy = f"{describe_saving(method, *saving)} would"
        lines.append(f"warning  this will not fit: {remedy}")
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
    moved = ""
    if device.type != "cpu":
        moved = f", and text encoders {format_bytes(need.text_encoders)}"
    return [
        f"memory   {format_bytes(need.while_training)} while {stage} "
        f"(weights {format_bytes(need.weights)}, trained {format_bytes(need.training)}, "
        f"activations {format_bytes(need.activations)})",
        f"         {format_bytes(need.while_sampling)} and more while sampling; "
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


def describe_saving(method: AllButOne, saving: AllButOne, quantize: Quantized | None) -> str:
    """The settings in which a saving differs, as a config file and the command line name them.

    Args:
        method: The method as it was planned.
        saving: The method with less need of memory; only its `tune` differs.
        quantize: Precision of the weights that are not trained; None: as they are.

    Returns:
        Such as "settings: tune: {batch_size: 1} and --quantize nf4".
    """
    changes = []
    for key, value in asdict(saving.tune).items():
        if value != getattr(method.tune, key):
            changes.append(f"{key}: {str(value).lower()}")
    parts = [f"settings: tune: {{{', '.join(changes)}}}"] if changes else []
    if quantize:
        parts.append(f"--quantize {quantize}")
    return " and ".join(parts)
