"""What a safetensors file of another tool holds, told by the names of its tensors."""

from collections.abc import Sequence
from pathlib import Path

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
