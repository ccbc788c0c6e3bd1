"""Several processes that train one edit (`torchrun`): each works on its share of every batch, and all take the same step.

accelerate connects them, over NCCL between graphics cards and gloo between processors. Alone, nothing here does anything.
"""

import os
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError


def process_count() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def is_first() -> bool:
    """Is this the process that looks at pictures and writes files?"""
    return int(os.environ.get("RANK", 0)) == 0


def require_single_process() -> None:
    """Of a loop that would do the same in every process: an InputError where there are several."""
    if process_count() > 1:
        raise InputError("this method trains in one process: start it without torchrun (all-but-one shares its batches between several)")


def micro_batches(batch: int, parts: int) -> list[slice]:
    """This process's rows of a batch, in `parts` pieces."""
    size, rest = divmod(batch, parts * process_count())
    if rest or not size:
        raise InputError(
            f"a batch of {batch} cannot be shared by {process_count()} processes in {parts} parts each: the batch must be a multiple"
        )
    begin = int(os.environ.get("RANK", 0)) * parts
    return [slice((begin + i) * size, (begin + i + 1) * size) for i in range(parts)]


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean over all processes."""
    if process_count() == 1:
        return x
    from accelerate.utils import reduce

    connect(x.device.type == "cpu")
    shared: Any = reduce(x, "mean")
    return shared


def from_first_process(value: float, device: torch.device) -> float:
    """The first process's, so that all decide alike."""
    if process_count() == 1:
        return value
    from accelerate.utils import broadcast

    connect(device.type == "cpu")
    shared: Any = broadcast(torch.tensor(value, device=device))
    return float(shared)


def any_process(said: bool, device: torch.device) -> bool:
    """Does any of the processes say so? All get the same answer."""
    return bool(mean_over_processes(torch.tensor(float(said), device=device)) > 0)


@cache
def connect(cpu: bool) -> Any:
    from accelerate import PartialState

    return PartialState(cpu=cpu)
