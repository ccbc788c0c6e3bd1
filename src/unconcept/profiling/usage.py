"""What a run costs, measured: network calls and memory."""

import contextlib
import functools
import gc
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch

from ..edits.edit import Edit
from ..models.interface import Model, Sampling


@contextlib.contextmanager
def count_calls(model: Model) -> Iterator[dict[str, int]]:
    """Count the images that go forward through the denoisers, adapters' own passes included.

    Args:
        model: The model to watch.

    Yields:
        A dict whose "n" is the count so far.
    """
    calls = {"n": 0}
    with contextlib.ExitStack() as stack:
        for name in model.denoiser_names:
            stack.enter_context(count_forward(model.components[name], calls))
        yield calls


@contextlib.contextmanager
def count_forward(denoiser: Any, calls: dict[str, int]) -> Iterator[None]:
    """Count the rows that go forward through one network.

    Args:
        denoiser: The network to watch.
        calls: Its "n" is raised by the number of rows of each call.
    """
    replaced, forward = vars(denoiser).get("forward"), denoiser.forward

    @functools.wraps(forward)
    def counted(*args, **kwargs):
        output = forward(*args, **kwargs)
        calls["n"] += len(output[0])
        return output

    denoiser.forward = counted
    try:
        yield
    finally:
        del denoiser.forward
        if replaced is not None:
            denoiser.forward = replaced


def calls_per_image(model: Model, edit: Edit, sampling: Sampling) -> int:
    """Count the network calls that one image takes with an edit.

    Args:
        model: The model.
        edit: Put on it meanwhile.
        sampling: How the image is sampled.

    Returns:
        The sampling steps times the calls of the sampler's first step.
    """
    with edit.on(model), count_calls(model) as calls:
        walk = model.trajectory(["a picture"], [0], sampling)
        next(walk)
        next(walk)
    return sampling.resolve(model).steps * calls["n"]


def free_memory(device: torch.device) -> int | None:
    """Free memory of a device.

    Args:
        device: A GPU or the CPU.

    Returns:
        Bytes; None if the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available if device.type == "cpu" else None


def reset_peak_memory() -> None:
    """Begin `peak_memory` anew, at what is held now.

    It takes a GPU or Linux; elsewhere the peak stays the process's maximum so far.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """The most memory held since the process began, or since `reset_peak_memory`.

    Returns:
        Bytes: of GPU memory if a GPU is in use, else of CPU memory.
    """
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        match = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        if match:
            return int(match[1]) * 1024
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
