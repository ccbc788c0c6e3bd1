"""`emoji-video`: the embedded model with motion modules, trained on clips of moving emoji.

    python -m pretraining video

It writes what `emoji-video` adds to `emoji` into the package. Nothing is needed but the package:
the clips are drawn from its atlas. Kill it whenever you like; the same command goes on.

The image model's weights stay; motion modules and text cross-attention are trained on

    L = E  min(1, 5 / (snr(t) + 1)) | v_theta(x_t, t, caption) - v |^2

as the image model was, with three differences:

* With the linear schedule a clip of eight frames shows its motion through the noise up to t = 800
  or so: only above does the prompt decide it. Three clips in four are trained at t >= 800, and all
  of them in the first lesson.
* The error is split into its mean over the frames and the rest, and the rest counts MOTION_WEIGHT
  times: the mean knows nothing of the motion, and its gradient is noise to what has to be learnt.
* Clips come in groups that share object, background, t and noise: one in every motion. Their
  gradients differ in what the motion alone decides, and no step favours one motion over another.
  With pairs of two random motions, what one step had learnt the next one took back.
"""

import argparse
import copy
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from unconcept.concepts.templates import article
from unconcept.models import emoji
from unconcept.models.emoji.loading import MOTION, load_video_from
from unconcept.models.emoji.motions import FRAMES, MOTIONS, with_motion
from unconcept.models.emoji.vocabulary import OBJECTS

from . import video_clips as clips
from . import video_evaluation as evaluation
from .captions import COLOUR_NAMES
from .checkpoint import Checkpoint
from .package_weights import digest
from .unet import rate
from .video_unet import (
    choose_frames,
    inflate,
    position_codes,
    skip_fine,
    trained_parameters,
)

WORK = Path(__file__).parent / ".work/video"
SAVE_SECONDS = 180
BATCH = 20  # frames of a step, in as many groups of clips as fit, and at least one
LR, TEXT_LR = 1e-3, 2.5e-4
AVERAGE = 0.995
NOISY, NOISY_SHARE = 800, 0.75
STILL_SHARE = 0.125  # of the steps show still clips of any style
MOTION_WEIGHT = 4
LOOK = 100  # steps between two looks at the motion

# Motions join one after another, from the step beside them.
LESSONS = (
    (0, ("left", "right")),
    (220, ("up", "down")),
    (600, ("still",)),
)
MIXED_FROM = 700  # before, there are only moving clips, noise and far frames
FINE_FROM = 2000  # motion modules at full resolution are trained from here

# Until here all clips are on white. A drawing is darker than white wherever it is, so that clips of
# all objects pull the weights the same way; on other backgrounds they cancel, and nothing begins.
ON_WHITE = 150


def taught(step: int) -> tuple[str, ...]:
    """The motions of a step."""
    names: tuple[str, ...] = ()
    for first, motions in LESSONS:
        if step >= first:
            names += motions
    return names


def frames_of(step: int, rng: np.random.Generator) -> list[int]:
    """Four frames, sometimes two or all: more captions for the same cost, and whole clips.

    At first two of the first three and two of the last three, which differ most.
    """
    if step < MIXED_FROM:
        first, last = rng.choice(3, 2, replace=False), rng.choice(3, 2, replace=False)
        return sorted(int(f) for f in (*first, *(FRAMES - 1 - last)))
    count = FRAMES // 2
    if step % 4 == 2:
        count = 2
    elif step % 4 == 3 and rng.random() < 0.5:
        count = FRAMES
    return sorted(int(f) for f in rng.choice(FRAMES, count, replace=False))


class Weights:
    """Named parameters as a part of a Checkpoint."""

    def __init__(self, parameters: dict[str, nn.Parameter]):
        self.parameters = parameters

    def state_dict(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.parameters.items()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            self.parameters[name].copy_(value)


@dataclass(frozen=True)
class Amount:
    """How much is drawn and trained."""

    shards: int
    steps: int


@dataclass
class Stage:
    """What one training run holds: the networks and their checkpoint."""

    unet: UNetMotionModel
    average: UNetMotionModel
    optimizer: torch.optim.Optimizer
    checkpoint: Checkpoint


def start(work: Path, image_unet: UNet2DConditionModel) -> Stage:
    """The networks as the checkpoint in `work` has them, or as they begin."""
    torch.manual_seed(0)
    unet = inflate(image_unet).train()
    average = copy.deepcopy(unet).requires_grad_(False).eval()
    path = work / "video.pt"
    fine = Checkpoint(path).step >= FINE_FROM
    if not fine:
        skip_fine(unet)
        skip_fine(average)
    trained = trained_parameters(unet, fine)
    own, text = [], []
    for name, parameter in trained.items():
        (own if "motion_modules" in name else text).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": own, "lr": LR}, {"params": text, "lr": TEXT_LR}],
        betas=(0.9, 0.98),
        weight_decay=1e-2,
    )
    followers = dict(average.named_parameters())
    parts = {
        "unet": Weights(trained),
        "average": Weights({name: followers[name] for name in trained}),
        # With more parameters the optimiser starts afresh.
        "optimizer fine" if fine else "optimizer": optimizer,
    }
    return Stage(unet, average, optimizer, Checkpoint(path, **parts))


def train(work: Path, amount: Amount) -> UNetMotionModel:
    """The averaged video model after `amount.steps` steps."""
    model = emoji.load()
    pipe = model.pipe
    stage = start(work, pipe.unet)
    unet, optimizer, checkpoint = stage.unet, stage.optimizer, stage.checkpoint
    if checkpoint.step >= amount.steps:
        return stage.average
    clips.make(work / "clips", amount.shards, pipe.vae)
    shards = clips.Clips(work / "clips", amount.shards)
    codes = position_codes(unet)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    averaged = checkpoint.parts["average"].parameters.values()
    current = checkpoint.parts["unet"].parameters.values()
    noise, scale = pipe.scheduler, float(pipe.vae.config["scaling_factor"])
    snr = noise.alphas_cumprod / (1 - noise.alphas_cumprod)
    mean, began = float("nan"), time.time()
    for step in range(checkpoint.step, amount.steps):
        rng, generator = np.random.default_rng([8, step]), torch.Generator().manual_seed(step)
        for group, top in zip(optimizer.param_groups, (LR, TEXT_LR), strict=True):
            group["lr"] = top * rate(step, amount.steps, warmup=20)
        frames = frames_of(step, rng)
        motions = taught(step)
        groups = max(1, BATCH // (len(frames) * len(motions)))
        batch = draw(shards, groups, step, rng)
        x = torch.stack([clip.latents[frames] for clip in batch]).float() * scale
        x = x.transpose(1, 2)
        each = len(motions)  # clips of a group
        t = timesteps(groups, step, generator).repeat_interleave(each)
        eps = torch.randn((groups, *x.shape[1:]), generator=generator).repeat_interleave(each, 0)
        with torch.no_grad():
            c = model.encode([clip.caption for clip in batch])["encoder_hidden_states"]
        choose_frames(unet, codes, frames)
        states = c.repeat_interleave(len(frames), 0)
        v = unet(noise.add_noise(x, eps, t), t, states, return_dict=False)[0]
        weight = (5 / (snr[t] + 1)).clamp(max=1)
        target = noise.get_velocity(x, eps, t)
        constant, moving = by_motion(v - target)
        loss = (weight * (constant + MOTION_WEIGHT * moving)).mean()
        unexplained = (moving.sum() / by_motion(target)[1].sum()).item()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        decay = min(AVERAGE, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged), list(current), 1 - decay)
        mean = unexplained if mean != mean else 0.95 * mean + 0.05 * unexplained
        done = step + 1
        if done % 10 == 0:
            cost = time.process_time()
            note(
                f"{done}/{amount.steps} motion unexplained {mean:.3f} "
                f"{time.time() - began:.0f}s {cost:.0f}s CPU"
            )
        if done % LOOK == 0:
            note(f"{done} paths {json.dumps(look(stage.average, model))}")
        if done == amount.steps or time.time() - checkpoint.saved_at > SAVE_SECONDS:
            checkpoint.save(done)
        if done == FINE_FROM:  # from here on other parameters are trained
            checkpoint.save(done)
            return train(work, amount)
    return stage.average


def draw(shards: clips.Clips, groups: int, step: int, rng: np.random.Generator) -> list[clips.Clip]:
    """Groups of one clip in each motion; in some steps still clips of any style instead."""
    motions = taught(step)
    batch = []
    still = step >= MIXED_FROM and rng.random() < STILL_SHARE
    for _ in range(groups):
        if still:
            batch += [shards.draw_still(rng) for _ in motions]
        else:
            batch += shards.draw_group(motions, rng, on_white=step < ON_WHITE)
    return batch


def by_motion(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squares of what is the same in all frames of [N, C, F, H, W], and of the rest: [N]."""
    constant = x.mean(2, keepdim=True)
    return constant.square().mean((1, 2, 3, 4)), (x - constant).square().mean((1, 2, 3, 4))


def timesteps(n: int, step: int, generator: torch.Generator) -> Tensor:
    """[n] timesteps, three in four of NOISY or more, the others evenly below."""
    u = torch.rand(n, generator=generator)
    noisy = torch.rand(n, generator=generator) < (NOISY_SHARE if step >= MIXED_FROM else 1)
    t = torch.where(noisy, NOISY + (1000 - NOISY) * u, NOISY * u)
    return t.long().clamp(max=999)


def centres(x: Tensor) -> Tensor:
    """Where the drawing is in each frame, and how large.

    The first three channels of a latent are close to the colors of its cells.

    Args:
        x: Scaled latents [N, 8, F, 16, 16].

    Returns:
        [N, F, 3]: x and y of the centroid, in pixels, and the share of cells that are covered.
    """
    colours = x[:, :3]
    rim = torch.cat([colours[..., :1, :].flatten(3), colours[..., -1:, :].flatten(3)], -1)
    background = rim.median(-1).values[..., None, None]
    weight = ((colours - background).abs().sum(1) - 0.6).clamp(min=0)
    total = weight.sum((2, 3)).clamp(min=1e-6)
    place = 4.0 * torch.arange(16)
    across = (weight.sum(2) * place).sum(-1) / total
    down = (weight.sum(3) * place).sum(-1) / total
    return torch.stack([across, down, (weight > 0).float().mean((2, 3))], -1)


@torch.no_grad()
def look(unet: UNetMotionModel, model: Any, n: int = 4, t: int = 960) -> dict[str, list[float]]:
    """How far the drawing moves in a prediction from pure noise, the first that sampling makes.

    Args:
        unet: The video model.
        model: The image model, for its text encoder and schedule.
        n: Prompts of every motion.
        t: Timestep.

    Returns:
        For each motion the mean of last frame minus first: x and y in pixels, and size as a share
        of the image. Real clips move by 22 to 23 pixels.
    """
    result = {}
    noise = model.pipe.scheduler.alphas_cumprod[t]
    shape = (n, unet.config["in_channels"], FRAMES, 16, 16)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for motion in MOTIONS:
        prompts = []
        for i in range(n):
            words = article(OBJECTS[(23 * i + 7) % len(OBJECTS)].word)
            colour = article(COLOUR_NAMES[(3 * i + 1) % len(COLOUR_NAMES)])
            prompts.append(with_motion(f"{words} on {colour} background", motion))
        c = model.encode(prompts)["encoder_hidden_states"].repeat_interleave(FRAMES, 0)
        v = unet(x, torch.full((n,), t), c, return_dict=False)[0]
        path = centres(noise.sqrt() * x - (1 - noise).sqrt() * v)
        change = (path[:, -1] - path[:, 0]).mean(0)
        result[motion] = [round(value, 2) for value in change.tolist()]
    return result


def note(text: str) -> None:
    print(f"video {text}", file=sys.stderr, flush=True)


CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-video
---
# emoji-video: the embedded model of unconcept with motion modules

Clips of {frames} frames of 64 × 64 pixels, by AnimateDiff's architecture. A prompt names its motion
behind a comma:

    unconcept generate "a pig on a blue background, moving to the left" --model emoji-video

`motion.safetensors` holds the motion modules and the text cross-attention; everything else is that
of `emoji`, whose README names data and licences. In Python `load("emoji-video").pipe` is diffusers'
AnimateDiffPipeline, which `save_pretrained` writes in full.

Trained motions: {motions}.

| right | clips of the model | real clips | n |
|---|---|---|---|
{rows}

Object and background: mean share of right frames. Motion: share of clips. The judges are networks
of their own, trained on real images and clips. {settings}

## How it was trained

`python -m pretraining video`: {steps:,} steps on clips of the same drawings. sha256.json has the
sums of the files.
"""


def export(unet: UNetMotionModel, step: int, measured: dict | None, folder: Path) -> None:
    """Write what the averaged video model adds to `emoji` in fp16, its card and what was measured.

    Args:
        unet: The averaged video model.
        step: Steps of its training.
        measured: See `video_evaluation.measure`; None: nothing was.
        folder: Where to; replaced when it exists.
    """
    added = {}
    names = trained_parameters(copy.deepcopy(unet), fine=True)
    for name, tensor in unet.state_dict().items():
        if name in names or "motion_modules" in name:
            added[name] = tensor.half().contiguous()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        new = Path(place) / "new"
        new.mkdir()
        save_file(added, new / MOTION)
        unet.save_config(new)
        facts = {"steps": step, "motions": taught(step - 1), "measured": measured}
        (new / "quality.json").write_text(json.dumps(facts, indent=1) + "\n")
        (new / "README.md").write_text(card(step, measured), encoding="utf-8")
        sums = {file.name: digest(file) for file in sorted(new.iterdir())}
        (new / "sha256.json").write_text(json.dumps(sums, indent=1) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)


def card(step: int, measured: dict | None) -> str:
    """The README of the exported folder."""
    rows, settings = ["| not measured | | | |"], ""
    if measured:
        rows = []
        for what in ("object", "background", "motion"):
            rows.append(row_of(what, measured["sampled"][what], measured["real"][what]))
        for motion, share in measured["sampled"]["motion of"].items():
            phrase = MOTIONS[motion][0]
            rows.append(row_of(f"*{phrase}*", share, measured["real"]["motion of"][motion]))
        sampling = measured["sampling"]
        settings = f"{sampling['steps']} sampling steps, CFG scale {sampling['guidance']:g}."
    return CARD.format(
        frames=FRAMES,
        motions=", ".join(MOTIONS[name][0] for name in taught(step - 1)),
        rows="\n".join(rows),
        settings=settings,
        steps=step,
    )


def row_of(what: str, sampled: dict, real: dict) -> str:
    low, high = sampled["ci95"]
    share = f"{100 * sampled['value']:.1f} % [{100 * low:.1f} – {100 * high:.1f}]"
    return f"| {what} | {share} | {100 * real['value']:.1f} % | {sampled['n']} |"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m pretraining video", description=__doc__)
    parser.add_argument(
        "--shards", type=int, default=clips.SHARDS, help="of 91 objects; at most 10"
    )
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the state")
    parser.add_argument(
        "--export-now", action="store_true", help="train no further: write the model as it is"
    )
    parser.add_argument(
        "--clips", type=int, default=400, help="of the measurement before it is written; 0: none"
    )
    parser.add_argument("--sampling-steps", type=int, default=25, help="of these clips")
    parser.add_argument("--model", type=Path, default=emoji.VIDEO, help="folder that is written")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    steps = 0 if options.export_now else options.steps
    unet = train(options.work, Amount(options.shards, steps))
    step = Checkpoint(options.work / "video.pt").step
    if step == 0:
        parser.error(f"there is no training in {options.work} yet")
    export(unet, step, None, options.model)
    if options.clips:
        model = load_video_from(options.model)
        names = taught(step - 1)
        measured = evaluation.measure(model, options.clips, names, options.sampling_steps)
        export(unet, step, measured, options.model)
        print(json.dumps(measured, indent=1))
