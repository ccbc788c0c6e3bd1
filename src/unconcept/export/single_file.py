"""An edit inside a checkpoint in Stable Diffusion's original layout."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..config.options import Output
from ..edits.edit import Edit
from ..errors import InputError
from ..io.weights import check_safetensors, open_safetensors, write_safetensors
from .metadata import OF_THE_BASE, ORIGINAL, kept_metadata, metadata
from .pipeline_folder import apply_delta, check_base
from .untouched import check_untouched

INPUT_BLOCKS = "model.diffusion_model.input_blocks."

AVERAGES = ("model_ema.", "ema.", "ema_model.")

LABEL_EMBEDDER = "model.diffusion_model.label_emb."  # Stable Diffusion XL has one


def to_checkpoint(edit: Edit, base: Path, output: Output, known: Mapping[str, Any]) -> Path:
    """Copy a single file, with an edit in its weights.

    All other tensors stay as they are, but for the moving averages of a training ("full EMA"
    files): a second, untouched copy of the U-Net, which some loaders prefer. diffusers' converter
    says which name is which. The file's statements on architecture and licence stay.

    Args:
        edit: Weight deltas of the U-Net.
        base: The user's own checkpoint.
        output: The file to write; force: replace it, and accept another base than the edit's.
        known: `base` of `export`.

    Returns:
        The file that was written.

    Raises:
        InputError: The base is not a Stable Diffusion checkpoint, or not the edit's.
    """
    out = output.out or Path()
    check_safetensors(base)
    if out.exists() and not output.force:
        raise InputError(f"{out} exists: choose another --out, or --force to replace it")
    if out.resolve() == base.resolve():
        raise InputError(f"{out} is the base model itself: choose another --out")
    tensors, header = open_safetensors(base)
    converted = diffusers_names(tensors, base)
    if not output.force:
        check_base(edit, base, {f"unet.{key}": tensor for key, tensor in converted.items()})
    original_names = {tensor.data_ptr(): name for name, tensor in tensors.items()}
    originals = {}
    for name, delta in edit.deltas.items():
        component, _, key = name.partition(".")
        if component != "unet" or key not in converted:
            raise InputError(
                f"{base} has no weight {name}: the edit was made for another architecture, or "
                "changes the text encoder"
            )
        original = original_names[converted[key].data_ptr()]
        originals[name] = tensors[original]
        tensors[original] = apply_delta(tensors[original], delta)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(AVERAGES)}
    check_untouched(tensors, originals, edit, out)
    new_header = kept_metadata(header)
    ours = {**metadata(edit, tensors, known), "modelspec.implementation": ORIGINAL}
    for key, value in ours.items():
        if key not in new_header or key not in OF_THE_BASE:
            new_header[key] = value
    return write_safetensors(tensors, out, new_header)


def diffusers_names(tensors: Mapping[str, Tensor], base: Path) -> dict[str, Tensor]:
    """The U-Net's tensors by diffusers' names, in the storage of the originals.

    Args:
        tensors: By their names in the original layout.
        base: The file, for the message.

    Returns:
        The same tensors.

    Raises:
        InputError: It is not a checkpoint in the original layout.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    if not any(block_number(name) for name in tensors if name.startswith(INPUT_BLOCKS)):
        raise InputError(f"{base} is not a Stable Diffusion checkpoint in the original layout")
    is_xl = any(name.startswith(LABEL_EMBEDDER) for name in tensors)
    shape = {
        "layers_per_block": unet_layers_per_block(tensors),
        "addition_embed_type": "text_time" if is_xl else None,
        "class_embed_type": None,
    }
    return convert_ldm_unet_checkpoint(dict(tensors), shape)


def block_number(name: str) -> int:
    """N of "model.diffusion_model.input_blocks.N.…".

    Args:
        name: Of a tensor of the U-Net's input blocks in a single-file checkpoint.
    """
    return int(name.split(".")[3])


def unet_layers_per_block(tensors: Mapping[str, Tensor]) -> int:
    """Residual blocks between two downsamplings: input_blocks.N.0.op is a downsampling.

    Args:
        tensors: By their names in the original layout.

    Returns:
        How many; 2 if the U-Net never downsamples.
    """
    downsamplings = []
    for name in tensors:
        if name.startswith(INPUT_BLOCKS) and name.endswith(".0.op.weight"):
            downsamplings.append(block_number(name))
    return min(downsamplings) - 1 if downsamplings else 2
