"""The folder that a run writes: complete or not at all, and never over anything else."""

import contextlib
import ctypes
import hashlib
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from .whole_file import finished, flush_to_disk, writing_error

# Every folder that a run writes holds one of these.
RUN_FILES = ("report.json", "compare.json", "purify.json", "prompts.txt", "unconcept.json")

LONGEST_NAME = 255  # bytes, on all common disks

AT_FDCWD = -100  # paths are relative to the working directory (Linux)

RENAME_EXCHANGE, RENAME_SWAP = 2, 2  # flags of renameat2 and renamex_np


def check_out(out: Path, force: bool) -> None:
    """Check before the work begins that a folder can be written.

    Args:
        out: The folder.
        force: Replace the output of an earlier run; anything else stays.

    Raises:
        InputError: It exists or cannot be written.
    """
    try:
        length = len(os.fsencode(out.name))
    except UnicodeEncodeError:
        raise InputError(
            f"{out!r} is not a name that this disk can hold: choose another --out"
        ) from None
    if length > LONGEST_NAME:
        raise InputError(
            f"the name {out.name[:20]}… is {length} bytes long, above {LONGEST_NAME}: "
            "choose another --out"
        )
    try:
        if out.is_symlink():
            raise InputError(f"{out} is a link: give --out the folder that it names")
        check_place(out, force)
    except OSError as error:  # a folder that may not be read
        raise InputError(
            f"{out} cannot be written to: {error.strerror or error}; choose another --out"
        ) from error


def check_place(out: Path, force: bool) -> None:
    """Check what is where a folder is to be written.

    Args:
        out: The folder.
        force: Replace the output of an earlier run; anything else stays.

    Raises:
        InputError: Something else is there, or nothing can be written.
        OSError: It cannot be read.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another --out")
    if out.exists() and Path.cwd().is_relative_to(out.resolve()):
        raise InputError(f"{out} is the working directory or holds it: choose another --out")
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
        InputError: The folder exists, or its path is wrong; `out` is unchanged then.
        RunError: It could not be written, for example because the disk is full; likewise.
    """
    part, parent, inode = None, first_missing(out.parent), None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for folder in abandoned_folders(out):
            shutil.rmtree(folder, ignore_errors=True)
        token = f"{os.getpid()}.{secrets.token_hex(6)}"
        part = out.with_name(f"{temporary_prefix(out)}{token}")
        part.mkdir()
        inode = part.stat().st_ino
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                flush_to_disk(file)
        check_out(out, force)
        if out.exists():
            swap_folders(part, out)
        else:
            part.rename(out)
    except OSError as error:
        raise writing_error(out, error) from error
    except BaseException:
        if inode and out.exists() and out.stat().st_ino == inode:  # a signal came afterwards
            finished.append(out)
        raise
    finally:
        if part:
            shutil.rmtree(part, ignore_errors=True)
        if parent and not out.exists():
            remove_empty(out.parent, parent)


def first_missing(folder: Path) -> Path | None:
    """The outermost folder that must be made for `folder` to exist; None where it exists.

    Args:
        folder: Any.
    """
    missing = None
    for place in (folder, *folder.parents):
        if place.exists():
            break
        missing = place
    return missing


def remove_empty(folder: Path, last: Path) -> None:
    """Remove folders that a failed run made, as long as they are empty.

    Args:
        folder: The innermost.
        last: The outermost.
    """
    with contextlib.suppress(OSError):
        for place in (folder, *folder.parents):
            place.rmdir()
            if place == last:
                break


def temporary_prefix(out: Path) -> str:
    """How this machine's temporary folders for `out` begin; the process id follows.

    Args:
        out: The output folder; its name and the machine's are hashed.
    """
    digest = hashlib.sha256(f"{out.name} {platform.node()}".encode(errors="surrogateescape"))
    return f".unconcept-{digest.hexdigest()[:12]}."


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
    except BaseException:
        old.rename(other)
        raise
    try:
        old.rename(one)
    except OSError:  # the new folder has its name: what it replaces is not needed
        shutil.rmtree(old, ignore_errors=True)


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
