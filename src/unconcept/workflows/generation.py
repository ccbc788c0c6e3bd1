"""Sample images or clips from prompts, with edits or without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..concepts.words import check_encodable
from ..config.ranges import check_numbers, check_seeds
from ..edits.edit import Edit
from ..errors import InputError
from ..io.output_folder import check_out, whole_folder
from ..io.peer_weights import check_own_edit
from ..io.text import visible
from ..models.loading import load
from ..models.sampling import ImageSampler, Sampling
from ..reporting.clip_files import ClipFormat, check_clip_format, save_clip
from ..reporting.image_grid import (
    Band,
    Layout,
    filmstrips,
    grid,
    sheet_of_bands,
    to_image,
)
from ..reporting.samples import sample_record, write_samples
from .options import RunOptions


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(RunOptions):
    """Options of `generate`, besides `RunOptions`.

    edits        files or folders of edits; they add up
    strength     how much of each edit is applied: 0 nothing, 1 all of it
    seed         first seed; the others count up
    images       images per prompt
    steps        sampling steps; None: the model's default
    guidance     CFG scale; None: the model's default
    compare      also sample the same seeds without the edits
    clip_format  of a text-to-video model's files: "webp", or "mp4" with PyAV
    """

    edits: Sequence[Path] = ()
    strength: float = 1.0
    seed: int = 0
    images: int = 4
    steps: int | None = None
    guidance: float | None = None
    compare: bool = False
    clip_format: ClipFormat = "webp"


def generate(prompts: Sequence[str], **options: Any) -> Path:
    """Sample images and write a folder with one file per image, a sheet of all, and samples.jsonl.

    With `compare` the sheet shows each image without the edits above the one with them, and every
    image without has a file of its own ("...-before.png").

    A text-to-video model gives animated WebP or mp4 files, and a sheet with a row of frames for
    each clip.

    Args:
        prompts: One or more prompts.
        **options: Fields of `GenerationOptions`; `out` is required.

    Returns:
        The folder.

    Raises:
        InputError: A number is out of range, a file cannot be read, an edit belongs to another
            model, or there is no edit to compare with.
    """
    run = GenerationOptions(**options)
    check_generation(prompts, run)
    model = load(run.source)
    seeds = list(range(run.seed, run.seed + run.images)) * len(prompts)
    repeated = [prompt for prompt in prompts for _ in range(run.images)]
    sampling = Sampling(steps=run.steps, guidance=run.guidance, seed=run.seed)
    sampler = ImageSampler(model, sampling, progress=run.progress)
    stages: dict[str, Tensor] = {}
    if run.compare or not run.edits:
        stages["before"] = sampler.images(repeated, seeds, stage="sampling")
    for path in run.edits:
        Edit.load(path).scale(run.strength).apply(model, force=run.force)
    if run.edits:
        stages["after"] = sampler.images(repeated, seeds, stage="sampling with the edit")
    with whole_folder(run.out, run.force) as folder:
        write_generated(folder, prompts, seeds, stages, run)
    return run.out


def check_generation(prompts: Sequence[str], run: GenerationOptions) -> None:
    """Check everything that can be known before the model is loaded.

    Args:
        prompts: What is sampled.
        run: The options.

    Raises:
        InputError: See `generate`.
    """
    check_numbers(images=run.images, steps=run.steps, guidance=run.guidance)
    check_numbers(edit_strength=run.strength)
    check_seeds(run.seed, run.images)
    for prompt in prompts:
        check_encodable(prompt, "the prompt")
    if not prompts:
        raise InputError("there is no prompt to sample images from")
    if run.compare and not run.edits:
        raise InputError("there is nothing to compare: name an edit, --edit FILE")
    for path in run.edits:
        check_own_edit(path)
    check_clip_format(run.clip_format)
    check_out(run.out, run.force)


def write_generated(
    folder: Path,
    prompts: Sequence[str],
    seeds: Sequence[int],
    stages: Mapping[str, Tensor],
    run: GenerationOptions,
) -> None:
    """Write the files of `generate`.

    Args:
        folder: Where to.
        prompts: P prompts.
        seeds: P times N, those of the first prompt first.
        stages: Images [P N, 3, H, W] or clips [P N, frames, 3, H, W] in [0, 1] "before", without
            the edits, and "after".
        run: Strength of the edits, and the format of clips.
    """
    each = len(seeds) // len(prompts)
    records = []
    for stage, images in stages.items():
        suffix = "-before" if stage == "before" and len(stages) > 1 else ""
        for i, (seed, image) in enumerate(zip(seeds, images)):
            ending = run.clip_format if image.ndim == 4 else "png"
            name = f"{i // each:03}-seed{seed}{suffix}.{ending}"
            if image.ndim == 4:
                save_clip(image, folder / name)
            else:
                to_image(image, image.shape[-1]).save(folder / name)
            facts = {"stage": stage, "strength": run.strength if stage == "after" else 0.0}
            records.append(sample_record(prompts[i // each], seed, file=name, **facts))
    write_samples(folder, records)
    if images.ndim == 5:
        sheet = filmstrips(torch.stack(list(stages.values()), 1).flatten(0, 1))
    elif len(stages) > 1:
        sheet = comparison_sheet(prompts, seeds, stages["before"], stages["after"])
    else:
        sheet = grid(next(iter(stages.values())), columns=each)
    sheet.save(folder / "sheet.png")
    lines = [f"{i:03} {visible(prompt)}\n" for i, prompt in enumerate(prompts)]
    (folder / "prompts.txt").write_text("".join(lines), encoding="utf-8")


def comparison_sheet(
    prompts: Sequence[str], seeds: Sequence[int], before: Tensor, after: Tensor
) -> Image.Image:
    """The images of each prompt without the edits above those with them.

    Args:
        prompts: P prompts.
        seeds: P times N, those of the first prompt first.
        before: Images [P N, 3, H, W] in [0, 1] without the edits.
        after: With them, from the same seeds.

    Returns:
        The sheet; cells are as large as the images, from 128 to 512 pixels.
    """
    each = len(seeds) // len(prompts)
    bands = []
    for i, prompt in enumerate(prompts):
        pairs = []
        for k in range(i * each, (i + 1) * each):
            pairs.append((before[k], after[k], f"seed {seeds[k]}"))
        bands.append(Band(visible(prompt), pairs))
    return sheet_of_bands(Layout.of(before.shape[-1]), bands, columns=each)
