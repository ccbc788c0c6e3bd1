"""Pictures from prompts, with edits or without; one file for each picture and a sheet of all."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ..callbacks import Progress
from ..config.options import Source
from ..edits.edit import Edit
from ..io.output_folder import check_out, whole_folder
from ..models.image_cache import sample_images
from ..models.loading import load
from ..reporting.image_grid import grid, to_image


def generate(
    prompts: Sequence[str], *, model: str | Source, edits: Sequence[Path], out: Path, seed: int, images: int, steps: int = 25, guidance: float | None = None,
    force: bool = False, progress: Callable[[Progress], None] = lambda progress: None,
) -> Path:  # fmt: skip
    """`images` pictures for each prompt, seeds counting up from `seed`. Returns the folder."""
    check_out(out, force)
    net = load(model)
    for edit in [Edit.load(path) for path in edits]:
        edit.apply(net, force=force)
    asked = [(prompt, seed + i) for prompt in prompts for i in range(images)]
    own = net.guidance if guidance is None else guidance
    made = sample_images(net, [p for p, _ in asked], [s for _, s in asked], steps=steps, guidance=own, progress=progress)
    with whole_folder(out, force) as folder:
        for i, ((_, s), picture) in enumerate(zip(asked, made)):
            to_image(picture, picture.shape[-1]).save(folder / f"{i // images:03}-seed{s}.png")
        grid(made, columns=max(images, 1)).save(folder / "sheet.png")
        (folder / "prompts.txt").write_text("".join(f"{i:03} {prompt}\n" for i, prompt in enumerate(prompts)))
    return out
