"""What a run costs: network calls and memory."""

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
def count_calls(net: Model) -> Iterator[dict[str, int]]:
    """Counts the pictures that go forward through the denoiser meanwhile, under "n"; also where an adapter behind it asks it again."""
    denoiser: Any = net.denoiser
    calls, own, forward = {"n": 0}, vars(denoiser).get("forward"), denoiser.forward

    @functools.wraps(forward)
    def watched(*given, **named):
        output = forward(*given, **named)
        calls["n"] += len(output[0])
        return output

    denoiser.forward = watched
    try:
        yield calls
    finally:
        del denoiser.forward
        if own is not None:
            denoiser.forward = own


def calls_per_image(net: Model, edit: Edit, *, steps: int, guidance: float) -> int:
    """Network calls that one picture takes with the edit on: `steps` times those of the sampler's first step."""
    with edit.on(net), count_calls(net) as calls:
        walk = net.trajectory(["a picture"], [0], Sampling(steps, guidance))
        next(walk)
        next(walk)
    return steps * calls["n"]


def reset_peak_memory() -> None:
    """Begin `peak_memory` anew, at what is held now. It takes a card or Linux: elsewhere it stays the process's maximum so far."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """The most held since the process began, or since `forget_peak`, in bytes: of the card's memory where one is in use, else of the host's."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)):
        return int(found[1]) * 1024
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
