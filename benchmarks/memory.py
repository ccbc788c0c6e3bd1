"""What a run is predicted to need on the CPU, against what it takes: peaks of resident memory.

    PYTHONPATH=tests python benchmarks/memory.py             # all cases that are not there yet
    PYTHONPATH=tests python benchmarks/memory.py --table     # the table of docs/results/memory.md

Every case is a process of its own with random weights at reduced shapes: the whole of a short
erasing, from the encoded prompts to the last step of the training, and one batch of images. The
measured number is the largest resident memory minus that before the model was built. Python and its
libraries take about 0.4 GB besides, and the number of trajectories hardly matters. glibc keeps
freed blocks of up to 32 MB, which tensors of large models exceed and these do not: here blocks go
back to the system from 64 kB on.
"""

import functools
import gc
import json
import multiprocessing
import os
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from common import arguments, head, once
from support.shapes import deep  # of tests/
from support.tiny_pipelines import TINY

from unconcept import AllButOne, Concept, Tune, wrap
from unconcept.config.options import Source
from unconcept.methods import all_but_one
from unconcept.models import conditioning
from unconcept.models.meta_device import build_without_weights
from unconcept.models.sampling import Sampling
from unconcept.profiling import cpu_memory, live_memory
from unconcept.profiling.memory_fit import MemoryPredictor
from unconcept.profiling.memory_savings import Setting
from unconcept.profiling.usage import peak_memory, reset_peak_memory

MALLOC = "MALLOC_MMAP_THRESHOLD_"

CONCEPT = Concept(erase="pig", alternative="cow", keep=("cat", "dog", "house"))

TEXT = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4}
VAE = {"block_out_channels": [32, 64], "sample_size": 48}

# Of the published architectures, fewer and narrower blocks.
SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "stable-diffusion": {
        "unet": {
            "sample_size": 24,
            "block_out_channels": [96, 192],
            "attention_head_dim": 4,
            "cross_attention_dim": 256,
        },
        "text_encoder": TEXT,
        "vae": VAE,
    },
    "stable-diffusion-xl": {
        "unet": {
            "sample_size": 24,
            "block_out_channels": [96, 192],
            "attention_head_dim": [4, 4],
            "cross_attention_dim": 512,
            "transformer_layers_per_block": [2, 2],
            "projection_class_embeddings_input_dim": 256 + 6 * 4,
        },
        "text_encoder": TEXT,
        "text_encoder_2": {**TEXT, "projection_dim": 256},
        "vae": VAE,
    },
    "stable-diffusion-3": {
        "transformer": {
            "sample_size": 24,
            "num_layers": 6,
            "num_attention_heads": 4,
            "attention_head_dim": 48,
            "caption_projection_dim": 192,
            "pos_embed_max_size": 32,
        },
        "vae": VAE,
    },
}


def encode_fewer_prompts() -> None:
    """Prompts are encoded in smaller batches, and fewer of them make up the second moment."""
    for module in (conditioning, live_memory, cpu_memory):
        module.MAX_CONDITION_NUMBERS = 2**18
    for module in (all_but_one, cpu_memory):
        module.MAX_RETAINED_PROMPTS = 128
    live_memory.PROMPTS = 128


@dataclass(frozen=True)
class Case:
    """A run.

    family  of SHAPES
    tune    settings of the training; None: the closed form alone
    """

    family: str
    tune: dict[str, Any] | None = field(default_factory=dict)


CASES = {
    "Stable Diffusion, closed form": Case("stable-diffusion", None),
    "Stable Diffusion, defaults": Case("stable-diffusion"),
    "Stable Diffusion, accumulation 4": Case("stable-diffusion", {"gradient_accumulation": 4}),
    "Stable Diffusion, checkpointing": Case("stable-diffusion", {"gradient_checkpointing": True}),
    "Stable Diffusion, both": Case(
        "stable-diffusion", {"gradient_accumulation": 4, "gradient_checkpointing": True}
    ),
    "Stable Diffusion, rank 8": Case("stable-diffusion", {"rank": 8}),
    "Stable Diffusion, all weights": Case(
        "stable-diffusion", {"group": "all", "gradient_accumulation": 4}
    ),
    "Stable Diffusion, batch 16": Case("stable-diffusion", {"batch_size": 16}),
    "XL, defaults": Case("stable-diffusion-xl"),
    "XL, accumulation 4": Case("stable-diffusion-xl", {"gradient_accumulation": 4}),
    "XL, checkpointing": Case("stable-diffusion-xl", {"gradient_checkpointing": True}),
    "Stable Diffusion 3, defaults": Case("stable-diffusion-3"),
    "Stable Diffusion 3, accumulation 2": Case("stable-diffusion-3", {"gradient_accumulation": 2}),
    "Stable Diffusion 3, checkpointing": Case(
        "stable-diffusion-3", {"gradient_checkpointing": True}
    ),
}


def method(case: Case) -> AllButOne:
    if case.tune is None:
        return AllButOne()
    tune = replace(Tune(steps=2, check=2), **case.tune)
    return AllButOne(start="none", rounds=1, trajectories=4, points=4, sampling_steps=4, tune=tune)


def folder(family: str, place: Path) -> Path:
    """A diffusers folder of the family with configurations in the reduced shapes."""
    TINY[family]().save_pretrained(place)
    for part, changes in SHAPES[family].items():
        file = place / part / "config.json"
        file.write_text(json.dumps(deep(json.loads(file.read_text()), changes)))
    return place


def measure(name: str) -> dict[str, Any]:
    """Predicted and measured bytes of one case, in a child of this process."""
    with tempfile.TemporaryDirectory() as place:
        path = folder(CASES[name].family, Path(place))
        predictor = MemoryPredictor(Source(str(path), device="cpu"), [CONCEPT])
        ghost = wrap(build_without_weights(path, torch.float32))
        ghost.complete([CONCEPT])  # the lexicon counts to the libraries
        predictor.put("fp32", ghost)
        setting = Setting(method(CASES[name]), "fp32")
        estimate = predictor.estimate(setting)
        result = {
            "predicted": predictor.needed(setting),
            "training": estimate.while_training,
            "sampling": estimate.while_sampling + estimate.sampling,
        }
        del predictor, ghost
        gc.collect()
        context = multiprocessing.get_context("fork")  # every library is imported already
        here, there = context.Pipe()
        child = context.Process(target=run, args=(path, CASES[name], there))
        child.start()
        there.close()
        result |= here.recv()
        child.join()
    return result


def run(path: Path, case: Case, pipe: Any) -> None:
    """Erase once, and send the bytes that it took."""
    torch.set_num_threads(1)
    reset_peak_memory()
    before = peak_memory()
    model = wrap(build_without_weights(path, torch.float32, "cpu"))
    method(case)(model, CONCEPT)
    at_once = model.max_batch // 2
    model.decode(model.sample(["a cat"] * at_once, range(at_once), Sampling(steps=1)))
    pipe.send({"measured": peak_memory() - before, "before": before})
    pipe.close()


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f}"


def main() -> None:
    options = arguments(__doc__, "memory", None, table={"action": "store_true"})
    if not os.environ.get(MALLOC):  # is read when a process begins
        os.environ[MALLOC] = str(2**16)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    torch.set_num_threads(1)
    encode_fewer_prompts()
    rows = []
    for name in CASES:
        make = None if options.table else functools.partial(measure, name)
        row = once(options.out / f"{name}.json", make)
        if row:
            ratio = row["predicted"] / row["measured"]
            cells = [megabytes(row["predicted"]), megabytes(row["measured"]), f"{ratio:.2f}"]
            rows.append("| " + " | ".join([name, *cells]) + " |")
            if not options.table:
                print(rows[-1], row, flush=True)
    if options.table:
        print("\n".join([*head(["run", "predicted, MB", "measured, MB", "ratio"]), *rows]))


if __name__ == "__main__":
    main()
