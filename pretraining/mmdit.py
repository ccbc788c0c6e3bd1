"""Another denoiser for the same pictures and the same words: Stable Diffusion 3's transformer
(MMDiT), trained by flow matching.

    x_t = (1 − σ) x_0 + σ n                               (Esser et al. 2024, eq. 2)
    L = E | v_θ(x_t, σ, caption) − (n − x_0) |²           (eq. 14)

    python -m pretraining.mmdit --steps 18000

It takes a GPU for ten minutes and writes the package's copy.

Autoencoder, text encoder and tokenizer are the package's, so everything is ready on the card before
the first step: latents, and the states of some captions of every picture. σ is logit-normal (their
§3.1) but for a quarter that is even: what is drawn is decided at its high end.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor

from unconcept import load
from unconcept.evaluation.emoji.judge import load_judge
from unconcept.evaluation.emoji.rendering import ONE_HAND
from unconcept.models import emoji
from unconcept.models.devices import default_device

from . import dataset as pictures
from . import evaluate as quality
from .captions import caption
from .checkpoint import Checkpoint
from .muon import Stacks
from .package_weights import digest, score_line
from .text_encoder import WIDTH
from .unet import SCENES, rate

WORK = Path(__file__).parent / ".work"
CONFIG = dict(
    sample_size=16, patch_size=2, in_channels=8, out_channels=8, num_layers=7,
    attention_head_dim=48, num_attention_heads=3,
    caption_projection_dim=144, joint_attention_dim=2 * WIDTH, pooled_projection_dim=2 * WIDTH,
    pos_embed_max_size=8, qk_norm="rms_norm",
)  # fmt: skip
CAPTIONS = 4  # of every picture
TRANSFORMER = emoji.FLOW / "transformer"
CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
# emoji-flow: the embedded model of unconcept, with Stable Diffusion 3's denoiser

The same images, words, autoencoder and text encoder as in `emoji` (its README describes them, their
data and licences), with a flow-matching transformer: `SD3Transformer2DModel`, {parameters:,}
parameters, 7 joint blocks of width 144. The one text encoder takes the place of both CLIP encoders
of Stable Diffusion 3; there is no T5. It exists so that erasing can be measured on a
transformer (MMDiT), not only on a U-Net.

    unconcept erase pig --to cow --model emoji-flow

| right | share | 95 % interval | n |
|---|---|---|---|
{rows}

Judged in the same way as `emoji`: {prompts:,} prompts, one image each, 25 Euler steps, guidance 5;
and the held-out (object, style) pairs.

## How it was trained

`python -m pretraining.mmdit`: {steps:,} steps of {batch} of {drawn:,} images, about six minutes
on one H100. Without a prompt, or for a word that it does not know, it draws shapes that are no
object.
"""


def captions(job: tuple[int, np.ndarray]) -> list[str]:
    index, labels = job
    rng = np.random.default_rng([13, index])
    return [caption(label, rng) for label in labels for _ in range(CAPTIONS)]


@torch.no_grad()
def dataset(
    work: Path, shards: int, workers: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, np.ndarray]:
    """Latents [N, 8, 16, 16], states [N · CAPTIONS, tokens, WIDTH], pooled states [N · CAPTIONS,
    WIDTH], labels [N].

    The two text encoders are one and the same: its states are kept once.
    """
    pictures.make(
        work / "one-hand", range(24, 24 + shards), ONE_HAND, aligned=True, workers=workers
    )
    drawn, labels = pictures.load(work / "one-hand")
    model = load("emoji", device=str(device))
    latents = [
        model.latents(torch.from_numpy(part).permute(0, 3, 1, 2).float() / 255).half()
        for part in np.array_split(drawn, 256)
    ]
    with ProcessPoolExecutor(workers) as pool:
        said = [
            text
            for part in pool.map(captions, enumerate(np.array_split(labels, 256)))
            for text in part
        ]
    reader = load("emoji-flow", device=str(device))
    states, pooled = [], []
    for i in range(0, len(said), 4096):
        c = reader.encode(said[i : i + 4096])
        states.append(c["encoder_hidden_states"][..., :WIDTH].half())
        pooled.append(c["pooled_projections"][:, :WIDTH].half())
    return torch.cat(latents), torch.cat(states), torch.cat(pooled), labels


def noise_levels(batch: int, generator: torch.Generator) -> Tensor:
    """σ [batch] in (0, 1): a quarter evenly, the others logit-normal."""
    u = torch.rand(batch, generator=generator, device=generator.device)
    even = torch.arange(batch, device=u.device) < batch // 4
    return torch.where(even, u, torch.sigmoid(torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4))))


def draw(indices: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n of the indices, with replacement, on their device."""
    chosen = torch.randint(len(indices), (n,), generator=generator, device=indices.device)
    return indices[chosen]


def train(
    work: Path,
    data: tuple[Tensor, Tensor, Tensor, np.ndarray],
    steps: int,
    batch: int,
    lr: float = 1e-3,
    average: float = 0.9995,
) -> SD3Transformer2DModel:
    """The averaged denoiser after `steps` steps.

    Matrices inside the blocks by Muon, everything else by AdamW.
    """
    latents, states, pooled, labels = data
    device = latents.device
    torch.manual_seed(0)
    network = SD3Transformer2DModel(**CONFIG).to(device)
    ema = SD3Transformer2DModel(**CONFIG).to(device).requires_grad_(False)
    ema.load_state_dict(network.state_dict())
    inner = {
        n
        for n, p in network.named_parameters()
        if n.startswith("transformer_blocks") and p.ndim == 2 and ".norm" not in n
    }
    muon = Stacks([p for n, p in network.named_parameters() if n in inner], lr=lr)
    adam = torch.optim.AdamW(
        [p for n, p in network.named_parameters() if n not in inner],
        lr=lr,
        betas=(0.9, 0.99),
        weight_decay=1e-2,
    )
    checkpoint = Checkpoint(work / "flow.pt", network=network, ema=ema, muon=muon, adam=adam)
    scenes = torch.from_numpy(np.flatnonzero(labels["b"] >= 0)).to(device)
    singles = torch.from_numpy(np.flatnonzero(labels["b"] < 0)).to(device)
    compiled: Any = torch.compile(network) if device.type == "cuda" else network
    start = time.time()
    for step in range(checkpoint.step, steps):
        generator = torch.Generator(device).manual_seed(step)
        n = round(batch * SCENES)
        chosen = torch.cat([draw(scenes, n, generator), draw(singles, batch - n, generator)])
        which = CAPTIONS * chosen + torch.randint(
            CAPTIONS, (batch,), generator=generator, device=device
        )
        x, c, p = latents[chosen].float(), states[which].float(), pooled[which].float()
        sigma = noise_levels(batch, generator)[
            torch.randperm(batch, generator=generator, device=device)
        ]
        noise = torch.randn(x.shape, generator=generator, device=device)
        s = sigma.view(-1, 1, 1, 1)
        for group in (*muon.param_groups, *adam.param_groups):
            group["lr"] = lr * rate(step, steps)
        with torch.autocast(device.type, torch.bfloat16):
            v = compiled(
                (1 - s) * x + s * noise,
                torch.cat([c, c], 2),
                torch.cat([p, p], 1),
                1000 * sigma,
                return_dict=False,
            )[0]
        loss = (v.float() - (noise - x)).square().mean()
        network.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        muon.step()
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(ema.parameters()),
                list(network.parameters()),
                1 - min(average, (1 + step) / (10 + step)),
            )
        if step % 250 == 249 or step == steps - 1:
            print(
                f"flow {step + 1}/{steps} loss {loss.item():.4f} {time.time() - start:.0f}s",
                file=sys.stderr,
                flush=True,
            )
        if step % 2000 == 1999 or step == steps - 1:
            checkpoint.save(step + 1)
    return ema.eval()


def describe(
    network: SD3Transformer2DModel, measured: dict, prompts: int, steps: int, batch: int, drawn: int
) -> None:
    """What stands beside the package's copy of the weights: what was measured, their sha256, and a
    model card.
    """
    weights = TRANSFORMER / "diffusion_pytorch_model.safetensors"
    known = {
        "model": measured,
        "prompts": prompts,
        "steps": {"flow": steps},
        "sha256": digest(weights),
    }
    (emoji.FLOW / "quality.json").write_text(json.dumps(known, indent=1) + "\n")
    rows = [score_line(name, row) for name, row in measured.items()]
    parameters = sum(p.numel() for p in network.parameters())
    (emoji.FLOW / "README.md").write_text(
        CARD.format(
            parameters=parameters,
            prompts=prompts,
            rows="\n".join(rows),
            steps=steps,
            batch=batch,
            drawn=drawn,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pretraining.mmdit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--shards", type=int, default=48, help="of 2,048 pictures")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=1000, help="for the measurement at the end")
    given = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    if not TRANSFORMER.exists():
        SD3Transformer2DModel(**CONFIG).half().save_pretrained(
            TRANSFORMER
        )  # the reader below comes with some transformer
    data = dataset(WORK, given.shards, given.workers, default_device())
    print(f"{len(data[0])} pictures are ready", file=sys.stderr, flush=True)
    network = train(WORK, data, given.steps, given.batch)
    network.half().save_pretrained(TRANSFORMER)
    measured = quality.measure(
        load("emoji-flow", device=str(default_device())), load_judge(), given.prompts
    )
    describe(network, measured, given.prompts, given.steps, given.batch, len(data[0]))
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
