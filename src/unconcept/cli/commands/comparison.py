"""`unconcept compare`."""

import sys
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from ...config.options import HOW, OUTPUT, WHAT, Look, Output, Source
from ...io.text import visible
from ..input_checks import check_look, check_output
from ..loading_notice import loading
from .printing import print_json
from .shared_options import (
    Debug,
    Images,
    LookOptions,
    OutputOptions,
    Prompts,
    Seed,
    SourceOptions,
    To,
)


def compare(
    concepts: Annotated[
        tuple[str, ...],
        Parameter(
            group=WHAT, help='What to erase: "pig", or several with their alternatives: "pig=cow".'
        ),
    ],
    /,
    *,
    to: To = None,
    methods: Annotated[
        str,
        Parameter(
            group=HOW,
            help="Names of methods and YAML files of settings, with commas; all: every one.",
        ),
    ] = "all",
    seed: Seed = 0,
    source: SourceOptions = Source(),
    extent: Images = "short",
    prompts: Prompts = None,
    look: LookOptions = Look(),
    debug: Debug = False,
    output: OutputOptions = Output(),
    json: Annotated[
        bool,
        Parameter(group=OUTPUT, help="Print compare.json on stdout, and nothing else there."),
    ] = False,
) -> int:
    """Compare methods, or settings of one, on the same concept, prompts and seeds."""
    from ..run_config import Request, plan_methods

    check_look(look, prompts)
    check_output(output)
    request = Request(concepts, to, model=source.model, seed=seed, out=output.out)
    with loading():
        jobs = plan_methods(request, methods.split(","))
    with loading():
        from ...models.image_cache import cache_folder
        from ...profiling.stages import comparison_stages
        from ...reporting.comparison_summary import comparison_lines
        from ...reporting.report import markdown
        from ...workflows import compare as run
        from ...workflows.comparison_folder import table
        from ..progress_bar import ProgressBar

    first = next(iter(jobs.values()))
    chosen = {name: job.method for name, job in jobs.items()}
    count = len(first.concepts)
    stages = comparison_stages(chosen, count, look.steps_for(source), extent, source.clips)
    with ProgressBar(stages) as bar:
        result = run(
            first.concepts,
            chosen,
            model=replace(source, model=first.model),
            out=first.out,
            seed=seed,
            extent=extent,
            prompts=prompts,
            look=look,
            force=output.force,
            cache=cache_folder(),
            progress=bar,
        )
    if json:
        print_json(result)
        return 0
    if sys.stdout.isatty():
        for line in comparison_lines(result):
            print(visible(line))
        print()
    else:
        print(visible(markdown(*table(result)), keep="\n"))
    print(visible(first.out / "compare.html"))
    return 0
