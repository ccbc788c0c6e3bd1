"""Stage 5: the denoiser.

Stable Diffusion's UNet2DConditionModel, predicting v = √ᾱ ε − √(1−ᾱ) x_0 (Salimans & Ho 2022) as
Stable Diffusion 2 does.

    L = E  min(1, 5 / (snr(t) + 1)) | v_theta(x_t, t, caption) - v |^2

In terms of x_0 the weight is min(snr + 1, 5): min-SNR-5 (Hang et al. 2023, eq. 4) where there is
signal, and 1 where there is almost none, since that is where the prompt decides what the picture
will be. An ε must be exact to a fraction of √ᾱ, which is nearly 0 there, before it says anything
about x_0: predicting it learnt far more slowly (measured in docs/results/embedded-model.md).

The weights that leave this stage are a running average of those that are trained. The learning rate
is constant and falls over the last two fifths, so that a longer training goes on from a shorter
one's checkpoint: nothing is lost by stopping early.
"""

import copy
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from .captions import caption
from .checkpoint import Checkpoint
from .muon import BF16, Muon
from .text_encoder import WIDTH, tokenize

# Attention at 8 and 4 only: at 16 it costs more than it brings. In diffusers `attention_head_dim`
# is the number of heads here.
CONFIG = dict(
    sample_size=16, in_channels=8, out_channels=8, block_out_channels=(64, 128, 192),
    layers_per_block=1, norm_num_groups=16,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    cross_attention_dim=WIDTH, attention_head_dim=4,
)  # fmt: skip

SCENES = 0.5  # of the pictures of a batch hold two objects: the harder half of the world


def scheduler() -> DDIMScheduler:
    """Linear betas that end near zero signal (Ho et al. 2020): solid black and white backgrounds
    stay within reach.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


def rate(step: int, steps: int, warmup: int = 200) -> float:
    """Learning-rate factor: up, flat, and straight down to zero over the last two fifths."""
    return min(1.0, (step + 1) / warmup, max(0.0, (steps - step) / (0.4 * steps)))


def timesteps(batch: int, generator: torch.Generator) -> Tensor:
    """`batch` timesteps: a quarter evenly over 0..999, the others logit-normal around 330 (Esser et
    al. 2024, §3.1).

    With the linear schedule four timesteps in ten hold nearly nothing but noise (snr < .03); shapes
    are decided between 100 and 600.
    """
    even = batch // 4
    u = torch.cat(
        [(torch.arange(n) + torch.rand(n, generator=generator)) / n for n in (even, batch - even)]
    )
    u[even:] = torch.sigmoid(torch.special.ndtri(u[even:].clamp(1e-4, 1 - 1e-4)) - 0.7)
    return (u * 1000).long().clamp(max=999)[torch.randperm(batch, generator=generator)]


@dataclass(frozen=True)
class Training:
    """What every worker trains on.

    latents    [N, 8, 16, 16]; multiplied by `scale` to unit variance
    labels     [N] of type LABELS
    text       the text encoder, with its tokenizer
    average    decay of the running average of the weights, per step
    """

    latents: Tensor
    labels: np.ndarray
    text: CLIPTextModel
    tokenizer: CLIPTokenizer
    steps: int
    scale: float
    batch: int = 64
    lr: float = 1e-3
    average: float = 0.999


def train(work: Path, training: Training, workers: int = 2) -> UNet2DConditionModel:
    """Train the denoiser, or load it if it is trained.

    Each of the workers computes its part of every batch on a core of its own: that is faster than
    one process on all cores.

    Args:
        work: Folder of the checkpoint.
        training: Data and hyperparameters.
        workers: Number of processes.

    Returns:
        The averaged denoiser after `training.steps` steps.
    """
    path = work / "denoiser.pt"
    if Checkpoint(path).step < training.steps:
        training.latents.share_memory_()
        with tempfile.TemporaryDirectory() as meeting:
            arguments = (workers, meeting, path, training)
            torch.multiprocessing.spawn(run, arguments, nprocs=workers)
    ema = UNet2DConditionModel(**CONFIG)
    Checkpoint(path, ema=ema)
    return ema.requires_grad_(False).eval()


def run(rank: int, workers: int, meeting: str, path: Path, training: Training) -> None:
    """One worker.

    All draw the same batch and the same noise, each works on its share of the rows, and the
    gradients are averaged.
    """
    latents, labels, batch = training.latents, training.labels, training.batch
    steps, lr = training.steps, training.lr
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}/store", rank=rank, world_size=workers
    )
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**CONFIG).to(memory_format=torch.channels_last)
    # Attention over 64 cells: plain products are faster than the fused kernel, most of all in bf16.
    unet.set_attn_processor(AttnProcessor())
    ema = copy.deepcopy(unet).requires_grad_(False)
    for part in unet.modules():
        if isinstance(part, nn.GroupNorm):
            part.register_forward_pre_hook(lambda module, x: x[0].float())
    inner = {
        name
        for name, p in unet.named_parameters()
        if p.ndim > 1 and not name.startswith(("conv_in", "conv_out"))
    }
    muon = Muon([p for name, p in unet.named_parameters() if name in inner], lr=lr)
    adam = torch.optim.AdamW(
        [p for name, p in unet.named_parameters() if name not in inner],
        lr=lr,
        betas=(0.9, 0.99),
        weight_decay=1e-2,
    )
    checkpoint = Checkpoint(path, unet=unet, ema=ema, muon=muon, adam=adam)
    shared = DistributedDataParallel(unet, gradient_as_bucket_view=True)
    noise = scheduler()
    snr = noise.alphas_cumprod / (1 - noise.alphas_cumprod)
    mine = slice(rank, None, workers)
    scenes, singles = np.flatnonzero(labels["b"] >= 0), np.flatnonzero(labels["b"] < 0)
    mean, start = float("nan"), time.time()
    for step in range(checkpoint.step, steps):
        rng, generator = np.random.default_rng([3, step]), torch.Generator().manual_seed(step)
        for group, share in ((muon.param_groups[0], 1.0), (adam.param_groups[0], 0.5)):
            group["lr"] = share * lr * rate(step, steps)
        chosen = np.where(
            rng.random(batch) < SCENES, rng.choice(scenes, batch), rng.choice(singles, batch)
        )
        captions = [caption(labels[i], rng) for i in chosen]
        x = latents[chosen[mine]].float() * training.scale
        t = timesteps(batch, generator)[mine]
        eps = torch.randn((batch, *x.shape[1:]), generator=generator)[mine]
        x = x.contiguous(memory_format=torch.channels_last)
        eps = eps.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            tokens = tokenize(training.tokenizer, captions[mine])
            c = training.text(tokens).last_hidden_state
        with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
            v = shared(noise.add_noise(x, eps, t), t, c, return_dict=False)[0].float()
        weight = (5 / (snr[t] + 1)).clamp(max=1)
        loss = (weight * (v - noise.get_velocity(x, eps, t)).square().mean((1, 2, 3))).mean()
        unet.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        muon.step()
        adam.step()
        decay = min(training.average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(unet.parameters()), 1 - decay)
        mean = loss.item() if mean != mean else 0.98 * mean + 0.02 * loss.item()
        if rank == 0 and step % 50 == 49:
            print(
                f"denoiser {step + 1}/{steps} loss {mean:.4f} {time.time() - start:.0f}s",
                file=sys.stderr,
                flush=True,
            )
        if rank == 0 and (step % 250 == 249 or step == steps - 1 or checkpoint.is_old()):
            checkpoint.save(step + 1)
    dist.destroy_process_group()
