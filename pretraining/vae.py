"""Stages 3 and 6: the autoencoder.

Stable Diffusion's AutoencoderKL, four times smaller pictures, eight channels.

    L = |x - x'| + 0.25 |grad x - grad x'| + 0.5 |mean_4x4(x - x')|^2
        + |z_rgb - mean_4x4(x)|^2 + 1e-4 |z|^2

The slope term keeps edges crisp where the plain distance would be content with a soft ramp. The
first three channels are asked to be the small picture itself: left to itself the training spends a
long time without colours. The other five are free.

The encoder is done first, since the denoiser learns in its latents; the decoder goes on alone for
as long as edges and patterns gain by it.
"""

import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .checkpoint import Checkpoint, cosine

NOISE = 0.05  # on latents of about unit size
# The three channels of the small picture are made this much louder and the free ones softer: of the
# denoiser's loss they are half then instead of a fifth, and noise covers them last, so that a
# picture's shapes and colours are decided before its patterns.
LOUD, SOFT = 1.6, 0.75

CONFIG = dict(
    in_channels=3, out_channels=3, latent_channels=8, block_out_channels=(24, 48, 96),
    layers_per_block=1, norm_num_groups=8,
    down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
    mid_block_add_attention=False,
    sample_size=64, scaling_factor=1.0,
)  # fmt: skip


def slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def to_network(pictures: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] -> float [N, 3, H, W] in [-1, 1], channels last."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def distance(x: Tensor, y: Tensor) -> Tensor:
    return (
        (x - y).abs().mean()
        + 0.5 * (nn.functional.avg_pool2d(x - y, 4)).square().mean()
        + 0.25 * sum((p - q).abs().mean() for p, q in zip(slopes(x), slopes(y)))
    )


def train(
    work: Path, pictures: np.ndarray, steps: int, batch: int = 24, lr: float = 2e-3
) -> AutoencoderKL:
    """The autoencoder after `steps` steps, from the checkpoint in `work` when there is one.

    In single precision: processors without bf16 instructions take eight times as long with
    autocast.
    """
    torch.manual_seed(0)
    vae = AutoencoderKL(**CONFIG).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=1e-4)
    checkpoint = Checkpoint(work / "autoencoder.pt", vae=vae, optimizer=optimizer)
    start = time.time()
    for step in range(checkpoint.step, steps):
        rng = np.random.default_rng([1, step])
        for group in optimizer.param_groups:
            group["lr"] = lr * cosine(step, steps, warmup=50)
        x = to_network(pictures[rng.integers(len(pictures), size=batch)])
        posterior = vae.encode(x).latent_dist
        # A little noise of a fixed size instead of the posterior's own: at the start that one
        # drowns the colours for hundreds of steps.
        y = vae.decode(posterior.mean + NOISE * torch.randn_like(posterior.mean)).sample
        spread = (posterior.logvar - 2 * math.log(NOISE)).square().mean()
        small = nn.functional.avg_pool2d(x, 4)
        loss = (
            distance(x, y)
            + (posterior.mean[:, :3] - small).square().mean()
            + 1e-4 * posterior.mean.square().mean()
            + 1e-3 * spread
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        tell("autoencoder", step, steps, x, y, start)
        if step % 200 == 199 or step == steps - 1:
            checkpoint.save(step + 1)
    return vae.eval()


@torch.no_grad()
def balance(vae: AutoencoderKL, power: int = 1) -> AutoencoderKL:
    """`vae` with its latents' channels LOUD and SOFT.

    The factors go into the 1×1 convolutions on either side: every reconstruction stays. power: -1
    takes them back.
    """
    k = torch.tensor([LOUD] * 3 + [SOFT] * 5) ** power
    into, out_of = vae.quant_conv, vae.post_quant_conv
    into.weight[:8] *= k.view(-1, 1, 1, 1)
    into.bias[:8] *= k
    into.bias[8:] += 2 * k.log()
    out_of.weight /= k.view(1, -1, 1, 1)
    return vae


def refine(
    work: Path,
    pictures: np.ndarray,
    vae: AutoencoderKL,
    steps: int,
    batch: int = 24,
    lr: float = 1.5e-3,
) -> AutoencoderKL:
    """`vae` with a decoder trained for `steps` steps more; the encoder, and with it every latent,
    stays as it is.
    """
    torch.manual_seed(1)
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder])
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=1e-4)
    checkpoint = Checkpoint(work / "decoder.pt", decoder=decoder, optimizer=optimizer)
    start = time.time()
    for step in range(checkpoint.step, steps):
        rng = np.random.default_rng([6, step])
        for group in optimizer.param_groups:
            group["lr"] = lr * cosine(step, steps, warmup=50)
        x = to_network(pictures[rng.integers(len(pictures), size=batch)])
        with torch.no_grad():
            z = vae.encode(x).latent_dist.mode()
        y = vae.decode(z + NOISE * torch.randn_like(z)).sample
        optimizer.zero_grad(set_to_none=True)
        distance(x, y).backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        tell("decoder", step, steps, x, y, start)
        if step % 200 == 199 or step == steps - 1:
            checkpoint.save(step + 1)
    return vae.eval()


def tell(what: str, step: int, steps: int, x: Tensor, y: Tensor, start: float) -> None:
    if step % 50 == 49:
        psnr = -10 * torch.log10(((x - y) / 2).square().mean()).item()
        print(
            f"{what} {step + 1}/{steps} psnr {psnr:.1f} {time.time() - start:.0f}s",
            file=sys.stderr,
            flush=True,
        )


@torch.no_grad()
def latents(vae: AutoencoderKL, pictures: np.ndarray, batch: int = 256) -> Tensor:
    """Posterior means [N, 8, 16, 16], float16, not yet scaled."""
    parts = [
        vae.encode(to_network(pictures[i : i + batch])).latent_dist.mode().half()
        for i in range(0, len(pictures), batch)
    ]
    return torch.cat(parts).contiguous()


def cached_latents(work: Path, vae: AutoencoderKL, pictures: np.ndarray) -> Tensor:
    """The latents of all pictures, computed once."""
    file = work / "latents.safetensors"
    if not file.exists():
        save_file({"latents": latents(vae, pictures)}, file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    return load_file(file)["latents"]
