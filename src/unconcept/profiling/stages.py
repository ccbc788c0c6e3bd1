"""What a run will do, stage by stage, and the work of each stage: the plan of the progress bar.

Work is counted in network calls: one image forward through the denoiser. A training step counts
three times, because the backward pass takes about twice as long as the forward pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..evaluation.runner import (
    CASES_PER_GROUP,
    CLIP_CONTROLS,
    CLIPS_PER_GROUP,
    CONTROLS,
    Extent,
)
from ..evaluation.strength_curve import PROMPTS, STRENGTHS
from ..methods.all_but_one import AllButOne
from .network_calls import group_calls

BACKWARD = 3  # forward and backward together, in forward passes

CALLS_PER_STEP = 2  # classifier-free guidance predicts with the prompt and without

GUESSED_ROWS = 4  # rows of a training step of a method that does not say


@dataclass(frozen=True)
class Stage:
    """A part of a run: what its reports are called, and its work in network calls.

    names  the stage's name contains one of them; empty: whatever else is reported after the
           stages before it
    """

    title: str
    names: tuple[str, ...]
    work: float


def erasure_stages(
    method: Any,
    concepts: int,
    steps: int,
    extent: Extent,
    own_model: bool = False,
    clips: bool = False,
) -> list[Stage]:
    """Plan `unconcept erase`.

    Args:
        method: An instance of a method.
        concepts: How many concepts are erased.
        steps: Sampling steps per evaluation image.
        extent: How many evaluation images there are.
        own_model: The model is not an embedded one: other strengths are sampled, too.
        clips: The model samples clips.

    Returns:
        The stages in the order in which they are run.
    """
    before, *after = evaluation_stages(steps, extent, clips)
    if own_model and extent != "none" and not clips:
        images = (len(STRENGTHS) - 2) * PROMPTS  # two of the strengths are evaluated anyway
        after.append(Stage("other strengths", ("strength",), images * steps * CALLS_PER_STEP))
    return [before, *method_stages(method, concepts), *after]


def evaluation_stages(steps: int, extent: Extent, clips: bool = False) -> list[Stage]:
    """Plan the evaluation of an edit: images before and after, and controls.

    Args:
        steps: Sampling steps per image.
        extent: How many images there are.
        clips: They are clips.

    Returns:
        The stages in the order in which they are run.
    """
    per_image = steps * CALLS_PER_STEP
    counts = (CLIPS_PER_GROUP if clips else CASES_PER_GROUP)[extent]
    images = sum(counts.values())
    controls = (CLIP_CONTROLS if clips else CONTROLS)[extent]
    stages = [
        Stage("images before", ("before",), images * per_image),
        Stage("images after", ("after",), images * per_image),
        Stage("control: another seed", ("another seed",), controls * per_image),
        Stage("control: another sampler", ("another sampler",), controls * per_image),
    ]
    if extent == "full" and not clips:
        targets = counts["target"]
        title = "the alternative's own images"
        stages.append(Stage(title, ("alternative",), 2 * targets * per_image))
    return stages


def method_stages(method: Any, concepts: int) -> list[Stage]:
    """Plan the erasing itself.

    Args:
        method: An instance of a method.
        concepts: How many concepts are erased.

    Returns:
        Recording and one round of training for All but One, or its closed form; for others one
        stage, whose work is a guess from the number of training steps.
    """
    if not isinstance(method, AllButOne):
        steps = getattr(method, "steps", 1)
        return [Stage("erasing", (), steps * GUESSED_ROWS * BACKWARD)]
    if not method.trains:
        return [Stage("closed form", ("closed form",), 1)]
    groups = method.groups(concepts)
    stages = []
    for i, size in enumerate(groups, 1):
        prefix = f"group {i} of {len(groups)}: " if len(groups) > 1 else ""
        calls = group_calls(method, size)
        training = calls.held_out + BACKWARD * calls.training
        stages.append(Stage(f"{prefix}recording", (f"{prefix}recording",), calls.recording))
        stages.append(Stage(f"{prefix}training", (f"{prefix}training",), training))
    return stages


def comparison_stages(
    methods: Mapping[str, Any], concepts: int, steps: int, extent: Extent, clips: bool = False
) -> list[Stage]:
    """Plan `unconcept compare`.

    Args:
        methods: Instances of methods, by name.
        concepts: How many concepts are erased.
        steps: Sampling steps per evaluation image.
        extent: How many evaluation images each method makes.
        clips: They are clips.

    Returns:
        The stages in the order in which they are run.
    """
    before, *after = evaluation_stages(steps, extent, clips)
    stages = [before]
    for name, method in methods.items():
        for stage in method_stages(method, concepts):
            names = tuple(f"{name}: {part}" for part in stage.names or ("",))
            stages.append(Stage(f"{name}: {stage.title}", names, stage.work))
        stages += after
    return stages
