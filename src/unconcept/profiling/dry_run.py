"""`--dry-run`: what a run will need here, in lines for people, and what to set where it will not fit."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from ..concepts.concept import Concept
from ..config.options import Quantized, Source
from ..errors import InputError
from ..methods import method_caveat
from ..methods.all_but_one import AllButOne
from ..models.devices import choose_device
from ..models.interface import Model
from ..models.loading import default_precision, load
from ..training.distributed import process_count
from .memory_estimate import estimate_cpu_memory, estimate_memory

PARTS, RANK = (1, 2, 4, 8, 16, 32), 8  # savings that `made_to_fit` tries


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free there; None where nobody tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu" or not (told := Path("/proc/meminfo")).exists():
        return None
    return next(int(line.split()[1]) * 1024 for line in told.read_text().splitlines() if line.startswith("MemAvailable:"))


def matmul_speed(device: torch.device, dtype: torch.dtype, n: int = 1024) -> float:
    """FLOPs a second on one large product: more than any network reaches."""
    a, b = (torch.ones(n, n, device=device, dtype=dtype) for _ in range(2))
    float((a @ b)[0, 0])
    start = time.perf_counter()
    for _ in range(4):
        a = (a @ b) / n
    float(a[0, 0])
    return 4 * 2 * n**3 / (time.perf_counter() - start)


def find_saving(
    model: Model, method: AllButOne, concepts: int, bytes_free: int, quantize: Quantized | None = None
) -> tuple[AllButOne, Quantized | None] | None:
    """As few savings as make it fit: a batch in parts first, then activations computed again, a change of low rank, what is not tuned in
    4 bits; None where all of them do not help."""
    own, at_most = method.tune, max(parts for parts in PARTS if method.tune.batch_size % (parts * process_count()) == 0)

    def fits(saving: AllButOne, bits: Quantized | None) -> bool:
        return estimate_memory(model, saving, concepts, bits).peak <= bytes_free

    precisions: list[Quantized | None] = [quantize] if quantize else [None, "nf4"]
    ranks = [own.rank] if own.rank else [None, RANK]
    for bits in precisions:
        for rank, checkpointing in itertools.product(ranks, dict.fromkeys((own.gradient_checkpointing, True))):
            tunes = [
                replace(own, gradient_accumulation=parts, rank=rank, gradient_checkpointing=checkpointing)
                for parts in PARTS
                if at_most % parts == 0
            ]
            savings = [replace(method, tune=tune) for tune in tunes]
            if fits(savings[-1], bits):
                return next(saving for saving in savings if fits(saving, bits)), bits
    return None


def describe_run(source: Source, method: object, concepts: Sequence[Concept], quantize: Quantized | None = None) -> list[str]:
    """Lines for people about a run from `source`; the last warns where it does not fit."""
    device = choose_device(source.device)
    dtype = source.dtype or default_precision(source.model, device)
    try:
        model = load(replace(source, device="meta", dtype=dtype))
        notes = [f"note     {line}" for line in (model.remark, method_caveat(method, model)) if line]
        if not isinstance(method, AllButOne):
            return ["memory   only told of all-but-one", *notes]
        need, here = estimate_memory(model, method, len(concepts), quantize), estimate_cpu_memory(model, method, concepts)
    except InputError as error:
        return [f"memory   cannot be told: {error}"]
    gib, sampling, beside = lambda n: f"{n / 2**30:.1f} GiB", need.weights + need.readers, here.whole + need.readers
    free, host_free = free_memory(device), free_memory(torch.device("cpu"))
    training = need.weights + need.training + need.activations
    parts = f"weights {gib(need.weights)}, tuned {gib(need.training)}, activations {gib(need.activations)}"
    away = "" if device.type == "cpu" else f", and text encoders {gib(need.readers)}"
    lines = [
        f"device   {device}, {dtype}",
        f"tuned    {need.tuned:,} parameters: {method.tune.group}",
        f"memory   {gib(training)} while training ({parts}), {gib(sampling)} and more while sampling; {gib(free) if free else 'nobody tells how much'} free",
        f"host     {gib(here.whole)} of the host's memory besides (points {gib(here.points)}, {here.prompts:,} prompts {gib(here.conditions)}, token states {gib(here.states)}){away}",
        f"work     {need.calls:,} network calls, {need.flops / 1e12:,.1f} TFLOP: {need.flops / matmul_speed(device, model.dtype):,.0f} s at the pace of one large product there, now",
    ]  # fmt: skip
    lines += notes
    left = free - here.whole if free and device.type == "cpu" else free  # there the host's memory is the device's
    if device.type != "cpu" and host_free and beside > host_free:
        lines.append(
            f"warning  the host's memory will not hold it: {gib(beside)} of {gib(host_free)} free; fewer trajectories or points would"
        )
    if left and max(training, sampling) > left:
        found = find_saving(model, method, len(concepts), left, quantize)
        lines.append(f"warning  this will not fit: {f'{describe_saving(method, *found)} would' if found else 'and no saving makes it fit'}")
    return lines


def describe_saving(method: AllButOne, saving: AllButOne, quantize: Quantized | None) -> str:
    """The settings that `saving` has and `method` has not, as a YAML file and the command line name them."""
    tune = {key: value for key, value in asdict(saving.tune).items() if value != getattr(method.tune, key)}
    words = ", ".join(f"{key}: {str(value).lower()}" for key, value in tune.items())
    return " and ".join([*([f"settings: tune: {{{words}}}"] if tune else []), *([f"--quantize {quantize}"] if quantize else [])])
