"""Sample images from prompts, with edits or without."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..concepts.words import check_encodable
from ..config.ranges import check_numbers, check_seeds
from ..edits.edit import Edit
from ..errors import InputError
from ..io.output_folder import check_out, whole_folder
from ..io.peer_weights import check_own_edit
from ..io.text import visible
from ..models.loading import load
from ..models.sampling import ImageSampler, Sampling
from ..reporting.image_grid import grid, to_image
from .options import RunOptions


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(RunOptions):
    """Options of `generate`, besides `RunOptions`.

    edits     files or folders of edits; they add up
    strength  how much of each edit is applied: 0 nothing, 1 all of it
    seed      first seed; the others count up
    images    images per prompt
    steps     sampling steps
    guidance  CFG scale; None: the model's default
    """

    edits: Sequence[Path] = ()
    strength: float = 1.0
    seed: int = 0
    images: int = 4
    steps: int = 25
    guidance: float | None = None


def generate(prompts: Sequence[str], **options: Any) -> Path:
    """Sample images and write a folder with one file per image, and a sheet of all.

    Args:
        prompts: One or more prompts.
        **options: Fields of `GenerationOptions`; `out` is required.

    Returns:
        The folder.

    Raises:
        InputError: A number is out of range, a file cannot be read, or an edit belongs to another
            model.
    """
    run = GenerationOptions(**options)
    check_numbers(images=run.images, steps=run.steps, guidance=run.guidance)
    check_numbers(edit_strength=run.strength)
    check_seeds(run.seed, run.images)
    for prompt in prompts:
        check_encodable(prompt, "the prompt")
    if not prompts:
        raise InputError("there is no prompt to sample images from")
    for path in run.edits:
        check_own_edit(path)
    check_out(run.out, run.force)
    model = load(run.source)
    for path in run.edits:
        Edit.load(path).scale(run.strength).apply(model, force=run.force)
    seeds = list(range(run.seed, run.seed + run.images)) * len(prompts)
    repeated = [prompt for prompt in prompts for _ in range(run.images)]
    sampling = Sampling(steps=run.steps, guidance=run.guidance, seed=run.seed)
    images = ImageSampler(model, sampling, progress=run.progress).images(repeated, seeds)
    with whole_folder(run.out, run.force) as folder:
        for i, (seed, image) in enumerate(zip(seeds, images)):
            file = folder / f"{i // run.images:03}-seed{seed}.png"
            to_image(image, image.shape[-1]).save(file)
        grid(images, columns=run.images).save(folder / "sheet.png")
        lines = [f"{i:03} {visible(prompt)}\n" for i, prompt in enumerate(prompts)]
        (folder / "prompts.txt").write_text("".join(lines), encoding="utf-8")
    return run.out
