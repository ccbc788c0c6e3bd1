"""`unconcept purify`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...config.options import HOW, WHAT, Output, Source
from ...config.ranges import check_numbers, whole_number
from ...io.text import visible
from ..input_checks import check_edit, check_file, check_model, check_output, check_prompts
from ..loading_notice import loading
from .shared_options import Debug, EditPath, OutputOptions, SourceOptions


def purify(
    images: Annotated[tuple[Path, ...], Parameter(group=WHAT, help="Image files.")],
    /,
    *,
    edit: EditPath,
    caption: Annotated[
        str | None,
        Parameter(
            group=WHAT, help="What the images show, as a prompt (default: the erased concept)."
        ),
    ] = None,
    strength: Annotated[
        float, Parameter(group=HOW, help="How far back towards noise, above 0 and at most 1.")
    ] = 1.0,
    steps: Annotated[
        int, Parameter(group=HOW, help="Sampling steps per image.", converter=whole_number)
    ] = 25,
    guidance: Annotated[
        float,
        Parameter(
            group=HOW,
            help="CFG scale of the way back: 1 reconstructs best, more steers more.",
        ),
    ] = 3.0,
    source: SourceOptions = Source(),
    debug: Debug = False,
    output: OutputOptions = Output(),
) -> int:
    """Take the concept out of existing images.

    Each image is center-cropped, inverted to noise by the original model, and sampled again by the
    erased one. --force also accepts an edit that was made for another base model.
    """
    check_numbers(steps=steps, guidance=guidance, strength=strength)
    for path in images:
        check_file(path, "the image")
    if caption is not None:
        check_prompts([caption])
    check_edit(edit, "--edit")
    check_model(source.model)
    check_output(output)
    with loading():
        from ...workflows import purify_files as run
        from ..progress_bar import ProgressBar

    with ProgressBar() as bar:
        path = run(
            images,
            edit=edit,
            model=source,
            out=output.folder("purified"),
            caption=caption,
            strength=strength,
            steps=steps,
            guidance=guidance,
            force=output.force,
            progress=bar,
        )
    print(visible(path / "sheet.png"))
    return 0
