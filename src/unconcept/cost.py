"""What a run costs: network calls and memory."""

import contextlib
import platform
from collections.abc import Iterator

import torch

from .models.base import Model


@contextlib.contextmanager
def counted(net: Model) -> Iterator[dict[str, int]]:
    """Counts the pictures that go forward through the denoiser meanwhile, under "n"."""
    calls = {"n": 0}

    def hook(module, given, output) -> None:
        calls["n"] += len(output[0])  # some denoisers are given everything by keyword

    handle = net.denoiser.register_forward_hook(hook)
    try:
        yield calls
    finally:
        handle.remove()


def peak_memory() -> int:
    """The most that this process ever held, in bytes: of the graphics card's memory where there is one, else of the host's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
