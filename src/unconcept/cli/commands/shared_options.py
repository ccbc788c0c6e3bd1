"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ...config.options import (
    EVALUATION_IMAGES,
    HOW,
    MODEL,
    OUTPUT,
    WHAT,
    WHILE_IT_RUNS,
    Look,
    Output,
    Printout,
    Source,
    Training,
)
from ...config.ranges import whole_number

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
    int | None,
    Parameter(
        group=HOW,
        help="Sampling steps per image (default: the model's; 25 for most).",
        converter=whole_number,
    ),
]
Debug = Annotated[bool, Parameter(group=WHILE_IT_RUNS, help="Show the traceback of an error.")]
