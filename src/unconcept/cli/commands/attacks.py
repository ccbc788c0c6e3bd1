"""`unconcept attack`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ...attacks.catalogue import names_of
from ...concepts.concept import Concept
from ...concepts.contradictions import check_distinct
from ...config.options import EVALUATION_IMAGES, HOW, MODEL, OUTPUT, WHAT, Look, Output, Source
from ...config.ranges import check_numbers, whole_number
from ..input_checks import (
    check_concepts,
    check_edit,
    check_folder,
    check_look,
    check_model,
    check_output,
)
from .printing import print_json
from .shared_options import Debug, OutputOptions, Seed, SourceOptions


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
            help="quick (those that tell erasures apart), all, or names of attacks with commas. "
            "Those that need images are not measured on a text-to-video model.",
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
            help="Images, or clips, per attack and control.",
            converter=whole_number,
        ),
    ] = 24,
    steps: Annotated[
        int,
        Parameter(
            group=EVALUATION_IMAGES,
            help="Sampling steps per image or clip.",
            converter=whole_number,
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
    check_output(output)
    check_concepts(names, source.model)
    from ...models.image_cache import cache_folder
    from ...reporting.terminal import print_attacks
    from ...workflows import attack_edit
    from ..progress_bar import ProgressBar

    out = output.folder("attacks")
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
