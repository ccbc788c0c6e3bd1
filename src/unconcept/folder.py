"""The folder that a run leaves behind: whole or not at all, and never over something that was there."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError


def check_out(out: Path, force: bool) -> None:
    """Can `out` be written? Asked before the work begins."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another --out")
    if out.exists() and any(out.iterdir()) and not force:
        raise InputError(f"{out} exists: choose another --out, or --force to replace it")
    parent = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not os.access(parent, os.W_OK):
        raise InputError(f"{parent} cannot be written to: choose another --out")


@contextlib.contextmanager
def whole_folder(out: Path, force: bool) -> Iterator[Path]:
    """A folder to fill that takes the place of `out` when it is whole, and vanishes if anything goes wrong."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        part.chmod(0o755)
        yield part
        if out.exists():
            shutil.rmtree(out) if force or not any(out.iterdir()) else check_out(out, force)
        part.rename(out)
    except OSError as error:
        raise InputError(f"{out} could not be written: {error.strerror or error}; nothing was left behind") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
