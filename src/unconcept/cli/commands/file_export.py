"""`unconcept export`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ...config.options import HOW, MODEL, OUTPUT, Output, Precision
from ...config.ranges import check_numbers, whole_number
from ...io.text import visible
from ..input_checks import check_edit, check_model
from .shared_options import Debug, EditPath, OutputOptions, Strength


def export(
    edit: EditPath,
    /,
    *,
    form: Annotated[
        Literal["pipeline", "lora", "kohya", "checkpoint"],
        Parameter(
            name="--as",
            group=HOW,
            help="A whole diffusers folder; a LoRA for diffusers; the same for ComfyUI and A1111; "
            "or your own single file with the weights replaced.",
        ),
    ],
    rank: Annotated[
        int | None,
        Parameter(
            group=HOW,
            help="Rank of a LoRA (default: what an error of 0.1 % needs; for kohya the change "
            "itself).",
            converter=whole_number,
        ),
    ] = None,
    dtype: Annotated[
        Precision | None,
        Parameter(
            group=HOW,
            help="Precision of a LoRA or kohya file (default: fp16, or bf16 where the model is).",
        ),
    ] = None,
    strength: Strength = 1.0,
    model: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="For a pipeline the base model's folder, for a checkpoint your own single file.",
        ),
    ] = "emoji",
    debug: Debug = False,
    output: OutputOptions = Output(),
    push: Annotated[
        str | None,
        Parameter(group=OUTPUT, help="Also upload it to this repository of the Hub (owner/name)."),
    ] = None,
) -> int:
    """Write an edit as a file that other tools open."""
    check_numbers(rank=rank, edit_strength=strength)
    check_edit(edit, "the edit")
    check_model(model)
    from ...edits.edit import Edit
    from ...export.formats import export as write
    from ...export.hub import push as upload
    from ...export.lora import Adapter, check_smaller, describe_adapter
    from ...export.model_card import base_of, export_card

    names = {"pipeline": "pipeline", "checkpoint": "checkpoint.safetensors"}
    default = Path("unconcept-out") / names.get(form, f"{form}.safetensors")
    output = replace(output, out=output.out or default)
    loaded, base = Edit.load(edit).scale(strength), base_of(edit)
    is_adapter = form in ("lora", "kohya")
    if is_adapter and (form == "lora" or rank) and loaded.deltas and not loaded.adapters:
        check_smaller(loaded, rank)
    written = write(loaded, form, output, model=model, rank=Adapter(rank, dtype), base=base)
    print(visible(written))
    if is_adapter:
        print(describe_adapter(loaded, written), file=sys.stderr)
    if push:
        print(visible(upload(written, push, export_card(loaded.card, base))))
    return 0
