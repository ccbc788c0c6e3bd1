"""What a closed form costs: CPU seconds against the number of concepts, and at SDXL's shapes.

    python benchmarks/closed_form_cost.py                    # emoji: 1, 5, 10, 20 and 50 concepts
    python benchmarks/closed_form_cost.py --sdxl 1 10 100    # All but One at SDXL's shapes

On `emoji`, All but One, SPEED and UCE erase the same concepts, text encoding included. Seconds are
CPU time of this process, so that other work on the machine does not count.

At SDXL's shapes the 140 key and value matrices hold random numbers, and a stand-in for the text
encoders gives every word a random state that fades along the prompt: their own time (2,140 retained
prompts and 32 prompts a concept) depends on the GPU and is not in the figure.
"""

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from common import RESULTS, machine
from torch import Tensor, nn

from unconcept import Concept, load
from unconcept.methods.table import METHODS
from unconcept.models import Model
from unconcept.models.emoji.vocabulary import OBJECTS, WORDS
from unconcept.models.interface import Condition, Site
from unconcept.training.closed_form import ClosedForm, solve

METHODS_ON_EMOJI = ("all-but-one", "speed", "uce")
COUNTS = (1, 5, 10, 20, 50)
STATES = "encoder_hidden_states"
TOKENS = 77
SDXL_TEXT_WIDTH = 2048
# Blocks that attend to the prompt, by their width: down, middle and up blocks of SDXL's U-Net.
SDXL_BLOCKS = {640: 2 * 2 + 3 * 2, 1280: 2 * 10 + 10 + 3 * 10}
RETAINED = 2000


class StandIn:
    """As much of a `Model` as the closed form needs, at SDXL's shapes.

    A word's state is a random vector, mixed with what is left of the words before it. The tokens
    behind the prompt repeat its last state, each a little changed.
    """

    def __init__(self, seed: int = 0):
        self.generator = torch.Generator().manual_seed(seed)
        self.vectors: dict[str, Tensor] = {}
        self.drift = 0.1 * torch.randn(TOKENS, SDXL_TEXT_WIDTH, generator=self.generator)
        blocks = nn.ModuleList()
        for width, count in SDXL_BLOCKS.items():
            for _ in range(count):
                for _ in ("to_k", "to_v"):
                    blocks.append(nn.Linear(SDXL_TEXT_WIDTH, width, bias=False))
        self.components = {"unet": blocks}
        self.sites = tuple(Site(f"unet.{i}.weight", STATES) for i in range(len(blocks)))

    def weight_group(self, name: str) -> tuple[Site, ...]:
        return self.sites

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        return torch.tensor([len(prompt.split()) for prompt in prompts])

    def encode(self, prompts: Sequence[str]) -> Condition:
        return {STATES: torch.stack([self.states(prompt) for prompt in prompts])}

    def states(self, prompt: str) -> Tensor:
        state, rows = torch.zeros(SDXL_TEXT_WIDTH), []
        for word in ["<start>", *prompt.split(), "<end>"]:
            if word not in self.vectors:
                self.vectors[word] = torch.randn(SDXL_TEXT_WIDTH, generator=self.generator)
            state = 0.6 * state + self.vectors[word]
            rows.append(state)
        rows += [state] * (TOKENS - len(rows))
        return torch.stack(rows[:TOKENS]) + self.drift

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        return condition[name]


def on_emoji(counts: Sequence[int]) -> list[dict[str, Any]]:
    """CPU seconds of every method for every number of concepts, text encoding included."""
    model = load("emoji")
    rows = []
    for name, count in itertools.product(METHODS_ON_EMOJI, counts):
        concepts = [Concept(erase=word, alternative=WORDS[-1]) for word in WORDS[:count]]
        started = time.process_time()
        METHODS[name]()(model, *concepts)
        rows.append({"method": name, "concepts": count, "cpu_seconds": elapsed(started)})
        print(rows[-1], flush=True)
    return rows


def at_sdxl(counts: Sequence[int]) -> list[dict[str, Any]]:
    """CPU seconds of the closed form for every number of concepts, without text encoding."""
    model = cast(Model, StandIn())
    retained = [
        f"a {first.word} and a {second.word}"
        for first, second in itertools.islice(itertools.product(OBJECTS, OBJECTS), RETAINED)
    ]
    rows = []
    for count in counts:
        concepts = [Concept(erase=f"name{i}", alternative=f"other{i}") for i in range(count)]
        started = time.process_time()
        _, facts = solve(model, concepts, retained, ClosedForm())
        rows.append({"concepts": count, "cpu_seconds": elapsed(started), **facts[STATES]})
        print(rows[-1], flush=True)
    return rows


def elapsed(started: float) -> float:
    return round(time.process_time() - started, 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sdxl", type=int, nargs="+", default=[], help="numbers of concepts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "closed-form")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = at_sdxl(arguments.sdxl) if arguments.sdxl else on_emoji(COUNTS)
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / ("sdxl.json" if arguments.sdxl else "emoji.json")
    file.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
