"""`unconcept evaluate`."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ...concepts.concept import Concept
from ...concepts.contradictions import check_distinct
from ...config.options import HOW, WHAT, Look, Output, Printout, Source
from ...config.ranges import check_numbers
from ...errors import InputError
from ..input_checks import (
    check_concepts,
    check_edit,
    check_file,
    check_look,
    check_model,
    check_output,
    check_path,
)
from ..loading_notice import loading
from .printing import print_result
from .shared_options import (
    Debug,
    Images,
    LookOptions,
    OutputOptions,
    PrintoutOptions,
    Prompts,
    Seed,
    SourceOptions,
    Strength,
)


def evaluate(
    concepts: Annotated[
        tuple[str, ...],
        Parameter(group=WHAT, help="What is erased, if the edit does not say so: pig=cow."),
    ] = (),
    /,
    *,
    edit: Annotated[
        Path,
        Parameter(
            group=WHAT,
            help="File or folder of an edit; or of any tool a LoRA (diffusers, PEFT, kohya), "
            "changed weights, or the folder or single file of an erased model.",
        ),
    ],
    strength: Strength = 1.0,
    protocol: Annotated[
        Literal["default", "eraseeval"],
        Parameter(
            group=HOW,
            help="default: every measure of this package; eraseeval: M1 to M4 of EraseEval, with "
            "--prompts as a JSON file of explicit and implicit prompts.",
        ),
    ] = "default",
    plugs: Annotated[
        Path | None,
        Parameter(
            group=HOW,
            help="For eraseeval: YAML file that names folders of large models (writer, captioner, "
            "eyes, embedder, features) to ask instead of the judge.",
        ),
    ] = None,
    seed: Seed = 0,
    source: SourceOptions = Source(),
    extent: Images = "full",
    prompts: Prompts = None,
    look: LookOptions = Look(),
    debug: Debug = False,
    output: OutputOptions = Output(),
    printout: PrintoutOptions = Printout(),
) -> int:
    """Measure an edit: the same seeds before and after, with controls.

    Images that an earlier run sampled are not sampled again. --force also accepts an edit that was
    made for another base model.
    """
    names = [Concept.parse(name) for name in concepts]
    check_distinct(names)
    check_look(look, prompts if protocol == "default" else None)
    if protocol == "eraseeval":
        check_path(prompts, "--prompts")
        if extent == "none":
            raise InputError("--protocol eraseeval needs images: --extent short or full")
    elif plugs is not None:
        raise InputError("--plugs is for --protocol eraseeval")
    check_file(plugs, "--plugs")
    check_numbers(seed=seed, edit_strength=strength)
    check_edit(edit, "--edit", of_any_tool=True)
    check_model(source.model)
    check_output(output)
    check_concepts(names, source.model)
    with loading():
        from ...models.image_cache import cache_folder
        from ...profiling.stages import evaluation_stages
        from ...workflows import eraseeval_edit, evaluate_edit
        from ..progress_bar import ProgressBar

    out = output.folder("evaluation")
    plan = ()
    if protocol == "default":
        plan = evaluation_stages(look.steps_for(source), extent, source.clips)
    with ProgressBar(plan) as bar:
        measure = evaluate_edit if protocol == "default" else partial(eraseeval_edit, plugs=plugs)
        result = measure(
            edit,
            names,
            strength,
            model=source,
            out=out,
            seed=seed,
            extent=extent,
            prompts=prompts,
            look=look,
            force=output.force,
            cache=cache_folder(),
            progress=bar,
        )
    if protocol == "eraseeval" and not printout.json:
        from ...reporting.terminal import print_eraseeval

        print_eraseeval(result, out)
        return 0
    return print_result(result, out, printout)
