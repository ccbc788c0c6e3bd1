"""What a safetensors file of another tool holds, told by the names of its tensors."""

import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

MOST_HEADER_BYTES = 100_000_000  # safetensors' own limit

LORA_SIGNS = ("lora_down", "lora_up", "lora_A", "lora_B", "lora_unet_", "lora.up", "lora.down")

A_LORA = "a LoRA"
CHANGED_WEIGHTS = "changed weights of a denoiser, as ESD and UCE write them"

PEER_EDITS = (A_LORA, CHANGED_WEIGHTS)  # that can be read as edits of a base model

DENOISER_SIGNS = (
    "unet.",
    "transformer.",
    "attn2.",
    "down_blocks.",
    "up_blocks.",
    "mid_block.",
    "transformer_blocks.",
    "model.diffusion_model.",
)


def kind_of_weights(names: Sequence[str]) -> str:
    """What tensors of these names are.

    Args:
        names: As in the file.

    Returns:
        "a LoRA", "a whole model in one file", "changed weights of a denoiser", or "weights".
    """
    if any(sign in name for name in names for sign in LORA_SIGNS):
        return A_LORA
    if any(name.startswith("first_stage_model.") for name in names):
        return "a whole model in one file"
    if any(sign in name for name in names for sign in DENOISER_SIGNS):
        return CHANGED_WEIGHTS
    return "weights"


def explain_weights(file: Path, names: Sequence[str]) -> str:
    """The line for a file of weights that is not an edit.

    Args:
        file: Its path.
        names: Of its tensors.

    Returns:
        What it is, and how it can be evaluated.
    """
    kind = kind_of_weights(names)
    line = f"{file} holds weights, but it is not an edit of unconcept: it is {kind}. "
    if kind in PEER_EDITS:
        return line + (
            "It can be evaluated: unconcept evaluate CONCEPT=ALTERNATIVE --edit FILE --model BASE"
        )
    loading = "pipe = StableDiffusionPipeline.from_single_file(file)"
    if kind == "weights":
        loading = "pipe.unet.load_state_dict(weights, strict=False), names without a leading unet."
    return line + (
        f"To evaluate it, put it into a diffusers pipeline and save that as a folder ({loading}; "
        'pipe.save_pretrained("erased")): unconcept evaluate CONCEPT --edit erased'
    )


def weights_file(path: Path) -> Path:
    """The file of weights that a path names: of PEFT's folder the one in it.

    Args:
        path: A file, or a folder of PEFT with adapter_model.safetensors.

    Returns:
        The file; any other path as it is, whether it exists or not.
    """
    inside = path / "adapter_model.safetensors"
    return inside if path.is_dir() and inside.is_file() else path


def read_names(path: Path) -> tuple[list[str], dict] | None:
    """Names of the tensors in a safetensors file, and its metadata.

    Args:
        path: A file.

    Returns:
        None for anything but a readable safetensors file, which is left to what opens it.

    Raises:
        InputError: The system cannot read it.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= MOST_HEADER_BYTES else None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict):
        return None
    metadata = header.pop("__metadata__", None)
    return list(header), metadata if isinstance(metadata, dict) else {}


def is_peer_edit(path: Path) -> bool:
    """Is this a LoRA, or changed weights of a denoiser, that can be read as an edit?

    Args:
        path: A file or folder.
    """
    content = read_names(weights_file(path))
    if content is None or "unconcept" in content[1]:
        return False
    return kind_of_weights(content[0]) in PEER_EDITS


def check_own_edit(path: Path) -> None:
    """Refuse weights of another tool in place of an edit.

    Args:
        path: The file or folder of an edit.

    Raises:
        InputError: It is a safetensors file of other weights; the error says what they are, and
            how they can be evaluated.
    """
    file = weights_file(path)
    content = read_names(file)
    if content is not None and "unconcept" not in content[1]:
        raise InputError(explain_weights(file, content[0]))
