"""An edit inside a checkpoint in the original layout."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..edits.edit import Edit
from ..errors import InputError
from ..io.weights import check_safetensors, open_safetensors, write_safetensors
from .metadata import OF_THE_BASE, ORIGINAL, kept_metadata, metadata
from .pipeline_folder import apply_delta, check_base


def to_checkpoint(edit: Edit, base: Path, out: Path, force: bool, known: Mapping[str, Any]) -> Path:
    """The user's own file in the original layout, all its other tensors as they are. Which name is which is asked of diffusers' converter.

    known: `base` of `export`. What the file says of its architecture and licence stays.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    check_safetensors(base)
    if out.exists() and not force:
        raise InputError(f"{out} exists: choose another --out, or --force to replace it")
    tensors, about = open_safetensors(base)
    layers = max((int(key.split(".")[3]) for key in tensors if key.startswith("model.diffusion_model.input_blocks.")), default=0)
    if not layers:
        raise InputError(f"{base} is no Stable Diffusion checkpoint in the original layout")
    xl = any(key.startswith("model.diffusion_model.label_emb.") for key in tensors)
    shape = {
        "layers_per_block": unet_layers_per_block(tensors),
        "addition_embed_type": "text_time" if xl else None,
        "class_embed_type": None,
    }
    converted = convert_ldm_unet_checkpoint(dict(tensors), shape)
    if not force:
        check_base(edit, base, {f"unet.{key}": t for key, t in converted.items()})
    by_storage = {t.data_ptr(): key for key, t in tensors.items()}
    for name, delta in edit.deltas.items():
        component, _, key = name.partition(".")
        if component != "unet" or key not in converted:
            raise InputError(f"{base} has no weight {name}: the edit was made for another architecture, or changes the text encoder")
        original = by_storage[converted[key].data_ptr()]
        tensors[original] = apply_delta(tensors[original], delta)
    kept = kept_metadata(about)
    new = {**metadata(edit, tensors, known), "modelspec.implementation": ORIGINAL}
    new = {key: said for key, said in new.items() if key not in kept or key not in OF_THE_BASE}
    return write_safetensors(tensors, out, {**kept, **new})


def unet_layers_per_block(tensors: Mapping[str, Tensor]) -> int:
    """Residual blocks between two downsamplings in the original layout: input_blocks.N.0.op is a downsampling."""
    downs = sorted(
        int(key.split(".")[3]) for key in tensors if key.startswith("model.diffusion_model.input_blocks.") and key.endswith(".0.op.weight")
    )
    return downs[0] - 1 if downs else 2
