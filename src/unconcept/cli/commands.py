"""What the command line can do: a thin face. torch is imported only when a command runs."""

import json
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from ..attacks.catalogue import names_of
from ..concepts.concept import Concept
from ..concepts.words import check_distinct
from ..config.options import (
    EVALUATION_IMAGES,
    HOW,
    MODEL,
    OUTPUT,
    WHAT,
    WHILE_IT_RUNS,
    Look,
    Output,
    Precision,
    Printout,
    Source,
    Training,
)
from ..config.ranges import check_numbers, check_seeds, whole_number
from ..errors import InputError
from ..io.text import visible
from .input_checks import (
    EMBEDDED,
    check_concepts,
    check_edit,
    check_file,
    check_folder,
    check_judge,
    check_model,
    check_path,
    check_prompts,
)
from .loading_notice import loading


def wrapped(line: str) -> str:
    """A line of `--dry-run`, broken at 79 columns with an indent of 9 if stdout is a terminal.

    Args:
        line: Without line breaks.
    """
    if not sys.stdout.isatty():
        return line
    return "\n".join(textwrap.wrap(line, 79, subsequent_indent=" " * 9))


def default_in_help(value: Any) -> Any:
    """What `--help` shows as an option's default: nothing for switches that are off."""
    return None if value is False or value == () else value


app = App(
    name="unconcept",
    help="Cut one concept out of a text-to-image or text-to-video diffusion model, leave the rest "
    "as it was, and prove both.",
    suppress_keyboard_interrupt=False,  # main() has its own line for it
    default_parameter=Parameter(negative=(), show_default=default_in_help),
)

Extent = Literal["short", "full", "none"]

# Dataclasses whose fields are options of the command, each in its panel of the help.
SourceOptions = Annotated[Source, Parameter(name="*", group=MODEL)]
LookOptions = Annotated[Look, Parameter(name="*", group=EVALUATION_IMAGES)]
TrainingOptions = Annotated[Training, Parameter(name="*", group=WHILE_IT_RUNS)]
OutputOptions = Annotated[Output, Parameter(name="*", group=OUTPUT)]
PrintoutOptions = Annotated[Printout, Parameter(name="*", group=OUTPUT)]

To = Annotated[
    str | None, Parameter(group=WHAT, help="The alternative that is drawn instead, like cow.")
]
Prompts = Annotated[
    Path | None,
    Parameter(
        group=EVALUATION_IMAGES,
        help="CSV file of prompts of your own, with the columns prompt, seed, group.",
    ),
]
Images = Annotated[
    Extent,
    Parameter(
        group=EVALUATION_IMAGES,
        help="How many images are sampled before and after: short (dozens), full (a thousand), "
        "none.",
    ),
]
EditPaths = Annotated[
    tuple[Path, ...],
    Parameter(group=WHAT, help="File or folder of an edit; given several times, they add up."),
]
EditPath = Annotated[Path, Parameter(group=WHAT, help="File or folder of an edit.")]
Strength = Annotated[
    float,
    Parameter(group=HOW, help="How much of the edit is applied: 0 nothing, 1 all, above 1 more."),
]
Seed = Annotated[
    int, Parameter(group=HOW, help="First seed of the images.", converter=whole_number)
]
Steps = Annotated[
    int, Parameter(group=HOW, help="Sampling steps per image.", converter=whole_number)
]
Debug = Annotated[bool, Parameter(group=WHILE_IT_RUNS, help="Show the traceback of an error.")]


@app.command
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
    from .run_config import Request, describe_presets, plan

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
            from ..profiling.dry_run import describe_run
            from .progress_bar import hide_other_bars

            hide_other_bars()
        print(visible(job.describe(), keep="\n"))
        for line in describe_run(source, job.method, job.concepts, training):
            print(wrapped(visible(line)))
        return 0
    with loading():
        from ..models.image_cache import cache_folder
        from ..profiling.stages import erasure_stages
        from ..workflows import erase as run
        from .progress_bar import ProgressBar

    own_model = job.model not in EMBEDDED
    stages = erasure_stages(job.method, len(job.concepts), look.steps, extent, own_model)
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


@app.command
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
    check_numbers(seed=seed, edit_strength=strength)
    check_edit(edit, "--edit", of_any_tool=True)
    check_model(source.model)
    check_concepts(names, source.model)
    with loading():
        from ..models.image_cache import cache_folder
        from ..profiling.stages import evaluation_stages
        from ..workflows import eraseeval_edit, evaluate_edit
        from .progress_bar import ProgressBar

    out = output.out or Path("unconcept-out/evaluation")
    plan = evaluation_stages(look.steps, extent) if protocol == "default" else ()
    with ProgressBar(plan) as bar:
        measure = evaluate_edit if protocol == "default" else eraseeval_edit
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
        from ..reporting.terminal import print_eraseeval

        print_eraseeval(result, out)
        return 0
    return print_result(result, out, printout)


@app.command
def attack(
    concepts: Annotated[
        tuple[str, ...],
        Parameter(
            group=WHAT, help="What is attacked, if the edit does not name one concept: pig=cow."
        ),
    ] = (),
    /,
    *,
    edit: Annotated[
        Path,
        Parameter(
            group=WHAT,
            help="File or folder of an edit, or the folder of an erased pipeline, whoever made it.",
        ),
    ],
    attacks: Annotated[
        str,
        Parameter(
            group=HOW,
            help="quick (those that tell erasures apart), all, or names of attacks with commas.",
        ),
    ] = "quick",
    budget: Annotated[
        Literal["small", "paper"],
        Parameter(
            group=HOW,
            help="Length of the searches: small (minutes on the embedded model), or paper (the "
            "authors' own settings: hours on a GPU).",
        ),
    ] = "small",
    floor: Annotated[
        Path | None,
        Parameter(
            group=MODEL,
            help="Folder of a model that never knew the concept, as the floor of every attack "
            "(default: emoji-unaware in the user's cache, if it is there).",
        ),
    ] = None,
    images: Annotated[
        int,
        Parameter(
            group=EVALUATION_IMAGES,
            help="Images per attack and control.",
            converter=whole_number,
        ),
    ] = 24,
    steps: Annotated[
        int,
        Parameter(
            group=EVALUATION_IMAGES, help="Sampling steps per image.", converter=whole_number
        ),
    ] = 15,
    guidance: Annotated[
        float | None,
        Parameter(group=EVALUATION_IMAGES, help="CFG scale (default: the model's)."),
    ] = None,
    judge: Annotated[
        str | None,
        Parameter(
            group=EVALUATION_IMAGES,
            help="Who recognizes concepts in images of your own model, as for evaluate.",
        ),
    ] = None,
    seed: Seed = 0,
    source: SourceOptions = Source(),
    debug: Debug = False,
    output: OutputOptions = Output(),
    json: Annotated[
        bool,
        Parameter(group=OUTPUT, help="Print report.json on stdout, and nothing else there."),
    ] = False,
) -> int:
    """Attack an edit: what brings the concept back, between a floor and a ceiling.

    Every attack comes with its controls. What an interrupted run or an earlier one computed is
    read from the cache. --force also accepts an edit that was made for another base model.
    """
    names = [Concept.parse(name) for name in concepts]
    look = Look(judge=judge, steps=steps, guidance=guidance)
    check_distinct(names)
    check_look(look, None)
    check_numbers(seed=seed, images=images)
    names_of(attacks)
    check_edit(edit, "--edit")
    check_folder(floor, "--floor")
    check_model(source.model)
    check_concepts(names, source.model)
    from ..models.image_cache import cache_folder
    from ..reporting.terminal import print_attacks
    from ..workflows import attack_edit
    from .progress_bar import ProgressBar

    out = output.out or Path("unconcept-out/attacks")
    with ProgressBar() as bar:
        result = attack_edit(
            edit,
            names,
            model=source,
            out=out,
            attacks=attacks,
            budget=budget,
            images=images,
            floor=floor,
            seed=seed,
            look=look,
            force=output.force,
            cache=cache_folder(),
            progress=bar,
        )
    if json:
        print_json(result)
    else:
        print_attacks(result, out)
    return 0


@app.command
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
    from .run_config import Request, plan_methods

    check_look(look, prompts)
    request = Request(concepts, to, model=source.model, seed=seed, out=output.out)
    with loading():
        jobs = plan_methods(request, methods.split(","))
    with loading():
        from ..models.image_cache import cache_folder
        from ..profiling.stages import comparison_stages
        from ..reporting.comparison_summary import comparison_lines
        from ..reporting.report import markdown
        from ..workflows import compare as run
        from ..workflows.comparison import table
        from .progress_bar import ProgressBar

    first = next(iter(jobs.values()))
    chosen = {name: job.method for name, job in jobs.items()}
    stages = comparison_stages(chosen, len(first.concepts), look.steps, extent)
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


@app.command
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
    steps: Steps = 25,
    guidance: Annotated[
        float | None, Parameter(group=HOW, help="CFG scale (default: the model's).")
    ] = None,
    seed: Seed = 0,
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
    with loading():
        from ..workflows import generate as run
        from .progress_bar import ProgressBar

    with ProgressBar() as bar:
        path = run(
            prompts,
            model=source,
            edits=edit,
            strength=strength,
            compare=compare,
            out=output.out or Path("unconcept-out/pictures"),
            seed=seed,
            images=images,
            steps=steps,
            guidance=guidance,
            force=output.force,
            progress=bar,
        )
    print(visible(path))
    return 0


@app.command
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
    steps: Steps = 25,
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
    with loading():
        from ..workflows import purify_files as run
        from .progress_bar import ProgressBar

    with ProgressBar() as bar:
        path = run(
            images,
            edit=edit,
            model=source,
            out=output.out or Path("unconcept-out/purified"),
            caption=caption,
            strength=strength,
            steps=steps,
            guidance=guidance,
            force=output.force,
            progress=bar,
        )
    print(visible(path / "sheet.png"))
    return 0


@app.command
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
    from ..edits.edit import Edit
    from ..export.formats import export as write
    from ..export.hub import push as upload
    from ..export.lora import Adapter, check_smaller, describe_adapter
    from ..export.model_card import base_of, export_card

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


@app.command
def show(
    what: Annotated[
        str,
        Parameter(
            group=WHAT,
            help='An edit, a report or its folder, the name of a method, or "methods" for a list.',
        ),
    ],
    /,
    *,
    debug: Debug = False,
    full: Annotated[bool, Parameter(group=OUTPUT, help="Print every score of a report.")] = False,
) -> int:
    """Show an edit, a report (or its folder), what a method does, or the list of methods."""
    from .show import show as run

    run(what, full)
    return 0


def check_look(look: Look, prompts: Path | None) -> None:
    """Do the files and folders exist that evaluation images need, and are the numbers in range?"""
    check_file(prompts, "--prompts")
    check_folder(look.real, "--real")
    check_judge(look.judge)
    look.check()


def print_result(result: dict, out: Path, printout: Printout) -> int:
    """Print what a run found.

    Args:
        result: The content of report.json.
        out: The run's folder.
        printout: As JSON, in twenty lines, or in full.

    Returns:
        The exit code: 0, or 3 when the erasure did not work.
    """
    if printout.json:
        print_json(result)
    else:
        from ..reporting.terminal import print_report

        print_report(result, out, full=printout.full)
    return 3 if result["failure"] else 0


def print_json(content: dict) -> None:
    print(json.dumps(content, indent=1))
