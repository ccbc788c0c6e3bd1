"""Reading weights from disk: safetensors only, and one clear line for whatever else is offered."""

import json
import struct
from pathlib import Path

from torch import Tensor

from .errors import InputError

PICKLES = (".ckpt", ".bin", ".pt", ".pth", ".pkl")


def open_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a file, read into memory."""
    from safetensors import safe_open

    check_safetensors(path)
    with safe_open(path, "pt") as f:
        return {name: f.get_tensor(name) for name in f.keys()}, f.metadata() or {}  # noqa: SIM118  (no mapping)


def check_safetensors(path: Path) -> None:
    """Is `path` a whole .safetensors file? Its header must fit the file: a cut download is found before anything is built."""
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.suffix in PICKLES:
        raise InputError(
            f"{path.name} is a pickle, which can run code when it is opened: it is not read. "
            "Convert it to .safetensors first (for example with safetensors' own conversion tool), in a place you can throw away"
        )
    if path.suffix != ".safetensors":
        raise InputError(f"{path.name} is no .safetensors file")
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if 8 + length > size:
            raise InputError(f"{path} is cut short or corrupt: download it again")
        try:
            entries = json.loads(f.read(length))
            end = max((e["data_offsets"][1] for name, e in entries.items() if name != "__metadata__"), default=0)
        except (ValueError, TypeError, KeyError):
            raise InputError(f"{path} is cut short or corrupt: download it again") from None
    if 8 + length + end != size:
        raise InputError(f"{path} is cut short or corrupt: download it again")
