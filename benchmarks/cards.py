"""Memory and time on a graphics card, at the true shapes of large models with random weights, against what `--dry-run` tells of them.

    PYTHONPATH=tests python benchmarks/cards.py [--out runs/cards] [--write docs/cards.md]

Each row is a process of its own: few trajectories and steps, everything else as the preset or the command has it. A step's memory does not
depend on its weights, and neither does its time.
"""

import functools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from common import arguments, head, machine, once, page

from unconcept import AllButOne, Concept, wrap
from unconcept.budget import budget
from unconcept.models.ghost import ghost
from unconcept.plan import preset_settings

STEPS = 6
SD_VAE = dict(
    block_out_channels=[128, 256, 512, 512], layers_per_block=2, norm_num_groups=32,
    down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
)  # fmt: skip
CLIP_L = dict(
    hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, vocab_size=49408, max_position_embeddings=77
)
CLIP_G = {
    **CLIP_L,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
T5_XXL = dict(d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu", vocab_size=32128)
SHAPES = {  # of the published configurations
    "stable-diffusion": {
        "unet": dict(
            sample_size=64, block_out_channels=[320, 640, 1280, 1280], layers_per_block=2, norm_num_groups=32, attention_head_dim=8, cross_attention_dim=768,
            down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        ),
        "vae": {**SD_VAE, "sample_size": 512}, "text_encoder": CLIP_L,
    },
    "stable-diffusion-xl": {
        "unet": dict(
            sample_size=128, block_out_channels=[320, 640, 1280], layers_per_block=2, norm_num_groups=32, attention_head_dim=[5, 10, 20], cross_attention_dim=2048,
            transformer_layers_per_block=[1, 2, 10], down_block_types=["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
            up_block_types=["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"], addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816, use_linear_projection=True,
        ),
        "vae": {**SD_VAE, "sample_size": 1024}, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G,
    },
    "stable-diffusion-3": {  # 3.5 medium
        "transformer": dict(
            sample_size=128, in_channels=16, out_channels=16, num_layers=24, num_attention_heads=24, attention_head_dim=64, joint_attention_dim=4096,
            caption_projection_dim=1536, pooled_projection_dim=2048, pos_embed_max_size=384, dual_attention_layers=list(range(13)), qk_norm="rms_norm",
        ),
        "vae": {**SD_VAE, "sample_size": 1024, "latent_channels": 16},
        "text_encoder": {**CLIP_L, "projection_dim": 768}, "text_encoder_2": CLIP_G, "text_encoder_3": T5_XXL,
    },
    "flux": {
        "transformer": dict(
            in_channels=64, num_layers=19, num_single_layers=38, attention_head_dim=128, num_attention_heads=24, joint_attention_dim=4096,
            pooled_projection_dim=768, guidance_embeds=True, axes_dims_rope=[16, 56, 56],
        ),
        "vae": {**SD_VAE, "sample_size": 1024, "latent_channels": 16}, "text_encoder": CLIP_L, "text_encoder_2": T5_XXL,
    },
}  # fmt: skip
LOW = {"rank": 8, "parts": 8, "checkpointing": True}
ROWS: dict[str, tuple[str, str | dict]] = {
    "Stable Diffusion 1.4, --preset sd-8gb": ("stable-diffusion", "sd-8gb"),
    "Stable Diffusion 1.4, defaults": ("stable-diffusion", {}),
    "Stable Diffusion XL, --preset sdxl-12gb": ("stable-diffusion-xl", "sdxl-12gb"),
    "Stable Diffusion XL, --preset sdxl-24gb": ("stable-diffusion-xl", "sdxl-24gb"),
    "Stable Diffusion 3.5 medium, rank 8, parts 8, checkpointing": ("stable-diffusion-3", LOW),
    "Flux.1-dev, rank 8, parts 8, checkpointing": ("flux", LOW),
}


def folder(kind: str, place: Path) -> Path:
    """A diffusers folder of the family, its configurations in the true shapes; its weights are the tiny ones, and are not read."""
    from tiny import TINY  # of tests/

    TINY[kind]().save_pretrained(place)
    for part, more in SHAPES[kind].items():
        file = place / part / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | more))
    return place


def method(settings: str | dict) -> AllButOne:
    if isinstance(settings, str):
        return preset_settings(AllButOne(), settings)
    return AllButOne(tune=replace(AllButOne().tune, **settings))


def measure(name: str) -> dict:
    """Told and measured, in bytes; seconds of a training step and of a sampling step (two rows: one picture with guidance)."""
    kind, settings = ROWS[name]
    chosen, ticks = method(settings), []
    short = replace(chosen, trajectories=4, points=2, sampling_steps=4, tune=replace(chosen.tune, steps=STEPS, check=STEPS))
    with tempfile.TemporaryDirectory() as place:
        path = folder(kind, Path(place))
        told = budget(wrap(ghost(path, torch.bfloat16)), chosen)
        pipe = ghost(path, torch.bfloat16, "cuda")
    if kind == "flux":
        pipe.default_sample_size = 128
    model, peaks = wrap(pipe), {}

    def look(progress) -> None:
        torch.cuda.synchronize()
        stage = progress.stage
        if ticks and ticks[-1][0] != stage:
            peaks[ticks[-1][0]] = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        ticks.append((stage, time.perf_counter()))

    short(model, Concept(erase="pig"), report=look)
    peaks[ticks[-1][0]] = torch.cuda.max_memory_allocated()
    times = [at for stage, at in ticks if stage == "training"]
    steps = sorted(b - a for a, b in zip(times, times[1:]))
    return {
        "told": {"training": told.weights + told.training + told.activations, "sampling": told.weights + told.readers}, "peaks": peaks,
        "seconds": steps[len(steps) // 2] if steps else None, "points": chosen.tune.batch, "machine": machine(),
    }  # fmt: skip


def main() -> None:
    given, gib = arguments(__doc__, "cards", 1, row={"choices": ROWS}), lambda n: f"{n / 2**30:.1f}"
    if given.row:
        print(json.dumps(measure(given.row)))
        return
    lines = head(["", "told, GiB", "measured while training, GiB", "the most of any stage, GiB", "seconds a step"])
    for name in ROWS:
        command = [sys.executable, __file__, "--row", name, "--out", str(given.out)]
        own = lambda command: json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        if found := once(given.out / f"{name}.json", None if given.write else functools.partial(own, command)):
            cells = [
                gib(found["told"]["training"]),
                gib(found["peaks"].get("training", 0)),
                gib(max(found["peaks"].values())),
                f"{found['seconds']:.2f}",
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
            print(lines[-1], found["peaks"], flush=True)
    if given.write:
        given.write.write_text(page("On a graphics card", "cards.py", lines, "memory and time"))


if __name__ == "__main__":
    main()
