"""Purify: take the concept out of a real picture by way of an erased model.

    picture → latents → DDIM inversion by the original, as the caption says → the same way back through the erased model → picture

The unprompted prediction is held by the edit, so the way back is the way there but for what the caption's concept adds. Control: the
same loop through the original alone. What that loses is the loop's, not the edit's.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..callbacks import Progress
from ..concepts.concept import Concept
from ..concepts.templates import article
from ..config.options import Source
from ..edits.edit import Edit
from ..errors import InputError
from ..evaluation.metrics.similarity import psnr
from ..io.output_folder import check_out, whole_folder
from ..models.interface import Model, Sampling
from ..models.loading import load
from ..reporting.image_grid import columns, to_image

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """For the sheet: a picture's name in the place of a prompt."""

    prompt: str
    group: str = "target"


def purify(
    pictures: Tensor, model: Model, edit: Edit, captions: Sequence[str], *, strength: float = 1.0, steps: int = 25, guidance: float = 3.0,
    batch: int | None = None, progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(the same loop through the untouched model, through the erased one) [N, 3, H, W] in [0, 1] of pictures that the captions describe.

    strength: how far back, in (0, 1]: 1 to pure noise; less changes less, and may leave more of the concept.
    guidance: of the way back; 1 reconstructs best, more steers more. The way there has none.
    """
    upto = max(1, round(strength * steps))
    control, done, batch = [], [], batch or model.max_batch // 2
    for i in range(0, len(pictures), batch):
        progress(Progress("there and back", i, len(pictures)))
        said = list(captions[i : i + batch])
        noise = model.invert(model.latents(pictures[i : i + batch]), said, steps=steps, upto=upto)
        for made, on in ((control, Edit({})), (done, edit)):
            x = noise
            with on.on(model):
                for x, _ in model.trajectory(said, (), Sampling(steps, guidance), latents=noise, skip=steps - upto):  # noqa: B007
                    pass
            made.append(model.decode(x).cpu())
    return torch.cat(control), torch.cat(done)


def run(
    images: Sequence[Path], *, edit: Path, model: str | Source, out: Path, caption: str | None, strength: float, steps: int, guidance: float,
    force: bool = False, progress: Callable[[Progress], None] = lambda progress: None,
) -> Path:  # fmt: skip
    """Purify image files: of each its middle square, in the model's size. The folder gets one file for each, a sheet (as it was, control, purified),
    and purify.json."""
    check_out(out, force)
    if not 0 < strength <= 1:
        raise InputError(f"strength is {strength}: it must be above 0 and at most 1")
    erased, net = Edit.load(edit), load(source := Source.of(model))
    if doubt := erased.check(net, force=force):
        log.warning(doubt)
    said = caption or caption_from_edit(erased, edit)
    names = [path.stem for path in images]
    if len({*names, "sheet"}) <= len(names):
        raise InputError(
            f"the pictures need names of their own, which are not {'sheet' if 'sheet' in names else 'the same'}: purify them one folder at a time"
        )
    pictures = torch.stack([read_image(path, net.image_size) for path in images])
    control, made = purify(
        pictures, net, erased, [said] * len(pictures), strength=strength, steps=steps, guidance=guidance, progress=progress
    )
    loop, change = psnr(pictures, control), psnr(control, made)
    with whole_folder(out, force) as folder:
        for path, picture in zip(images, made):
            to_image(picture, picture.shape[-1]).save(folder / f"{path.stem}.png")
        columns([Row(path.name) for path in images], {"as it was": pictures, "control": control, "purified": made}, rows=len(images)).save(folder / "sheet.png")  # fmt: skip
        found = [
            {"picture": path.name, "control_psnr": round(a.item(), 2), "changed_psnr": round(b.item(), 2)}
            for path, a, b in zip(images, loop, change)
        ]
        settings = {"caption": said, "strength": strength, "steps": steps, "guidance": guidance, "edit": str(edit), "model": source.model}
        (folder / "purify.json").write_text(json.dumps({"settings": settings, "pictures": found}, indent=1) + "\n")
    return out


def caption_from_edit(edit: Edit, file: Path) -> str:
    """The caption of a picture that shows what the edit erases: "a pig", "a van gogh picture"."""
    concepts = [Concept.read(fields) for fields in edit.card.get("concepts", [])]
    if len(concepts) != 1:
        what = (
            "does not say which concept it erases"
            if not concepts
            else f"erases {len(concepts)} concepts, and a picture may show any of them"
        )
        raise InputError(f"{file} {what}: give a --caption")
    return article(f"{concepts[0].erase} picture" if concepts[0].kind == "style" else concepts[0].erase)


def read_image(path: Path, size: int) -> Tensor:
    """A picture [3, size, size] in [0, 1]: its middle square."""
    try:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a picture") from error
    image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
