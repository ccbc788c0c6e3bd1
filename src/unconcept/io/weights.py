"""Weights on disk: safetensors only, read with one clear line for whatever else is offered, and
written whole or not at all.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError

PICKLES = (".ckpt", ".bin", ".pt", ".pth", ".pkl")


def user_cache() -> Path:
    """$UNCONCEPT_CACHE, or the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("UNCONCEPT_CACHE") or Path(base) / "unconcept")


def open_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a file, read into memory."""
    check_safetensors(path)
    with safe_open(path, "pt") as f:
        names = f.keys()
        return {name: f.get_tensor(name) for name in names}, f.metadata() or {}


def names_in(path: Path) -> list[str]:
    """Of the tensors in a file; nothing else is read."""
    with safe_open(path, "pt") as f:
        return list(f.keys())


def write_safetensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]
) -> Path:
    """Whole or not at all, the same bytes for the same content, and readable by whoever may read
    other new files (safetensors alone would keep it to the owner)."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            part,
            metadata=dict(metadata),
        )
        check_offsets(part)
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    except (SafetensorError, OSError) as error:  # what fills up here is the disk
        with contextlib.suppress(OSError):
            part.unlink()
        raise InputError(f"{path} could not be written: {error}") from error
    return path


def check_offsets(path: Path) -> None:
    """Sort what a file says of itself: safetensors writes it in an order of chance."""
    with path.open("r+b") as f:
        length = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(length))
        if about := header.pop("__metadata__", None):
            header = {"__metadata__": dict(sorted(about.items())), **header}
            said = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
            if len(said) <= length:  # as long as it was, but for the spaces at the end
                f.seek(8)
                f.write(said.ljust(length))


def check_safetensors(path: Path) -> None:
    """Is `path` a whole .safetensors file? Its header must fit the file: a cut download is found
    before anything is built.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.suffix in PICKLES:
        raise InputError(
            f"{path.name} is a pickle, which can run code when it is opened: it is not read. "
            "Convert it to .safetensors first (for example with safetensors' own conversion tool), "
            "in a place you can throw away"
        )
    if path.suffix != ".safetensors":
        raise InputError(f"{path.name} is no .safetensors file")
    try:
        with safe_open(path, "pt"):  # reads the header, and whether it fits the file
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is cut short or corrupt: download it again ({error})") from None
