"""How an edit is trained: the hyperparameters that every replay-trained method shares."""

import math
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True, kw_only=True)
class Tune:
    """How an edit is trained.

    group     which weights: "cross-attention keys and values", "cross-attention", "self-attention", "attention blocks",
              "all but cross-attention", "all"; of transformers also "context embedder" and "prompt embedders" (docs/models.md)
    rank      of Δ = U D P; None: Δ = A P as a whole. Much less memory where the group is large
    whiten    μ of W = W* + A (C/c̄ + μI)^(-1/2), where a matrix reads the prompt; None: plain W = W* + A
    lr        AdamW's, on A; it falls linearly to 0 over `steps`
    decay     AdamW's weight decay, on what begins at 0 (A, or U). Where A is whitened, ‖A‖² is what the keys and values of the prompts to keep
              have changed by, all of them at once: UCE's term of preservation (Gandikota et al. 2024)
    steps     at most; the edit kept is the one of the lowest held-out loss, looked at every `check` steps,
              and the run ends when `patience` looks in a row brought nothing better
    batch_size  points of the replay in a step, of each role; several processes share them
    adam_8bit  AdamW's moments in 8 bits (Dettmers et al. 2022; bitsandbytes): a quarter of their memory
    gradient_accumulation  of a process's share, one after the other: the same step in less memory
    gradient_checkpointing  what lies between layers is computed again on the way back instead of kept: less memory, a third more time
    held_out  share of the trajectories that is never trained on
    """

    group: str = "cross-attention keys and values"
    rank: int | None = None
    whiten: float | None = 3e-4
    lr: float = 1e-3
    decay: float = 8.0
    steps: int = 100
    batch_size: int = 8
    gradient_accumulation: int = 1
    gradient_checkpointing: bool = False
    held_out: float = 0.2
    check: int = 15
    patience: int = 3
    adam_8bit: bool = False
    seed: int = 0

    def __post_init__(self):
        if min(self.steps, self.batch_size, self.gradient_accumulation, self.check, self.patience) < 1:
            raise InputError("steps, batch_size, gradient_accumulation, check and patience are at least 1")
        if self.rank is not None and self.rank < 1:
            raise InputError(f"rank is {self.rank}: it is at least 1, or null for a change as a whole")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise InputError(f"the learning rate is {self.lr}: it must be above 0")
        if not self.decay >= 0:
            raise InputError(f"the weight decay is {self.decay}: it must be 0 or more")
        if not 0 < self.held_out <= 0.5:
            raise InputError(f"held_out is {self.held_out}: it must be above 0 and at most 0.5")
        if self.whiten is not None and self.whiten <= 0:
            raise InputError(f"whiten is {self.whiten}: it must be above 0, or null for plain updates")
