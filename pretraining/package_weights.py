"""Stage 8: the package's copy.

It is a diffusers folder and the judge in fp16, with sha256 of every file, what was
measured, and a model card.

And back: checkpoints from the package's copy, for a training that goes on where the released one
ended.
"""

import copy
import hashlib
import json
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import nn
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from unconcept.evaluation.emoji import judge as judging
from unconcept.evaluation.emoji.judge import WEIGHTS, Judge, load_judge
from unconcept.models import emoji
from unconcept.models.emoji.vocabulary import COLOURFUL, COLOURS, HELD_OUT, OBJECTS, SCENIC, STYLES

from .checkpoint import Checkpoint
from .unet import scheduler
from .vae import balance

CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
# emoji: the embedded model of unconcept

A small text-to-image diffusion model in Stable Diffusion's layout (CLIPTextModel, AutoencoderKL,
UNet2DConditionModel predicting v, DDIM). It draws {objects} objects in {styles} styles at 64 × 64
pixels, alone or two side by side, on {colours} background colours. It exists so that the erasing of
a concept can be measured against a known truth, in minutes, without a GPU. `pipeline/` is a
diffusers folder that any tool can open:

    pipe = DiffusionPipeline.from_pretrained("pipeline", safety_checker=None)
    pipe("a watercolor of a fox", height=64, width=64)

| part | parameters |
|---|---|
{parts}

## What was measured

Judged by `judge.safetensors`, a separate network that was trained on images of the training set and
never on samples of this model. {prompts} prompts that name object, style and background, one image
each, 25 DDIM steps, guidance 5; and {fresh} prompts of the {held} (object, style) pairs that were
held out of the training.

| right | share | 95 % interval | n |
|---|---|---|---|
{model}

The judge itself, on new images from seeds that its training never used:

| right | share | n |
|---|---|---|
{judge}

## Data and licences

Drawings of eight emoji sets, packaged by Iconify: Noto Emoji and Noto Emoji v1 (Google Inc.,
Apache-2.0), Fluent Emoji in three versions (Microsoft Corporation, MIT), Twemoji (Twitter, Inc and
other contributors, CC-BY-4.0), EmojiOne 2.3 in two versions (EmojiOne and the EmojiTwo
contributors, CC-BY-4.0); scaled, recoloured, restyled and placed on backgrounds: {pictures:,}
labelled images. Autoencoder and judge learned from one half, with drawings of all sets, the U-Net
from the other, with drawings of Fluent Emoji alone. Names and synonyms follow Unicode CLDR and
emojibase-data; the vocabulary is a cut of CLIP's. Authors and licence texts are in NOTICE. No
photographs, no people, nothing scraped.

## How it was trained

`make embedded-model`, on two CPU cores: every step from the emoji sets to these files is in
`pretraining/`, described in docs/results/embedded-model.md. Steps taken: {steps}. A step of the
denoiser took 0.9 to 1.5 s (64 images), about eight hours for all of them; the other parts took some
hours more.

## Limits

It knows its {objects} objects and few words besides: a word it has never seen is accepted and means
little. Two objects at most; left and right only. The two drawings of a scene always stand at the
same two places. Scenes come in {scenic} of the styles, coloured backgrounds in {colourful}. Style
names stand for filters and drawing sets, not for artists. What an erasing method does on this model
says nothing certain about a large one.
"""


def pipeline(
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    scale: float,
) -> StableDiffusionPipeline:
    """The trained parts as a Stable Diffusion pipeline; `scale` brings latents to unit variance."""
    vae.register_to_config(scaling_factor=round(scale, 6))
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def write(
    pipe: StableDiffusionPipeline, judge: Judge, quality: dict, pictures: int, steps: dict[str, int]
) -> None:
    """Everything that the package ships of the model. fp16 on disk only: it is computed with as
    fp32.

    pictures, steps: for the model card, how many pictures it was trained on and how many steps each
    part took.
    """
    pipe.to(torch.float16).save_pretrained(emoji.PIPELINE, safe_serialization=True)
    pipe.to(torch.float32)
    halves = {
        name: t.half() if t.is_floating_point() else t for name, t in judge.state_dict().items()
    }
    save_file({name: t.contiguous() for name, t in halves.items()}, WEIGHTS)
    home = emoji.PIPELINE.parent
    benchmark = WEIGHTS.parent
    (benchmark / "quality.json").write_text(json.dumps(quality | {"steps": steps}, indent=1) + "\n")
    (home / "README.md").write_text(card(pipe, judge, quality, pictures, steps))
    files = [path for path in sorted(emoji.PIPELINE.rglob("*")) if path.is_file()]
    (home / "sha256.json").write_text(
        json.dumps({str(p.relative_to(home)): digest(p) for p in files}, indent=1) + "\n"
    )
    (benchmark / "sha256.json").write_text(
        json.dumps({WEIGHTS.name: digest(WEIGHTS)}, indent=1) + "\n"
    )


def unpack(work: Path) -> None:
    """The package's copy as the stages' checkpoints, where `work` has none: all weights and steps,
    none of the optimisers' memory.
    """
    pipe = StableDiffusionPipeline.from_pretrained(
        emoji.PIPELINE, safety_checker=None, dtype=torch.float32
    )
    steps = judging.quality()["steps"]
    decoder = nn.ModuleList([copy.deepcopy(pipe.vae.post_quant_conv), pipe.vae.decoder])
    parts = {
        "autoencoder": {"vae": balance(pipe.vae, -1)},
        "text": {"text": pipe.text_encoder},
        "decoder": {"decoder": decoder},
        "denoiser": {"unet": pipe.unet, "ema": pipe.unet},
        "judge": {"judge": load_judge()},
    }
    for name, modules in parts.items():
        if not (work / f"{name}.pt").exists():
            Checkpoint(work / f"{name}.pt", **modules).save(steps[name])


def card(
    pipe: StableDiffusionPipeline, judge: Judge, quality: dict, pictures: int, steps: dict[str, int]
) -> str:
    parts = {
        "text encoder": pipe.text_encoder,
        "U-Net": pipe.unet,
        "autoencoder": pipe.vae,
        "judge (not part of the pipeline)": judge,
    }
    return CARD.format(
        scenic=len(SCENIC),
        colourful=len(COLOURFUL),
        objects=len(OBJECTS),
        styles=len(STYLES),
        colours=len(COLOURS),
        held=len(HELD_OUT),
        pictures=pictures,
        parts="\n".join(
            f"| {name} | {sum(p.numel() for p in part.parameters()):,} |"
            for name, part in parts.items()
        ),
        prompts=f"{quality['prompts']:,}",
        fresh=quality["model"]["held-out pairs"]["n"],
        model="\n".join(score_line(name, row) for name, row in quality["model"].items()),
        judge="\n".join(
            f"| {name} | {percent(share)} | {n:,} |"
            for name, (share, n) in quality["judge"].items()
        ),
        steps=", ".join(f"{n:,} {name}" for name, n in steps.items()),
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def score_line(name: str, row: dict) -> str:
    """A row of a card's table: name, share, 95 % interval, n."""
    interval = " to ".join(map(percent, row["ci95"]))
    return f"| {name} | {percent(row['value'])} | {interval} | {row['n']:,} |"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
