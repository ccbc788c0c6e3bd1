"""Stage 8. The package's copy: a diffusers folder and the judge in fp16, with sha256 of every file and what was measured."""

import hashlib
import json
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from safetensors.torch import save_file
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from unconcept.models import emoji
from unconcept.models.emoji.judge import WEIGHTS, Judge

from .denoiser import scheduler


def pipeline(
    text: CLIPTextModel, tokenizer: CLIPTokenizer, vae: AutoencoderKL, unet: UNet2DConditionModel, scale: float
) -> StableDiffusionPipeline:
    """The trained parts as one Stable Diffusion pipeline; `scale` brings latents to unit variance."""
    vae.register_to_config(scaling_factor=round(scale, 6))
    return StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def write(pipe: StableDiffusionPipeline, judge: Judge, quality: dict) -> None:
    """Everything that the package ships of the model. fp16 on disk only: it is computed with as fp32."""
    pipe.to(torch.float16).save_pretrained(emoji.PIPELINE, safe_serialization=True)
    pipe.to(torch.float32)
    halves = {name: t.half() if t.is_floating_point() else t for name, t in judge.state_dict().items()}
    save_file({name: t.contiguous() for name, t in halves.items()}, WEIGHTS)
    home = emoji.PIPELINE.parent
    (home / "quality.json").write_text(json.dumps(quality, indent=1) + "\n")
    files = [path for path in sorted(emoji.PIPELINE.rglob("*")) if path.is_file()] + [WEIGHTS]
    (home / "sha256.json").write_text(json.dumps({str(p.relative_to(home)): digest(p) for p in files}, indent=1) + "\n")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
