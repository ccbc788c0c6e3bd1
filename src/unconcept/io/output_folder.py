"""The folder that a run writes: complete or not at all, and never over anything else."""

import contextlib
import ctypes
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

# Every folder that a run writes holds one of these.
RUN_FILES = ("report.json", "compare.json", "purify.json", "prompts.txt", "unconcept.json")

AT_FDCWD = -100  # paths are relative to the working directory (Linux)

RENAME_EXCHANGE, RENAME_SWAP = 2, 2  # flags of renameat2 and renamex_np


def check_out(out: Path, force: bool) -> None:
    """Check before the work begins that a folder can be written.

    Args:
        out: The folder.
        force: Replace what an earlier run wrote there, and nothing else.

    Raises:
        InputError: It exists or cannot be written.
    """
    try:
        _check_out(out, force)
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise InputError(
            f"{out} cannot be written to: {error.strerror or error}; choose another --out"
        ) from error


def _check_out(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another --out")
    if out.exists() and any(out.iterdir()):
        if not force:
            raise InputError(f"{out} exists: choose another --out, or --force to replace it")
        if not any((out / name).exists() for name in RUN_FILES):
            raise InputError(
                f"{out} holds something else than a run's results, which --force does not replace: "
                "choose another --out"
            )
    ancestors = (out.absolute(), *out.absolute().parents)
    existing = next(folder for folder in ancestors if folder.exists())
    if not os.access(existing, os.W_OK):
        raise InputError(f"{existing} cannot be written to: choose another --out")


@contextlib.contextmanager
def whole_folder(out: Path, force: bool) -> Iterator[Path]:
    """Fill a folder that replaces `out` when it is complete, and disappears if anything fails.

    What a killed process left half-filled is removed by the next one that writes `out`.

    Args:
        out: The folder to write.
        force: Replace what an earlier run wrote there.

    Yields:
        A temporary folder beside `out`, to be filled inside the `with`.

    Raises:
        InputError: The folder exists or could not be written; `out` is unchanged then.
    """
    part = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for folder in abandoned_folders(out):
            shutil.rmtree(folder, ignore_errors=True)
        prefix = f"{temporary_prefix(out)}{os.getpid()}."
        part = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
        part.chmod(0o755)
        yield part
        check_out(out, force)
        if out.exists():
            swap_folders(part, out)
        else:
            part.rename(out)
    except OSError as error:
        raise InputError(
            f"{out} could not be written: {error.strerror or error}; nothing was left behind"
        ) from error
    finally:
        if part:
            shutil.rmtree(part, ignore_errors=True)


def temporary_prefix(out: Path) -> str:
    """How this machine's temporary folders for `out` begin; the process id follows."""
    return f".{out.name}.{platform.node()}."


def abandoned_folders(out: Path) -> list[Path]:
    """Temporary folders for `out` of processes of this machine that no longer run.

    Args:
        out: The folder to write.
    """
    import psutil

    prefix = temporary_prefix(out)
    abandoned = []
    for folder in out.parent.iterdir():
        if not folder.name.startswith(prefix) or folder.suffix == ".old":
            continue
        process = folder.name.removeprefix(prefix).partition(".")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            abandoned.append(folder)
    return abandoned


def swap_folders(one: Path, other: Path) -> None:
    """Exchange the names of two folders.

    In one step if the system can; otherwise `other` is missing for an instant.

    Args:
        one: A folder.
        other: Another folder on the same disk.

    Raises:
        OSError: They cannot be renamed; both are what they were.
    """
    if exchange_atomically(one, other):
        return
    old = one.with_name(f"{one.name}.old")
    other.rename(old)
    try:
        one.rename(other)
    except OSError:
        old.rename(other)
        raise
    old.rename(one)


def exchange_atomically(one: Path, other: Path) -> bool:
    """Exchange two names with the system call for it, which Python does not offer.

    Args:
        one: A folder.
        other: Another folder on the same disk.

    Returns:
        Whether it worked: Linux has renameat2, macOS renamex_np, and not every disk supports them.
    """
    first, second = os.fsencode(one.absolute()), os.fsencode(other.absolute())
    library = ctypes.CDLL(None) if sys.platform != "win32" else None
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        return library.renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE) == 0
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return library.renamex_np(first, second, RENAME_SWAP) == 0
    return False
