"""What the command line can do: a thin face. torch is imported only when a command runs, so that --help answers at once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from ..config.options import Look, Source, Training

app = App(
    name="unconcept",
    help="Cut one concept out of a text-to-image diffusion model, leave the rest as it was, and prove both.",
    suppress_keyboard_interrupt=False,  # main() has its own line for it
)

Flag = Parameter(negative="")

Extent = Literal["short", "full", "none"]

FLAT = Parameter(name="*")  # a dataclass whose fields are options of the command


@app.command
def erase(
    concepts: Annotated[list[str], Parameter(help='What to erase: "pig", or several with their alternatives: "pig=cow" "fox=wolf".')] = [],  # noqa: B006
    *,
    to: Annotated[str | None, Parameter(help="What should come instead.")] = None,
    source: Annotated[Source, FLAT] = Source(),
    method: Annotated[str | None, Parameter(help="all-but-one, or another: unconcept show methods.")] = None,
    out: Annotated[Path | None, Parameter(help="The folder to write; default: unconcept-out/CONCEPT.")] = None,
    seed: Annotated[int | None, Parameter(help="Of the training and of the pictures; default: the config file's, or 0.")] = None,
    keep: Annotated[list[str], Parameter(help="What must not change; may be given several times.", negative="")] = [],  # noqa: B006
    synonym: Annotated[list[str], Parameter(help="Another word for the concept, erased along with it.", negative="")] = [],  # noqa: B006
    config: Annotated[Path | None, Parameter(help="A YAML file: concepts and settings of the method.")] = None,
    preset: Annotated[
        str | None,
        Parameter(help="Settings for a model and a card, for example sdxl-12gb or sd3-24gb; any other word lists them all."),
    ] = None,
    evaluate: Annotated[Extent, Parameter(help="How many pictures are looked at: a minute's worth, a thousand, or none.")] = "short",
    prompts: Annotated[Path | None, Parameter(help="Your own prompts besides: a CSV file with the columns prompt, seed, group.")] = None,
    look: Annotated[Look, FLAT] = Look(),
    training: Annotated[Training, FLAT] = Training(),
    dry_run: Annotated[bool, Parameter(help="Say what would be done, and what memory and time it takes here.", negative="")] = False,
    strict: Annotated[bool, Parameter(help="Refuse a concept that the model cannot draw.", negative="")] = False,
    force: Annotated[bool, Parameter(help="Replace an output folder that exists.", negative="")] = False,
    json: Annotated[bool, Parameter(help="Print report.json on stdout, and nothing else there.", negative="")] = False,
    debug: Annotated[bool, Parameter(help="Show the traceback of an error.", negative="")] = False,
) -> int:
    """Erase concepts, and show the same seeds before and after."""
    from .run_config import plan

    given: dict[str, Any] = dict(to=to, method=method, config=config, keep=keep, synonyms=synonym, seed=seed, out=out, preset=preset)
    job = plan(concepts, model=source.model, **given)
    training = replace(training, quantize=training.quantize or job.quantize)
    if dry_run:
        from ..profiling.dry_run import describe_run

        print("\n".join([job.describe(), *describe_run(replace(source, model=job.model), job.method, job.concepts, training.quantize)]))
        return 0
    from ..models.image_cache import cache_folder
    from ..workflows.erasure import erase as run
    from .progress_bar import ProgressBar

    with ProgressBar() as bar:
        result = run(
            job.concepts,
            model=replace(source, model=job.model),
            method=job.method,
            out=job.out,
            seed=job.seed,
            extent=evaluate,
            prompts=prompts,
            look=look,
            strict=strict,
            force=force,
            cache=cache_folder(),
            training=training,
            progress=bar,
        )
    return _tell(result, job.out, bar, json) if result else 0


@app.command
def evaluate(
    concepts: Annotated[list[str], Parameter(help="What is erased, where the edit does not say it: pig=cow.")] = [],  # noqa: B006
    *,
    edit: Annotated[Path, Parameter(help="An edit, or the folder of one, or an erased pipeline's folder, whoever made it.")],
    source: Annotated[Source, FLAT] = Source(),
    out: Annotated[Path, Parameter(help="The folder to write.")] = Path("unconcept-out/evaluation"),
    seed: int = 0,
    extent: Annotated[Extent, Parameter(help="How many pictures are looked at: a thousand, or a minute's worth.")] = "full",
    prompts: Annotated[Path | None, Parameter(help="Your own prompts besides: a CSV file with the columns prompt, seed, group.")] = None,
    look: Annotated[Look, FLAT] = Look(),
    force: Annotated[bool, Parameter(help="An edit of another base model, and an output folder that exists.", negative="")] = False,
    json: Annotated[bool, Parameter(help="Print report.json on stdout, and nothing else there.", negative="")] = False,
    debug: Annotated[bool, Flag] = False,
) -> int:
    """Measure an edit: the same seeds before and after, with controls. Pictures made before are not made again."""
    from ..concepts.concept import Concept
    from ..models.image_cache import cache_folder
    from ..workflows.edit_evaluation import evaluate_edit
    from .progress_bar import ProgressBar

    with ProgressBar() as bar:
        result = evaluate_edit(
            edit,
            [Concept.parse(name) for name in concepts],
            model=source,
            out=out,
            seed=seed,
            extent=extent,
            prompts=prompts,
            look=look,
            force=force,
            cache=cache_folder(),
            progress=bar,
        )
    return _tell(result, out, bar, json)


@app.command
def compare(
    concepts: list[str],
    *,
    to: Annotated[str | None, Parameter(help="What should come instead.")] = None,
    methods: Annotated[str, Parameter(help="Names and YAML files of settings, with commas; all: every method.")] = "all",
    source: Annotated[Source, FLAT] = Source(),
    out: Annotated[Path | None, Parameter(help="The folder to write; default: unconcept-out/compare-CONCEPT.")] = None,
    seed: int = 0,
    extent: Annotated[Extent, Parameter(help="How many pictures each method makes.")] = "short",
    prompts: Annotated[Path | None, Parameter(help="Your own prompts besides: a CSV file with the columns prompt, seed, group.")] = None,
    look: Annotated[Look, FLAT] = Look(),
    force: Annotated[bool, Parameter(help="Replace an output folder that exists.", negative="")] = False,
    json: Annotated[bool, Parameter(help="Print compare.json on stdout, and nothing else there.", negative="")] = False,
    debug: Annotated[bool, Flag] = False,
) -> int:
    """Several methods, or several settings of one, on the same concept, questions and seeds: a table, a page, a plot."""
    from .run_config import plan_methods

    jobs = plan_methods(concepts, methods.split(","), to=to, seed=seed, model=source.model, out=out)
    from ..models.image_cache import cache_folder
    from ..reporting.report import markdown
    from ..workflows.comparison import compare as run
    from ..workflows.comparison import table
    from .progress_bar import ProgressBar

    chosen = {name: job.method for name, job in jobs.items()}
    first = next(iter(jobs.values()))
    with ProgressBar() as bar:
        result = run(
            first.concepts,
            chosen,
            model=replace(source, model=first.model),
            out=first.out,
            seed=seed,
            extent=extent,
            prompts=prompts,
            look=look,
            force=force,
            cache=cache_folder(),
            progress=bar,
        )
    print(_dumps(result) if json else f"{markdown(*table(result))}\n{first.out / 'compare.html'}")
    return 0


def _tell(result: dict, out: Path, bar, json: bool) -> int:
    """Print what came of it; the exit code."""
    if json:
        print(_dumps(result))
    else:
        bar.finish(result, out)
    return 3 if result["failure"] else 0


@app.command
def generate(
    prompts: list[str],
    *,
    source: Annotated[Source, FLAT] = Source(),
    edit: Annotated[list[Path], Parameter(help="An edit, or the folder of one; several add up.", negative="")] = [],  # noqa: B006
    out: Annotated[Path, Parameter(help="The folder for the pictures.")] = Path("unconcept-out/pictures"),
    seed: int = 0,
    images: Annotated[int, Parameter(help="Pictures for each prompt.")] = 4,
    steps: int = 25,
    guidance: Annotated[float | None, Parameter(help="Default: the model's own.")] = None,
    force: Annotated[bool, Parameter(help="Edits of another base model, and an output folder that exists.", negative="")] = False,
    debug: Annotated[bool, Flag] = False,
) -> int:
    """Make pictures, with edits or without."""
    from ..workflows.generation import generate as make
    from .progress_bar import ProgressBar

    with ProgressBar() as bar:
        path = make(
            prompts,
            model=source,
            edits=edit,
            out=out,
            seed=seed,
            images=images,
            steps=steps,
            guidance=guidance,
            force=force,
            progress=bar,
        )
    print(path)
    return 0


@app.command
def purify(
    images: list[Path],
    *,
    edit: Annotated[Path, Parameter(help="An edit, or the folder of one.")],
    source: Annotated[Source, FLAT] = Source(),
    caption: Annotated[str | None, Parameter(help="What the pictures show, in a prompt's words; default: the concept.")] = None,
    strength: Annotated[float, Parameter(help="How far back towards noise, in (0, 1].")] = 1.0,
    steps: int = 25,
    guidance: Annotated[float, Parameter(help="Of the way back: 1 reconstructs best, more steers more.")] = 3.0,
    out: Annotated[Path, Parameter(help="The folder to write.")] = Path("unconcept-out/purified"),
    force: Annotated[bool, Parameter(help="An edit of another base model, and an output folder that exists.", negative="")] = False,
    debug: Annotated[bool, Flag] = False,
) -> int:
    """Take the concept out of real pictures: back to noise through the original, forward through the erased model."""
    from ..workflows.purification import run
    from .progress_bar import ProgressBar

    with ProgressBar() as bar:
        path = run(
            images,
            edit=edit,
            model=source,
            out=out,
            caption=caption,
            strength=strength,
            steps=steps,
            guidance=guidance,
            force=force,
            progress=bar,
        )
    print(path / "sheet.png")
    return 0


@app.command
def export(
    edit: Path,
    *,
    form: Annotated[Literal["pipeline", "lora", "kohya", "checkpoint"], Parameter(name="--as", help="What to write.")],
    model: Annotated[str, Parameter(help="For a pipeline its base folder, for a checkpoint your own single file.")] = "emoji",
    rank: Annotated[int | None, Parameter(help="Of a LoRA; without it as much as it needs, and for kohya the exact change.")] = None,
    out: Annotated[Path | None, Parameter(help="The folder or file to write.")] = None,
    push: Annotated[str | None, Parameter(help="Upload it to this repository of the hub (owner/name), too.")] = None,
    force: Annotated[bool, Parameter(help="Replace what is there.", negative="")] = False,
    debug: Annotated[bool, Flag] = False,
) -> int:
    """Write an edit as a file that other tools open."""
    from ..edits.edit import Edit
    from ..export.formats import export as write
    from ..export.hub import push as upload
    from ..export.model_card import base_of, export_card

    default = Path("unconcept-out") / {"pipeline": "pipeline", "checkpoint": "checkpoint.safetensors"}.get(form, f"{form}.safetensors")
    loaded, base = Edit.load(edit), base_of(edit)
    made = write(loaded, form, out or default, model=model, rank=rank, force=force, base=base)
    print(made)
    if push:
        print(upload(made, push, export_card(loaded.card, base)))
    return 0


@app.command
def show(what: str, *, debug: Annotated[bool, Flag] = False) -> int:
    """Show an edit, a report (or its folder), what a method does, or the list of methods."""
    from .show import show as tell

    tell(what)
    return 0


def _dumps(value: dict) -> str:
    return json.dumps(value, indent=1)
