"""How an edit is trained: the hyperparameters that every replay-trained method shares."""

import math
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True, kw_only=True)
class Tune:
    """How an edit is trained.

    group       weights that are trained: "cross-attention keys and values", "cross-attention",
                "self-attention", "attention blocks", "all but cross-attention", "all"; for
                transformers also "context embedder" and "prompt embedders"
                (docs/reference/models.md)
    rank        train Δ = U D P of this rank, which takes much less memory where the group is
                large; None: train Δ = A P of full rank
    whiten      μ of W = W* + A (C/c̄ + μI)^(-1/2), for matrices that read the prompt;
                None: W = W* + A everywhere
    lr          learning rate of AdamW; it falls linearly to 0 over `steps`
    decay       weight decay of AdamW on the factor that begins at 0 (A or U). Where A is whitened,
                ‖A‖² is the mean squared change of the keys and values of the retained prompts:
                the preservation term of UCE (Gandikota et al. 2024)
    steps       maximum number of steps. The held-out loss is measured every `check` steps, and the
                edit with the lowest one is returned
    check       steps between two measurements of the held-out loss
    patience    stop after so many measurements in a row without improvement
    batch_size  points of the replay in a step, of each role, over all processes
    gradient_accumulation   micro-batches that a process divides its share of the batch into: the
                same step in less memory
    gradient_checkpointing  recompute activations in the backward pass: less memory, a third more
                time
    held_out    share of the trajectories that is held out from training, at most 0.5
    adam_8bit   hold AdamW's moments in 8 bits (Dettmers et al. 2022; needs bitsandbytes), a
                quarter of their memory
    trim        after the training, cut every matrix to the smallest rank whose held-out loss is no
                worse than that of the whole change
    seed        of random initialization and of the batches
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
    trim: bool = False
    seed: int = 0

    def __post_init__(self):
        if self.steps < 0:
            raise InputError(f"steps is {self.steps}: it must be 0 or more")
        for name in ("batch_size", "gradient_accumulation", "check", "patience"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(f"{name} is {value}: it must be at least 1")
        if self.rank is not None and self.rank < 1:
            raise InputError(f"rank is {self.rank}: it must be at least 1, or null for full rank")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise InputError(f"the learning rate is {self.lr}: it must be above 0")
        if not self.decay >= 0:
            raise InputError(f"the weight decay is {self.decay}: it must be 0 or more")
        if not 0 < self.held_out <= 0.5:
            raise InputError(f"held_out is {self.held_out}: it must be above 0 and at most 0.5")
        if self.whiten is not None and self.whiten <= 0:
            raise InputError(
                f"whiten is {self.whiten}: it must be above 0, or null for no whitening"
            )
