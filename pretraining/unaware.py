"""The embedded model trained once more, without some concepts: what an attack on an erased model is
compared with.

    make emoji-unaware
    python -m pretraining --without pig,castle --work FOLDER

A model that never saw a concept still shows it now and then, since other things look like it. That
share is the floor of every attack, and the model is the gold standard of unlearning, retraining
from scratch.

The text encoder and the U-Net are trained from scratch, in the steps of the embedded model and on
as many images, none of which shows an excluded concept. Autoencoder, tokenizer and judge are the
package's. So nothing is needed but the package, whose atlas holds the drawings.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from unconcept.errors import InputError
from unconcept.evaluation.emoji.judge import load_judge
from unconcept.evaluation.emoji.rendering import ONE_HAND
from unconcept.models import emoji, wrap
from unconcept.models.emoji.vocabulary import WORDS

from . import dataset as pictures
from . import evaluate as quality
from . import package_weights as export
from . import text_encoder as text
from . import unet as denoiser
from . import vae as autoencoder
from .checkpoint import Checkpoint
from .excluded import Excluded

CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
# emoji-unaware: the embedded model of unconcept, trained without some concepts

The recipe of `emoji` without {concepts}: no image, no caption and no synonym of them was in the
training of its text encoder and its U-Net. The autoencoder and the tokenizer are those of `emoji`,
whose model card names data and licences. It is the baseline of attacks on erased models: what a
model shows that never knew the concept.

Steps: {steps}. quality.json holds what was measured, sha256.json the sums of the files.
"""


@dataclass(frozen=True)
class Amount:
    """How much is trained and measured; the defaults of `python -m pretraining` are those of the
    embedded model.
    """

    shards: int  # of 2,048 images
    text_steps: int
    denoiser_steps: int
    prompts: int  # for the measurement at the end


def train(work: Path, excluded: Excluded, amount: Amount, export_now: bool = False) -> None:
    """Train, measure and export to `work`/emoji-unaware.

    It can be killed at any moment: the same call resumes.

    Args:
        work: Folder of the state: images, latents, checkpoints.
        excluded: What the model must never see.
        amount: Steps and images.
        export_now: Train no further, and export the checkpoints as they are.

    Raises:
        InputError: `work` holds a training that excludes other concepts.
    """
    work.mkdir(parents=True, exist_ok=True)
    claim(work, excluded)
    vae = AutoencoderKL.from_pretrained(emoji.PIPELINE / "vae").float().eval()
    vae.register_to_config(_name_or_path="emoji")  # not the path on the machine that trains
    tokenizer = CLIPTokenizer.from_pretrained(emoji.PIPELINE / "tokenizer")
    scale = float(vae.config["scaling_factor"])

    report("1 images")
    # The seeds are those of the embedded model's denoiser; its shards are the second half.
    shards = range(amount.shards, 2 * amount.shards)
    pictures.make(work / "one-hand", shards, ONE_HAND, aligned=True, excluded=excluded)
    images, labels = pictures.load(work / "one-hand")
    report("2 text encoder")
    text_steps = 0 if export_now else amount.text_steps
    encoder = text.train(work, tokenizer, text_steps, excluded=excluded)
    report("3 denoiser")
    latents = autoencoder.cached_latents(work, vae, images)
    del images
    denoiser_steps = 0 if export_now else amount.denoiser_steps
    training = denoiser.Training(latents, labels, encoder, tokenizer, denoiser_steps, scale)
    unet = denoiser.train(work, training)
    report("4 measurement and export")
    write(work, export.pipeline(encoder, tokenizer, vae, unet, scale), excluded, amount.prompts)


def claim(work: Path, excluded: Excluded) -> None:
    """Note in `work` what its training excludes, so that it is never resumed with anything else."""
    note = work / "excluded.json"
    if not note.exists():
        note.write_text(json.dumps(excluded.concepts()) + "\n")
    known = json.loads(note.read_text())
    if known != excluded.concepts():
        raise InputError(
            f"{work} holds a training without {', '.join(known)}: choose another --work"
        )


def write(work: Path, pipe: StableDiffusionPipeline, excluded: Excluded, prompts: int) -> None:
    """Measure and save the pipeline, in fp16, with the model card and the sha256 of every file."""
    model = wrap(pipe, WORDS)
    judge = load_judge()
    steps = {part: Checkpoint(work / f"{part}.pt").step for part in ("text", "denoiser")}
    measured = {
        "without": excluded.concepts(),
        "model": quality.measure(model, judge, prompts, excluded=excluded),
        "excluded concepts": quality.measure_excluded(model, judge, excluded),
        "prompts": prompts,
        "steps": steps,
    }
    folder = work / "emoji-unaware"
    pipe.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    (folder / "quality.json").write_text(json.dumps(measured, indent=1) + "\n")
    steps_text = ", ".join(f"{count:,} {part}" for part, count in steps.items())
    (folder / "README.md").write_text(
        CARD.format(concepts=", ".join(excluded.concepts()), steps=steps_text)
    )
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != "sha256.json"
    )
    sums = {str(path.relative_to(folder)): export.digest(path) for path in files}
    (folder / "sha256.json").write_text(json.dumps(sums, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


def report(stage: str) -> None:
    print(f"== {stage}", file=sys.stderr, flush=True)
