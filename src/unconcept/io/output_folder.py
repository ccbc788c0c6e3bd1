"""The folder that a run leaves behind: whole or not at all, and never over something that was
there.
"""

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

OURS = (
    "report.json",
    "compare.json",
    "purify.json",
    "prompts.txt",
    "unconcept.json",
)  # one of them is in every folder that a run leaves


def check_out(out: Path, force: bool) -> None:
    """Can `out` be written? Asked before the work begins. With force it may replace what a run
    left there, and nothing else.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another --out")
    if out.exists() and any(out.iterdir()):
        if not force:
            raise InputError(f"{out} exists: choose another --out, or --force to replace it")
        if not any((out / name).exists() for name in OURS):
            raise InputError(
                f"{out} holds something else than a run's results, which --force does not replace: "
                "choose another --out"
            )
    parent = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not os.access(parent, os.W_OK):
        raise InputError(f"{parent} cannot be written to: choose another --out")


@contextlib.contextmanager
def whole_folder(out: Path, force: bool) -> Iterator[Path]:
    """A folder to fill that takes the place of `out` when it is whole, and vanishes if anything
    goes wrong; then `out` is what it was.

    What a process that was killed left half-filled is removed by the next that writes `out`.
    """
    part = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in abandoned_folders(out):
            shutil.rmtree(left, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix=f"{hidden_name(out)}{os.getpid()}.", dir=out.parent))
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


def hidden_name(out: Path) -> str:
    """What the names of folders begin with that this machine fills for `out`; the process's number
    follows.
    """
    return f".{out.name}.{platform.node()}."


def abandoned_folders(out: Path) -> list[Path]:
    """Folders that were being filled for `out` by processes of this machine that are no more."""
    import psutil

    number = lambda folder: folder.name.removeprefix(hidden_name(out)).partition(".")[0]
    found = [
        folder
        for folder in out.parent.iterdir()
        if folder.name.startswith(hidden_name(out)) and folder.suffix != ".old"
    ]
    return [
        folder
        for folder in found
        if number(folder).isdigit() and not psutil.pid_exists(int(number(folder)))
    ]


def swap_folders(one: Path, other: Path) -> None:
    """Each gets the other's name. In one step where the system can, else there is an instant
    without `other`.
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
    """The system's own exchange of two names, which Python does not offer: renameat2 of Linux,
    renamex_np of macOS. Not on every disk.
    """
    names, here = (os.fsencode(one.absolute()), os.fsencode(other.absolute())), -100  # AT_FDCWD
    if sys.platform == "linux":
        call, arguments = "renameat2", (here, names[0], here, names[1], 2)  # RENAME_EXCHANGE
    elif sys.platform == "darwin":
        call, arguments = "renamex_np", (*names, 2)  # RENAME_SWAP
    else:
        return False
    function = getattr(ctypes.CDLL(None), call, None)
    return function is not None and function(*arguments) == 0
