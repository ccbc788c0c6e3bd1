"""Pictures of prompts and seeds, each made once: what is in the cache is read, the rest is sampled and put there.

A picture belongs to the hash of everything that made it: the model's weights, the edit, prompt, seed, sampler, steps, guidance. Pictures
are rounded to 8 bits, fresh or read, so that a second run sees the very same ones.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress
from ..io.weights import user_cache
from .interface import Model, Sampling

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where pictures are kept."""
    return user_cache() / "pictures"


def sample_images(
    model: Model, prompts: Sequence[str], seeds: Sequence[int], *, steps: int = 25, guidance: float = 5.0, sampler: str | None = None,
    batch: int | None = None, made_by: str = "", cache: Path | None = None, progress: ProgressCallback = no_progress,
    stage: str = "sampling",
) -> Tensor:  # fmt: skip
    """Pictures [N, 3, H, W] in [0, 1], one per (prompt, seed).

    made_by: the hash of the weights that are on, edit included; without it, or without a cache, every picture is sampled.
    A batch is sampled whole or not at all, and a picture that the cache has stays as it is (in another batch its last bit may differ), so
    that pictures depend neither on where an earlier run was cut off nor on who asked for them first.
    """
    batch = batch or model.max_batch // 2  # guidance doubles them
    if not prompts:
        return torch.zeros(0, 3, 1, 1)
    sampler, done = sampler or model.samplers[0], []
    for i in range(0, len(prompts), batch):
        progress(Progress(stage, i, len(prompts)))
        asked = list(zip(prompts[i : i + batch], seeds[i : i + batch]))
        files = (
            [cache / file_name(made_by, *ask, sampler, steps, guidance) for ask in asked]
            if cache and made_by
            else []
        )
        if files and all(file.exists() for file in files):
            done.append(torch.stack([read(file) for file in files]))
            continue
        latents = model.sample(
            [p for p, _ in asked], [s for _, s in asked], Sampling(steps, guidance, sampler)
        )
        made = (model.decode(latents).cpu() * 255).round() / 255
        for k, file in enumerate(files):
            if file.exists():
                made[k] = read(file)
            elif made[k].isfinite().all():  # eight bits would make black of what is no number
                write(file, made[k])
        done.append(made)
    progress(Progress(stage, len(prompts), len(prompts)))
    return torch.cat(done)


def file_name(*what: str | int | float) -> str:
    """Two letters of the hash are a folder: no folder with ten thousand files."""
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()
    return f"{digest[:2]}/{digest[2:]}.png"


def read(file: Path) -> Tensor:
    return (
        torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1).float() / 255
    )


def write(file: Path, picture: Tensor) -> None:
    """Whole or not at all. A cache that cannot be written is only slower."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy()).save(part, "png")
        part.replace(file)
    except OSError as error:
        log.warning("pictures are not kept for the next run: %s", error)
