"""The embedded model: a small latent diffusion model in Stable Diffusion's layout, its judge, and what both know."""

import json
from functools import cache
from pathlib import Path

import torch

from ...errors import InputError
from ..base import Model
from .world import WORDS

FOLDER = Path(__file__).parent
PIPELINE = FOLDER / "pipeline"


def load(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Model:
    """The embedded model. Its weights lie here as fp16."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    from .. import wrap

    if not PIPELINE.exists():
        raise InputError("the weights of the embedded model are not in this copy: make them with `make embedded-model`, or give --model")
    pipe = StableDiffusionPipeline.from_pretrained(
        PIPELINE,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        safety_checker=None,
        feature_extractor=None,
    )
    pipe.unet.to(memory_format=torch.channels_last)  # a fifth faster on processors
    pipe.set_progress_bar_config(disable=True)
    return wrap(pipe.to(device), WORDS)


@cache
def quality() -> dict:
    """What was measured of the model and of its judge: {"judge": {what: [share right, n]}, "model": {...}}."""
    return json.loads((FOLDER / "quality.json").read_text())
