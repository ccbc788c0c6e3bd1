"""What a run costs: network calls and memory."""

import contextlib
import platform
import resource
from collections.abc import Iterator

from .models.base import Model


@contextlib.contextmanager
def counted(net: Model) -> Iterator[dict[str, int]]:
    """Counts the pictures that go forward through the denoiser meanwhile, under "n"."""
    calls = {"n": 0}

    def hook(module, args, output) -> None:
        calls["n"] += len(args[0])

    handle = net.denoiser.register_forward_hook(hook)
    try:
        yield calls
    finally:
        handle.remove()


def peak_memory() -> int:
    """The most that this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
