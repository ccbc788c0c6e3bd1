"""A file that is written completely or not at all, whatever ends the process that writes it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".part"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name that no other process uses.

    At the end of the `with` it gets its own name, and the permissions of other new files; if
    anything fails, a signal included, it is removed. What a killed process has left in the same
    folder is removed by the next one that writes there.

    Args:
        path: The file to write; its folder exists.

    Yields:
        The temporary file in the same folder, to be written inside the `with`.

    Raises:
        OSError: It could not be written.
    """
    remove_abandoned(path.parent)
    descriptor, name = tempfile.mkstemp(SUFFIX, f".{os.getpid()}-", path.parent)
    os.close(descriptor)
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~current_umask())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files of processes that no longer run.

    Args:
        folder: Of temporary files of `whole_file`.
    """
    import psutil

    for part in folder.glob(f".*-*{SUFFIX}"):
        process = part.name[1:].partition("-")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            with contextlib.suppress(OSError):
                part.unlink()


def current_umask() -> int:
    """The permissions that new files of this process do not get."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
