"""Weights on disk: safetensors only, with one clear error for anything else.

Files are written completely or not at all.
"""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError
from .whole_file import whole_file, writing_error

log = logging.getLogger(__name__)

PICKLES = (".ckpt", ".bin", ".pt", ".pth", ".pkl")


def user_cache() -> Path:
    """$UNCONCEPT_CACHE, or a folder where the system keeps caches of its users.

    $XDG_CACHE_HOME/unconcept or ~/.cache/unconcept on Linux, ~/Library/Caches/unconcept on macOS,
    %LOCALAPPDATA%\\unconcept\\Cache on Windows.
    """
    if folder := os.environ.get("UNCONCEPT_CACHE"):
        return Path(folder)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(local) / "unconcept" / "Cache"
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "unconcept"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "unconcept"
    return Path.home() / ".cache" / "unconcept"


def can_write(folder: Path) -> bool:
    """Can files be written into a folder, which is created if need be? If not, that is logged.

    Args:
        folder: Of a cache: without it a run is slower and gives the same.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        log.warning(
            "nothing is cached, and no training can be resumed: %s cannot be written (%s). "
            "UNCONCEPT_CACHE names another folder",
            folder,
            error.strerror or error,
        )
        return False


def open_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file into memory.

    Args:
        path: A .safetensors file.

    Returns:
        (tensors by name, metadata).

    Raises:
        InputError: It does not exist, or is not a complete safetensors file.
    """
    check_safetensors(path)
    with safe_open(path, "pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def names_in(path: Path) -> list[str]:
    """Names of the tensors in a file, without reading them.

    Args:
        path: A safetensors file.
    """
    with safe_open(path, "pt") as file:
        return list(file.keys())


def write_safetensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]
) -> Path:
    """Write a file completely or not at all; the same content gives the same bytes.

    Args:
        tensors: The tensors by name.
        path: The file to write. It is readable by everyone who may read other new files, whereas
            safetensors alone would restrict it to the owner.
        metadata: Strings by name.

    Returns:
        The path.

    Raises:
        InputError: It could not be written, because its path is wrong.
        RunError: It could not be written, for example because the disk is full.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            save_file(on_cpu, part, metadata=dict(metadata))
            sort_metadata(part)
    except (SafetensorError, OSError) as error:  # safetensors reports a full disk as its own error
        raise writing_error(path, error) from error
    return path


def sort_metadata(path: Path) -> None:
    """Sort the metadata in a file's header in place: safetensors writes it in random order.

    Args:
        path: A .safetensors file.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", None)
        if not metadata:
            return
        header = {"__metadata__": dict(sorted(metadata.items())), **header}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:  # the header keeps its length, padded with spaces
            file.seek(8)
            file.write(text.ljust(length))


def check_safetensors(path: Path) -> None:
    """Check that a file is a complete .safetensors file, without reading its tensors.

    The header must fit the file, so that an incomplete download is noticed before anything is
    built.

    Args:
        path: The file.

    Raises:
        InputError: It does not exist, is a pickle or another kind of file, or is corrupt.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path} is a link to {path.readlink()}, which does not exist")
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if not path.is_file():  # opening a named pipe would wait for ever
        raise InputError(f"{path} is not a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read: permission denied")
    if path.suffix in PICKLES:
        raise InputError(
            f"{path.name} is a pickle, which can run code when it is opened: it is not read. "
            "Convert it to .safetensors first (for example with safetensors' own conversion tool), "
            "in a place you can throw away"
        )
    if path.suffix != ".safetensors":
        raise InputError(f"{path.name} is not a .safetensors file")
    try:
        with safe_open(path, "pt"):  # compares the header with the file
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is cut short or corrupt: download it again ({error})") from None
