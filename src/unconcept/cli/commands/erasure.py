"""`unconcept erase`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...config.options import (
    EMBEDDED,
    HOW,
    WHAT,
    WHILE_IT_RUNS,
    Look,
    Output,
    Printout,
    Source,
    Training,
)
from ...config.ranges import whole_number
from ...errors import InputError
from ...io.text import visible
from ..input_checks import check_look
from ..loading_notice import loading
from .printing import print_result, wrapped
from .shared_options import (
    Debug,
    Extent,
    Images,
    LookOptions,
    OutputOptions,
    PrintoutOptions,
    Prompts,
    SourceOptions,
    To,
    TrainingOptions,
)


def erase(
    concepts: Annotated[
        tuple[str, ...],
        Parameter(
            group=WHAT,
            help='What to erase: "pig", or several with their alternatives: "pig=cow" "fox=wolf".',
        ),
    ] = (),
    /,
    *,
    to: To = None,
    keep: Annotated[
        tuple[str, ...],
        Parameter(group=WHAT, help="A word that must not change; may be given several times."),
    ] = (),
    synonym: Annotated[
        tuple[str, ...],
        Parameter(group=WHAT, help="Another word for the concept, erased along with it."),
    ] = (),
    config: Annotated[
        Path | None,
        Parameter(group=WHAT, help="YAML file of concepts and of the method's hyperparameters."),
    ] = None,
    method: Annotated[
        str | None,
        Parameter(
            group=HOW,
            help="The erasing method; unconcept show methods lists them (default: all-but-one).",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        Parameter(
            group=HOW,
            help="Hyperparameters for a model and a GPU: sdxl-12gb, sd3-24gb, ... "
            "(--preset list shows all), or authors: those of the method's own authors.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        Parameter(
            group=HOW,
            help="Seed of the training and of the images (default: 0).",
            converter=whole_number,
        ),
    ] = None,
    no_lexicon: Annotated[
        bool,
        Parameter(
            group=WHAT,
            help="Add no words to the concepts of your own model: no synonyms, neighbours or "
            "templates of the lexicon.",
        ),
    ] = False,
    strict: Annotated[
        bool, Parameter(group=HOW, help="Refuse a concept that the model cannot draw.")
    ] = False,
    source: SourceOptions = Source(),
    extent: Images = "short",
    evaluate: Annotated[Extent | None, Parameter(show=False)] = None,  # the old name of extent
    prompts: Prompts = None,
    look: LookOptions = Look(),
    training: TrainingOptions = Training(),
    dry_run: Annotated[
        bool,
        Parameter(
            group=WHILE_IT_RUNS,
            help="Print what would be done, and the memory and time it takes here; do nothing.",
        ),
    ] = False,
    debug: Debug = False,
    output: OutputOptions = Output(),
    printout: PrintoutOptions = Printout(),
) -> int:
    """Erase concepts, and show the same seeds before and after."""
    from ..method_settings import describe_presets
    from ..run_config import Request, plan

    if preset == "list":
        print("\n".join(describe_presets()))
        return 0
    check_look(look, prompts)
    training.check()
    request = Request(
        concepts=concepts,
        to=to,
        keep=keep,
        synonyms=synonym,
        method=method,
        preset=preset,
        config=config,
        model=source.model,
        seed=seed,
        out=output.out,
        force=None if dry_run else output.force,
    )
    with loading():
        job = plan(request)
    if no_lexicon and job.model in EMBEDDED:
        raise InputError(f"--no-lexicon is for your own model: {job.model} has its own words")
    source = replace(source, model=job.model)
    training = replace(training, quantize=training.quantize or job.quantize, fixed=job.fixed)
    extent = evaluate or extent
    if dry_run:
        with loading():
            from ...profiling.dry_run import describe_run
            from ..progress_bar import hide_other_bars

            hide_other_bars()
        print(visible(job.describe(), keep="\n"))
        for line in describe_run(source, job.method, job.concepts, training):
            print(wrapped(visible(line)))
        return 0
    with loading():
        from ...models.image_cache import cache_folder
        from ...profiling.stages import erasure_stages
        from ...workflows import erase as run
        from ..progress_bar import ProgressBar

    own_model = job.model not in EMBEDDED
    count = len(job.concepts)
    stages = erasure_stages(
        job.method, count, look.steps_for(source), extent, own_model, source.clips
    )
    with ProgressBar(stages) as bar:
        result = run(
            job.concepts,
            model=source,
            method=job.method,
            out=job.out,
            seed=job.seed,
            extent=extent,
            prompts=prompts,
            look=look,
            strict=strict,
            lexicon=not no_lexicon,
            force=output.force,
            cache=cache_folder(),
            training=training,
            progress=bar,
        )
    return print_result(result, job.out, printout) if result else 0
