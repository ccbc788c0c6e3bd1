"""Edits as files that other tools open.

A whole pipeline folder, a LoRA for diffusers or for ComfyUI and A1111, or a patched single file.
Only changed tensors can be written. Modules that an edit adds (erasers, a sparse autoencoder) are
code, which no such file can hold.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..config.options import Output
from ..config.ranges import check_numbers
from ..edits.edit import Edit
from ..errors import InputError
from ..io.weights import write_safetensors
from .lora import Adapter, split_by_file, to_kohya, to_lora
from .metadata import adapter_metadata, metadata
from .model_card import export_card
from .pipeline_folder import base_folder, to_pipeline
from .single_file import to_checkpoint

Form = Literal["pipeline", "lora", "kohya", "checkpoint"]

SINGLE_FILE_FAMILIES = (None, "stable-diffusion", "stable-diffusion-xl")


def export(
    edit: Edit,
    form: Form,
    out: Path | Output,
    *,
    model: str = "emoji",
    rank: int | Adapter | None = None,
    base: Mapping[str, Any] = {},
) -> Path:
    """Write an edit in a form that another tool reads.

    Args:
        edit: Weight deltas.
        form: "pipeline": the folder `model`, copied, with the changed weights replaced and a card
            that says so. "lora": diffusers' format (`pipe.load_lora_weights`), B A ≈ Δ by singular
            values; of a model with two denoisers two files, "NAME-high_noise" and
            "NAME-low_noise". "kohya": the same for ComfyUI and A1111 (Stable Diffusion and XL).
            "checkpoint": the single file `model` in Stable Diffusion's original layout, with the
            changed weights replaced.
        out: Where to write; as `Output` with `force`, which replaces what is there and accepts an
            edit of another model.
        model: The base model's folder or single file, for a pipeline or checkpoint.
        rank: Of a LoRA; as `Adapter` with the precision of the file. None: as high as the relative
            error of every matrix needs to be below 1e-3; for "kohya" Δ itself (their "diff" keys).
        base: What is known of the model that the edit was made for, by the fields of a Hub card
            (`base_of`); its licence goes into the file.

    Returns:
        The path that was written, of two files the first.

    Raises:
        InputError: The edit does not fit this form or base, or `out` exists.
    """
    adapter = rank if isinstance(rank, Adapter) else Adapter(rank)
    check_numbers(rank=adapter.rank)
    output = out if isinstance(out, Output) else Output(out)
    if output.out is None:
        raise InputError("export needs a path to write to")
    if edit.adapters:
        raise InputError("this edit holds modules, not weights: only unconcept can load it")
    if not edit.deltas:
        raise InputError("this edit changes nothing")
    edit.check_numbers()
    if form != "pipeline" and output.out.suffix != ".safetensors":
        name = output.out / form if output.out.is_dir() else output.out
        raise InputError(
            f"{output.out} does not end in .safetensors, by which other tools know such a file: "
            f"--out {name}.safetensors"
        )
    if form == "pipeline":
        return to_pipeline(edit, base_folder(model), output, export_card(edit.card, base, model))
    if form == "checkpoint":
        family = edit.card.get("family")
        if family not in SINGLE_FILE_FAMILIES:
            raise InputError(
                f"single files of {family} are not supported yet: export a pipeline or a lora"
            )
        return to_checkpoint(edit, Path(model), output, base)
    return to_adapter(edit, form, output, adapter, base)


def to_adapter(
    edit: Edit, form: Form, output: Output, adapter: Adapter, base: Mapping[str, Any]
) -> Path:
    """Write a LoRA or kohya file; of a model with two denoisers two LoRAs.

    Args:
        edit: Weight deltas.
        form: "lora" or "kohya".
        output: The file, and whether it may be replaced.
        adapter: Rank and precision.
        base: What is known of the base model, by the fields of a Hub card.

    Returns:
        The file, of two the first.

    Raises:
        InputError: A file exists, or cannot hold the edit.
    """
    out = output.out or Path()
    write = to_lora if form == "lora" else to_kohya
    parts = split_by_file(edit) if form == "lora" else {"": edit}
    files = {}
    for part, content in parts.items():
        file = out.with_stem(f"{out.stem}-{part}") if part else out
        if file.exists() and not output.force:
            raise InputError(f"{file} exists: choose another --out, or --force to replace it")
        dtype = adapter.torch_dtype(content)
        tensors = {name: t.to(dtype) for name, t in write(content, adapter.rank).items()}
        header = adapter_metadata(content, tensors, metadata(content, tensors, base))
        files[file] = (tensors, header)
    for file, (tensors, header) in files.items():
        write_safetensors(tensors, file, header)
    return next(iter(files))
