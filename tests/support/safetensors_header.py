"""What stands in a file of tensors, besides them."""

import hashlib

from safetensors import safe_open


def metadata_of(file) -> dict[str, str]:
    with safe_open(file, "pt") as f:
        return f.metadata()


def behind_the_header(file) -> str:
    """sha256 of the tensors' bytes, as modelspec and kohya define it."""
    content = file.read_bytes()
    return hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
