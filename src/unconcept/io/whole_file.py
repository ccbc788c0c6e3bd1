"""A file that is written completely or not at all, whatever ends the process that writes it."""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError, RunError, UnconceptError

SUFFIX = ".part"

# What the system answers to a path that cannot be right; all else, such as a full disk, is a
# failed run.
WRONG_PATHS = (
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.EROFS,
    errno.ELOOP,
)


# Files and folders that a signal did not keep from being complete.
finished: list[Path] = []


def writing_error(path: Path, error: Exception) -> UnconceptError:
    """The error of a file or folder that could not be written.

    Args:
        path: The file or folder.
        error: An OSError, or safetensors' own, which has the system's number in its text.

    Returns:
        An InputError (exit code 2) where the path is wrong; else, as where the disk is full, a
        RunError (exit code 1).
    """
    number, reason = getattr(error, "errno", None), getattr(error, "strerror", None)
    if in_text := re.search(r"\(os error ([0-9]+)\)", str(error)):
        number, reason = int(in_text[1]), os.strerror(int(in_text[1]))
    text = f"{path} could not be written: {reason or error}; nothing was left behind"
    return InputError(text) if number in WRONG_PATHS else RunError(text)


def flush_to_disk(file: Path) -> None:
    """Wait until the content of a file is on the disk, so that a power cut cannot lose it.

    Args:
        file: Complete.

    Raises:
        OSError: The disk did not take it.
    """
    with file.open("rb") as content:
        os.fsync(content.fileno())


@contextlib.contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Write a file under a temporary name that no other process uses.

    At the end of the `with` it gets its own name, and the permissions of other new files; if
    anything fails, a signal included, it is removed. What a killed process has left in the same
    folder is removed by the next one that writes there.

    Args:
        path: The file to write; its folder exists.
        durable: Wait until it is on the disk before it gets its name.

    Yields:
        The temporary file in the same folder, to be written inside the `with`.

    Raises:
        OSError: It could not be written.
    """
    remove_abandoned(path.parent)
    part = path.with_name(f".{os.getpid()}-{secrets.token_hex(6)}{SUFFIX}")
    begun = False
    try:
        part.touch(0o600, exist_ok=False)
        begun = True
        yield part
        if durable:
            flush_to_disk(part)
        part.chmod(0o666 & ~current_umask())
        part.replace(path)
    except BaseException:
        if begun and not part.exists():  # a signal came when it had its name already
            finished.append(path)
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
