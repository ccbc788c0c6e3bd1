"""`unconcept generate`."""

from typing import Annotated, Literal

from cyclopts import Parameter

from ...config.options import HOW, OUTPUT, WHAT, Output, Source
from ...config.ranges import check_numbers, check_seeds, whole_number
from ...errors import InputError
from ...io.text import visible
from ..input_checks import check_edit, check_model, check_output, check_prompts
from ..loading_notice import loading
from .shared_options import Debug, EditPaths, OutputOptions, Seed, SourceOptions, Steps, Strength


def generate(
    prompts: Annotated[tuple[str, ...], Parameter(group=WHAT, help="One or more prompts.")],
    /,
    *,
    edit: EditPaths = (),
    strength: Strength = 1.0,
    compare: Annotated[
        bool,
        Parameter(group=HOW, help="Also sample the same seeds without the edit, side by side."),
    ] = False,
    images: Annotated[
        int, Parameter(group=HOW, help="Images per prompt.", converter=whole_number)
    ] = 4,
    steps: Steps = None,
    guidance: Annotated[
        float | None, Parameter(group=HOW, help="CFG scale (default: the model's).")
    ] = None,
    seed: Seed = 0,
    clip_format: Annotated[
        Literal["webp", "mp4"],
        Parameter(
            group=OUTPUT,
            help="File format of a text-to-video model's clips; mp4 needs the extra `video`.",
        ),
    ] = "webp",
    source: SourceOptions = Source(),
    debug: Debug = False,
    output: OutputOptions = Output(),
) -> int:
    """Sample images, with edits or without.

    --force also accepts edits that were made for another base model.
    """
    check_prompts(prompts)
    check_numbers(images=images, steps=steps, guidance=guidance, edit_strength=strength)
    check_seeds(seed, images)
    if compare and not edit:
        raise InputError("there is nothing to compare: name an edit, --edit FILE")
    for path in edit:
        check_edit(path, "--edit")
    check_model(source.model)
    check_output(output)
    with loading():
        from ...workflows import generate as run
        from ..progress_bar import ProgressBar

    with ProgressBar() as bar:
        path = run(
            prompts,
            model=source,
            edits=edit,
            strength=strength,
            compare=compare,
            out=output.folder("pictures"),
            seed=seed,
            images=images,
            clip_format=clip_format,
            steps=steps,
            guidance=guidance,
            force=output.force,
            progress=bar,
        )
    print(visible(path))
    return 0
