"""Memory and time on a GPU, at the true shapes of large models with random weights, against the
estimate of `--dry-run`.

    PYTHONPATH=tests python benchmarks/gpu_memory.py

Each row runs in its own process, with few trajectories and steps and otherwise the settings of the
preset or the command. The memory and time of a step do not depend on the values of the weights.
"""

import functools
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from common import TRAINED, arguments, head, last_line, machine, once
from support.shapes import folder  # of tests/

from unconcept import AllButOne, Concept, wrap
from unconcept.cli.method_settings import preset_settings
from unconcept.models.meta_device import build_without_weights
from unconcept.profiling.memory_estimate import estimate_memory

STEPS = 6
LOW = {"rank": 8, "gradient_accumulation": 8, "gradient_checkpointing": True}
ROWS: dict[str, tuple[str, str | dict]] = {
    "Stable Diffusion 1.4, --preset sd-8gb": ("stable-diffusion", "sd-8gb"),
    "Stable Diffusion 1.4, defaults": ("stable-diffusion", {}),
    "Stable Diffusion XL, --preset sdxl-12gb": ("stable-diffusion-xl", "sdxl-12gb"),
    "Stable Diffusion XL, --preset sdxl-24gb": ("stable-diffusion-xl", "sdxl-24gb"),
    "Stable Diffusion 3.5 medium, rank 8, parts 8, checkpointing": ("stable-diffusion-3", LOW),
    "Flux.1-dev, rank 8, parts 8, checkpointing": ("flux", LOW),
}


def method(settings: str | dict) -> AllButOne:
    if isinstance(settings, str):
        return preset_settings(TRAINED, settings)
    return replace(TRAINED, tune=replace(TRAINED.tune, **settings))


def measure(name: str) -> dict:
    """Estimated and measured memory in bytes, and seconds of a training step."""
    kind, settings = ROWS[name]
    chosen, ticks = method(settings), []
    short = replace(
        chosen,
        trajectories=4,
        points=2,
        sampling_steps=4,
        tune=replace(chosen.tune, steps=STEPS, check=STEPS),
    )
    with tempfile.TemporaryDirectory() as place:
        path = folder(kind, Path(place))
        estimate = estimate_memory(wrap(build_without_weights(path, torch.bfloat16)), chosen)
        pipe = build_without_weights(path, torch.bfloat16, "cuda")
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

    short(model, Concept(erase="pig"), progress=look)
    peaks[ticks[-1][0]] = torch.cuda.max_memory_allocated()
    times = [at for stage, at in ticks if stage == "training"]
    steps = sorted(b - a for a, b in zip(times, times[1:]))
    return {
        "told": {
            "training": estimate.weights + estimate.training + estimate.activations,
            "sampling": estimate.weights + estimate.text_encoders,
        },
        "peaks": peaks,
        "seconds": steps[len(steps) // 2] if steps else None,
        "points": chosen.tune.batch_size,
        "machine": machine(),
    }


def main() -> None:
    given = arguments(__doc__, "cards", None, row={"choices": ROWS})
    if given.row:
        print(json.dumps(measure(given.row)))
        return
    heads = ["", "estimated, GiB", "measured while training, GiB", "largest stage, GiB"]
    print("\n".join(head([*heads, "seconds a step"])))
    for name in ROWS:
        command = [sys.executable, __file__, "--row", name, "--out", str(given.out)]
        row = once(given.out / f"{name}.json", functools.partial(last_line, command))
        if row:
            cells = [
                gib(row["told"]["training"]),
                gib(row["peaks"].get("training", 0)),
                gib(max(row["peaks"].values())),
                f"{row['seconds']:.2f}",
            ]
            print(f"| {name} | " + " | ".join(cells) + " |", row["peaks"], flush=True)


def gib(n: int) -> str:
    return f"{n / 2**30:.1f}"


if __name__ == "__main__":
    main()
