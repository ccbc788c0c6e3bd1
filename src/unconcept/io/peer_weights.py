"""What a safetensors file of another tool holds, told by the names of its tensors."""

import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

MOST_HEADER_BYTES = 100_000_000  # safetensors' own limit

LORA_SIGNS = ("lora_down", "lora_up", "lora_A", "lora_B", "lora_unet_", "lora.up", "lora.down")

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
        return "a LoRA"
    if any(name.startswith("first_stage_model.") for name in names):
        return "a whole model in one file"
    if any(sign in name for name in names for sign in DENOISER_SIGNS):
        return "changed weights of a denoiser, as ESD and UCE write them"
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
    steps = {
        "a LoRA": "pipe.load_lora_weights(file); pipe.fuse_lora(); pipe.unload_lora_weights()",
        "a whole model in one file": "pipe = StableDiffusionPipeline.from_single_file(file)",
    }
    loading = steps.get(
        kind, "pipe.unet.load_state_dict(weights, strict=False), names without a leading unet."
    )
    return (
        f"{file} holds weights, but it is not an edit of unconcept: it is {kind}. To evaluate it, "
        f"put it into a diffusers pipeline and save that as a folder ({loading}; "
        'pipe.save_pretrained("erased")): unconcept evaluate CONCEPT --edit erased'
    )


def check_own_edit(path: Path) -> None:
    """Refuse weights of another tool in place of an edit.

    Anything but a readable safetensors file is left to what opens it.

    Args:
        path: The file or folder of an edit.

    Raises:
        InputError: It is a safetensors file of other weights; the error says what they are, and
            how they can be evaluated.
    """
    if path.is_dir() and (path / "adapter_model.safetensors").is_file():
        path = path / "adapter_model.safetensors"
    if path.suffix != ".safetensors" or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= MOST_HEADER_BYTES else None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        return
    if isinstance(header, dict):
        metadata = header.pop("__metadata__", None) or {}
        if "unconcept" not in metadata:
            raise InputError(explain_weights(path, list(header)))
