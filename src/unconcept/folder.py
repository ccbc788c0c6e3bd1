"""The folder that a run leaves behind: whole or not at all, and never over something that was there."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

OURS = ("report.json", "compare.json", "purify.json", "prompts.txt", "unconcept.json")  # one of them is in every folder that a run leaves


def check_out(out: Path, force: bool) -> None:
    """Can `out` be written? Asked before the work begins. With force it may replace what a run left there, and nothing else."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another --out")
    if out.exists() and any(out.iterdir()):
        if not force:
            raise InputError(f"{out} exists: choose another --out, or --force to replace it")
        if not any((out / name).exists() for name in OURS):
            raise InputError(f"{out} holds something else than a run's results, which --force does not replace: choose another --out")
    parent = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not os.access(parent, os.W_OK):
        raise InputError(f"{parent} cannot be written to: choose another --out")


@contextlib.contextmanager
def whole_folder(out: Path, force: bool) -> Iterator[Path]:
    """A folder to fill that takes the place of `out` when it is whole, and vanishes if anything goes wrong; then `out` is what it was."""
    part = old = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        part.chmod(0o755)
        yield part
        check_out(out, force)
        if out.exists():
            old = part.with_name(f"{part.name}.old")
            out.rename(old)
        part.rename(out)
    except OSError as error:
        raise InputError(f"{out} could not be written: {error.strerror or error}; nothing was left behind") from error
    finally:
        if old and old.exists() and not out.exists():
            old.rename(out)
        for rest in (part, old):
            if rest:
                shutil.rmtree(rest, ignore_errors=True)
