"""Sample images from prompts, with edits or without."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..edits.edit import Edit
from ..io.output_folder import check_out, whole_folder
from ..models.loading import load
from ..models.sampling import ImageSampler, Sampling
from ..reporting.image_grid import grid, to_image
from .options import RunOptions


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(RunOptions):
    """Options of `generate`, besides `RunOptions`.

    edits     files or folders of edits; they add up
    seed      first seed; the others count up
    images    images per prompt
    steps     sampling steps
    guidance  CFG scale; None: the model's default
    """

    edits: Sequence[Path] = ()
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
        InputError: A file cannot be read, or an edit belongs to another model.
    """
    run = GenerationOptions(**options)
    check_out(run.out, run.force)
    model = load(run.source)
    for path in run.edits:
        Edit.load(path).apply(model, force=run.force)
    seeds = list(range(run.seed, run.seed + run.images)) * len(prompts)
    repeated = [prompt for prompt in prompts for _ in range(run.images)]
    sampling = Sampling(steps=run.steps, guidance=run.guidance, seed=run.seed)
    images = ImageSampler(model, sampling, progress=run.progress).images(repeated, seeds)
    with whole_folder(run.out, run.force) as folder:
        for i, (seed, image) in enumerate(zip(seeds, images)):
            file = folder / f"{i // run.images:03}-seed{seed}.png"
            to_image(image, image.shape[-1]).save(file)
        grid(images, columns=max(run.images, 1)).save(folder / "sheet.png")
        lines = [f"{i:03} {prompt}\n" for i, prompt in enumerate(prompts)]
        (folder / "prompts.txt").write_text("".join(lines))
    return run.out
