"""Several processes that train one edit (`torchrun`).

Each process works on its share of every batch, and all take the same step. accelerate connects
them, over NCCL between GPUs and gloo between CPUs. With one process nothing here has an effect.
"""

import os
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError


def process_count() -> int:
    """Number of processes that train together (torchrun)."""
    return int(os.environ.get("WORLD_SIZE", 1))


def process_rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", 0))


def is_first() -> bool:
    """Whether this is the process that evaluates images and writes files."""
    return process_rank() == 0


def require_single_process() -> None:
    """Refuse several processes for a training that would do the same work in each of them.

    Raises:
        InputError: There are several processes.
    """
    if process_count() > 1:
        raise InputError(
            "this method trains in one process: start it without torchrun "
            "(all-but-one divides its batches between several)"
        )


def micro_batches(batch_size: int, accumulation: int) -> list[slice]:
    """This process's rows of a batch, divided for gradient accumulation.

    Args:
        batch_size: Rows of the whole batch, over all processes.
        accumulation: Micro-batches of each process, at least 1.

    Returns:
        `accumulation` slices of equal length.

    Raises:
        InputError: The batch is not a multiple of processes times micro-batches.
    """
    processes = process_count()
    size, remainder = divmod(batch_size, accumulation * processes)
    if remainder or not size:
        raise InputError(
            f"a batch of {batch_size} cannot be divided between {processes} processes "
            f"with {accumulation} gradient accumulation steps each: "
            f"batch_size must be a multiple of {accumulation * processes}"
        )
    first = process_rank() * accumulation
    return [slice(i * size, (i + 1) * size) for i in range(first, first + accumulation)]


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean of a tensor over all processes.

    Args:
        x: Of the same shape in every process.

    Returns:
        The same mean in every process.
    """
    if process_count() == 1:
        return x
    from accelerate.utils import reduce

    connect(x.device.type == "cpu")
    mean: Any = reduce(x, "mean")
    return mean


def from_first_process(value: float, device: torch.device) -> float:
    """The first process's value, so that all processes decide alike.

    Args:
        value: Of this process.
        device: On which processes exchange tensors.

    Returns:
        The same number in every process.
    """
    if process_count() == 1:
        return value
    from accelerate.utils import broadcast

    connect(device.type == "cpu")
    shared: Any = broadcast(torch.tensor(value, device=device))
    return float(shared)


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any of the processes.

    Args:
        flag: Of this process.
        device: On which processes exchange tensors.

    Returns:
        The same answer in every process.
    """
    return bool(mean_over_processes(torch.tensor(float(flag), device=device)) > 0)


@cache
def connect(cpu: bool) -> Any:
    """Connect the processes, once.

    Args:
        cpu: Over gloo instead of NCCL.

    Returns:
        accelerate's state of the process.
    """
    from accelerate import PartialState

    return PartialState(cpu=cpu)
