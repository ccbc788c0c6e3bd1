"""What a training step costs at the true shapes of Stable Diffusion 1.4: seconds and memory,
against a bare step and ESD's official script.

    python benchmarks/training_step_cost.py --esd CLONE [--latents 32]

CLONE is the path to a clone of rohitgandikota/erasing.
Weights are random, in bf16. Latents have half the true width, so that a CPU can run it; on a GPU
use --latents 64, the true width. Each variant runs in its own process. Memory is the process's peak
on a CPU, and the peak of torch's allocator on a GPU.

bare   the U-Net forward and backward, with as many rows as a step of ours; no prompts, no
       optimizer, nothing else in memory
ours   `AllButOne` with its defaults, except for a batch of one point and few trajectories:
       everything from the pipeline to the edit
esd    the authors' script (esd-x), except for the folder, the device and the image size; its step
       includes sampling
"""

import argparse
import functools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import torch
from common import RESULTS, head, last_line, machine, once

VARIANTS = ("bare", "ours", "esd")
STEPS = 7
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def build(folder: Path, latents: int) -> None:
    """A diffusers folder in Stable Diffusion 1.4's shapes; its tokenizer only knows letters."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,
    )
    from diffusers.schedulers.scheduling_pndm import PNDMScheduler
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    torch.set_default_dtype(torch.bfloat16)
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = [
        *letters,
        *(letter + "</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    tokenizer = CLIPTokenizer(
        vocab={t: i for i, t in enumerate(vocabulary)}, merges=[], model_max_length=77
    )
    ends = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    text = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        **ends,
    )
    unet = UNet2DConditionModel(sample_size=latents, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=8 * latents,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    schedule = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        steps_offset=1,
    )
    parts = dict(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=schedule,
    )
    more = dict(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    StableDiffusionPipeline(**parts, **more).save_pretrained(folder)


def bare(folder: Path, given: argparse.Namespace) -> list[float]:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    unet = (
        UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.bfloat16)
        .to(DEVICE)
        .requires_grad_(False)
    )
    for name, weight in unet.named_parameters():
        weight.requires_grad_(name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")))
    size = given.latents
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        for rows in (2, 1):  # the rows of an erased point, and of a retained one
            like: dict = dict(dtype=torch.bfloat16, device=DEVICE)
            loss = unet(
                torch.randn(rows, 4, size, size, **like),
                torch.full((rows,), 500, device=DEVICE),
                torch.randn(rows, 77, 768, **like),
            )
            loss.sample.float().square().mean().backward()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return seconds


def ours(folder: Path, given: argparse.Namespace) -> list[float]:
    from unconcept import AllButOne, Concept, Tune, load

    ticks = []
    method = AllButOne(
        start="none",
        rounds=1,
        trajectories=4,
        points=2,
        sampling_steps=4,
        tune=Tune(steps=STEPS, batch_size=1, check=STEPS),
    )
    method(
        load(folder, dtype="bf16", device=DEVICE),
        Concept(erase="pig"),
        progress=lambda p: ticks.append((p.stage, time.perf_counter())),
    )
    times = [at for stage, at in ticks if stage == "training"]
    return [
        b - a for a, b in zip(times, times[1:-1])
    ]  # the last one also evaluates held-out points


def esd(folder: Path, given: argparse.Namespace) -> list[float]:
    ticks: list[float] = []

    def counted(steps, **_):
        for step in steps:
            ticks.append(time.perf_counter())
            yield step
        ticks.append(time.perf_counter())

    class Bar:
        def __init__(self, steps, **_):
            self.steps = counted(steps)

        def __iter__(self):
            return self.steps

        def set_postfix(self, **_):
            pass

    program = (given.esd / "esd_sd.py").read_text()
    program = program.replace("CompVis/stable-diffusion-v1-4", str(folder))
    program = re.sub(r"height=width=1024", f"height=width={8 * given.latents}", program)
    program = program.replace("pbar = tqdm(", "pbar = Bar(")
    saved = given.out / "theirs"
    sys.path.insert(0, str(given.esd))
    sys.argv = [
        "esd_sd.py",
        "--erase_concept",
        "pig",
        "--train_method",
        "esd-x",
        "--iterations",
        str(STEPS),
        "--num_inference_steps",
        "10",
        "--device",
        DEVICE,
        "--save_path",
        str(saved),
    ]
    exec(compile(program, "esd_sd.py", "exec"), {"__name__": "__main__", "Bar": Bar})
    return [b - a for a, b in zip(ticks, ticks[1:])]


def table(results: dict[str, dict]) -> list[str]:
    lines = head(["", "seconds a step, median without the first", "peak memory, GiB"])
    for name, result in results.items():
        lines.append(f"| {name} | {result['seconds']:.2f} | {result['peak'] / 2**30:.2f} |")
    if "bare" in results and "ours" in results:
        ratio = results["ours"]["seconds"] / results["bare"]["seconds"]
        lines += ["", f"Step time, ours against bare: {ratio:.2f}."]
    if "esd" in results and "ours" in results:
        ratio = results["ours"]["peak"] / results["esd"]["peak"]
        lines.append(f"Peak memory, ours against ESD's script: {ratio:.2f}.")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--esd", type=Path)
    parser.add_argument("--latents", type=int, default=32)
    parser.add_argument("--out", type=Path, default=RESULTS / "memory")
    parser.add_argument(
        "--variant", choices=VARIANTS, help="run this one in this process and print its result"
    )
    given = parser.parse_args()
    folder = given.out.absolute() / f"sd14-{given.latents}"
    if given.variant:
        from unconcept.profiling.usage import peak_memory

        seconds = sorted(globals()[given.variant](folder, given)[1:])  # the first warms up
        peak = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else peak_memory()
        print(
            json.dumps({"seconds": seconds[len(seconds) // 2], "peak": peak, "machine": machine()})
        )
        return
    if not folder.exists():
        program = (
            "import training_step_cost, pathlib; "
            f"training_step_cost.build(pathlib.Path({str(folder)!r}), {given.latents})"
        )
        subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)
    results = {}
    for name in VARIANTS if given.esd else VARIANTS[:2]:
        command = [
            sys.executable,
            __file__,
            "--variant",
            name,
            "--latents",
            str(given.latents),
            "--out",
            str(given.out),
        ]
        command += ["--esd", str(given.esd)] if given.esd else []
        run = functools.partial(last_line, command)
        results[name] = once(given.out / f"{name}-{given.latents}.json", run)
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
