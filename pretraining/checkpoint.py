"""What survives a kill: named modules and optimisers, and the step, written whole or not at all.

A part that the file lacks starts afresh.
"""

import math
import time
from pathlib import Path

import torch

SAVE_SECONDS = 300


class Checkpoint:
    """Loads `path` into `parts` when it exists. `.step` is where to go on."""

    def __init__(self, path: Path, **parts):
        self.path, self.parts, self.step = path, parts, 0
        self.saved_at = time.time()
        if path.exists():
            state = torch.load(path, weights_only=True)
            for name in parts.keys() & state.keys():
                parts[name].load_state_dict(state[name])
            self.step = state["step"]

    def save(self, step: int) -> None:
        self.step = step
        part = self.path.with_suffix(".part")
        torch.save({"step": step, **{name: p.state_dict() for name, p in self.parts.items()}}, part)
        part.replace(self.path)
        self.saved_at = time.time()

    def is_old(self) -> bool:
        """True if the last checkpoint is more than `SAVE_SECONDS` ago: time for one, however slow
        the steps are.
        """
        return time.time() - self.saved_at > SAVE_SECONDS


def cosine(step: int, steps: int, warmup: int, floor: float = 0.02) -> float:
    """Learning-rate factor: linear warm-up, then a cosine from 1 to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    return floor + (1 - floor) * 0.5 * (
        1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup)))
    )
