"""Purify: remove the concept from existing images by means of an erased model.

    image -> latents -> DDIM inversion by the original model, prompted with the caption
          -> sampling by the erased model, prompted with the caption -> image

The edit leaves the unprompted prediction as it is. So the way back equals the way to noise, except
for what the caption's concept adds. The control is the same loop through the original model alone:
what it loses is due to the loop, not to the edit.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..concepts.templates import article
from ..config.ranges import check_numbers
from ..edits.edit import Edit
from ..errors import InputError
from ..evaluation.metrics.similarity import psnr
from ..io.images import read_rgb
from ..io.output_folder import check_out, whole_folder
from ..io.peer_weights import check_own_edit
from ..models.interface import Model, Sampling
from ..models.loading import load
from ..reporting.image_grid import columns, to_image
from .options import RunOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """How images go to noise and back.

    strength    how far back, in (0, 1]: 1 goes to pure noise; less changes less, and may leave more
                of the concept
    steps       sampling steps of the whole way
    guidance    CFG scale of the way back: 1 reconstructs best, more steers more; the way to noise
                has none
    batch_size  images at once; None: half of `model.max_batch`
    """

    strength: float = 1.0
    steps: int = 25
    guidance: float = 3.0
    batch_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class PurificationOptions(RunOptions):
    """Options of `purify_files`, besides `RunOptions`.

    edit      file or folder of an edit
    caption   what the images show, as a prompt; None: the concept that the edit erases
    strength  see `Inversion`
    steps     see `Inversion`
    guidance  see `Inversion`
    """

    edit: Path
    caption: str | None = None
    strength: float = 1.0
    steps: int = 25
    guidance: float = 3.0


@dataclass(frozen=True)
class Row:
    """A row of the sheet: an image's name in place of a prompt."""

    prompt: str
    group: str = "target"


def purify(
    images: Tensor,
    model: Model,
    edit: Edit,
    captions: Sequence[str],
    inversion: Inversion = Inversion(),
    progress: ProgressCallback = no_progress,
) -> tuple[Tensor, Tensor]:
    """Purify images.

    Args:
        images: [N, 3, H, W] in [0, 1], of the model's size.
        model: The original model.
        edit: Erases the concept.
        captions: What each image shows, as a prompt.
        inversion: How far and in how many steps.
        progress: Receives a report before every batch.

    Returns:
        (control, purified), both [N, 3, H, W] in [0, 1]: the loop through the original model, and
        through the erased one.
    """
    upto = max(1, round(inversion.strength * inversion.steps))
    batch = inversion.batch_size or model.max_batch // 2
    control, purified = [], []
    for i in range(0, len(images), batch):
        progress(Progress("inversion and sampling", i, len(images)))
        prompts = list(captions[i : i + batch])
        latents = model.latents(images[i : i + batch])
        noise = model.invert(latents, prompts, steps=inversion.steps, upto=upto)
        latents = _walk_back(model, noise, prompts, inversion, upto)
        control.append(model.decode(latents).cpu())
        with edit.on(model):
            latents = _walk_back(model, noise, prompts, inversion, upto)
        purified.append(model.decode(latents).cpu())
    return torch.cat(control), torch.cat(purified)


def _walk_back(
    model: Model, noise: Tensor, prompts: Sequence[str], inversion: Inversion, upto: int
) -> Tensor:
    """Latents after the last `upto` sampling steps."""
    walk = model.trajectory(
        prompts,
        (),
        Sampling(inversion.steps, inversion.guidance),
        latents=noise,
        skip=inversion.steps - upto,
    )
    *_, (latents, _) = walk
    return latents


def purify_files(paths: Sequence[Path], **options: Any) -> Path:
    """Purify image files, center-cropped and resized to the model's size.

    The folder gets one file per image, a sheet (as it was, control, purified), and purify.json.

    Args:
        paths: Image files with distinct names.
        **options: Fields of `PurificationOptions`; `out` and `edit` are required.

    Returns:
        The folder.

    Raises:
        InputError: A file cannot be read, names are not distinct, or the edit does not name one
            concept and there is no caption.
    """
    run = PurificationOptions(**options)
    check_numbers(strength=run.strength, steps=run.steps, guidance=run.guidance)
    check_names(paths)
    check_own_edit(run.edit)
    check_out(run.out, run.force)
    edit = Edit.load(run.edit)
    model = load(run.source)
    if model.frames:
        raise InputError("purify is for images, and this is a text-to-video model")
    mismatch = edit.check(model, force=run.force)
    if mismatch:
        log.warning(mismatch)
    caption = run.caption or caption_from_edit(edit, run.edit)
    images = torch.stack([read_image(path, model.image_size) for path in paths])
    inversion = Inversion(strength=run.strength, steps=run.steps, guidance=run.guidance)
    captions = [caption] * len(images)
    control, purified = purify(images, model, edit, captions, inversion, run.progress)
    settings = {
        "caption": caption,
        "strength": run.strength,
        "steps": run.steps,
        "guidance": run.guidance,
        "edit": str(run.edit),
        "model": run.source.model,
    }
    measured = []
    for path, loop, change in zip(paths, psnr(images, control), psnr(control, purified)):
        measured.append(
            {
                "picture": path.name,
                "control_psnr": round(loop.item(), 2),
                "changed_psnr": round(change.item(), 2),
            }
        )
    with whole_folder(run.out, run.force) as folder:
        for path, image in zip(paths, purified):
            to_image(image, image.shape[-1]).save(folder / f"{path.stem}.png", "png")
        looks = {"as it was": images, "control": control, "purified": purified}
        sheet = columns([Row(path.name) for path in paths], looks, rows=len(paths))
        sheet.save(folder / "sheet.png")
        content = {"settings": settings, "pictures": measured}
        (folder / "purify.json").write_text(json.dumps(content, indent=1) + "\n")
    return run.out


def check_names(paths: Sequence[Path]) -> None:
    """Refuse files whose results would overwrite each other.

    Args:
        paths: Image files.

    Raises:
        InputError: Two have the same name, or one is called "sheet".
    """
    if not paths:
        raise InputError("name an image file")
    names = [path.stem for path in paths]
    if "sheet" in names:
        raise InputError('an image is called "sheet", as the overview of the results: rename it')
    if len(set(names)) < len(names):
        raise InputError("images have the same name: purify them one folder at a time")


def caption_from_edit(edit: Edit, file: Path) -> str:
    """The caption of an image that shows what an edit erases: "a pig", "a van gogh picture".

    Args:
        edit: The edit.
        file: Where it was read from, for the error.

    Returns:
        The caption.

    Raises:
        InputError: The edit does not name exactly one concept.
    """
    concepts = [Concept.read(fields) for fields in edit.card.get("concepts", [])]
    if not concepts:
        raise InputError(f"{file} does not say which concept it erases: give a --caption")
    if len(concepts) > 1:
        raise InputError(
            f"{file} erases {len(concepts)} concepts, and an image may show any of them: "
            "give a --caption"
        )
    concept = concepts[0]
    return article(f"{concept.erase} picture" if concept.kind == "style" else concept.erase)


def read_image(path: Path, size: int) -> Tensor:
    """Read an image file, center-cropped to a square and resized.

    Args:
        path: The file.
        size: Height and width in pixels.

    Returns:
        [3, size, size] in [0, 1].

    Raises:
        InputError: It cannot be read.
    """
    image = read_rgb(path)
    image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
