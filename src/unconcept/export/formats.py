"""Edits as files that other tools open: a whole pipeline folder, a LoRA for diffusers or for ComfyUI and A1111, or a patched single file.

Only changed tensors go this way. Modules that an edit puts behind others (erasers, a sparse autoencoder) are code, which no such file can hold.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..edits.edit import Edit
from ..errors import InputError
from ..io.weights import write_safetensors
from .lora import to_kohya, to_lora
from .metadata import adapter_metadata, metadata
from .model_card import export_card
from .pipeline_folder import base_folder, to_pipeline
from .single_file import to_checkpoint

Form = Literal["pipeline", "lora", "kohya", "checkpoint"]


def export(
    edit: Edit, form: Form, out: Path, *, model: str = "emoji", rank: int | None = None, error: float = 1e-3, force: bool = False,
    base: Mapping[str, Any] = {},
) -> Path:  # fmt: skip
    """Write `edit` in a form that another tool reads; returns the path.

    pipeline    the base folder `model`, copied, with the changed weights replaced and a card that says so
    lora        diffusers' format (`pipe.load_lora_weights`): B A ≈ Δ by singular values, of `rank`, or of as many as bring the relative error of
                every matrix below `error`
    kohya       the same for ComfyUI and A1111 (Stable Diffusion, XL); without a `rank`, Δ itself, exactly (their "diff" keys)
    checkpoint  the single file `model` (Stable Diffusion's original layout), with the changed weights replaced

    base: what is known of the model that the edit was made of, by the fields of a hub's card (`card.base_of`); its licence goes into the file.
    """
    if edit.adapters:
        raise InputError("this edit holds modules, not weights: only unconcept can load it")
    if not edit.deltas:
        raise InputError("this edit changes nothing")
    if form == "pipeline":
        return to_pipeline(edit, base_folder(model), out, force, export_card(edit.card, base, model))
    if form == "checkpoint":
        if (family := edit.card.get("family")) not in (None, "stable-diffusion", "stable-diffusion-xl"):
            raise InputError(f"single files of {family} are not written yet: export a pipeline or a lora")
        return to_checkpoint(edit, Path(model), out, force, base)
    if out.exists() and not force:
        raise InputError(f"{out} exists: choose another --out, or --force to replace it")
    tensors = to_lora(edit, rank, error) if form == "lora" else to_kohya(edit, rank, error)
    return write_safetensors(tensors, out, adapter_metadata(edit, tensors, metadata(edit, tensors, base)))
