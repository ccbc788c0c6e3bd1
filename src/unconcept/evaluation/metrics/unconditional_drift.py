"""How far the unconditional prediction drifted: ‖ε_θ(x_t, ∅) − ε*(x_t, ∅)‖ / ‖ε*(x_t, ∅)‖, at points of the original's own trajectories."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ...models.conditioning import PromptConditions, predict_in_batches
from ...models.interface import Model, Sampling


@torch.no_grad()
def drift(model: Model, on: AbstractContextManager, *, seeds: int = 8, steps: int = 10, first: int = 900_000) -> Tensor:
    """[seeds] relative drift, mean along each of the trajectories of `seeds` unprompted pictures, `on` being `edit.on(model)`.

    In guided sampling every prompt adds (1 - s) times this: it is the part of an edit that no prompt can avoid.
    """
    walk = model.trajectory([""] * seeds, list(range(first, first + seeds)), Sampling(steps, guidance=1.0))
    x, t = (torch.cat(parts) for parts in zip(*((x, t) for x, t in walk if t[0] >= 0)))
    say = lambda: predict_in_batches(
        model, x.cpu(), t.cpu(), PromptConditions(model.encode([""]), torch.zeros(len(x), dtype=torch.long, device=model.device))
    )
    before = say()
    with on:
        after = say()
    return ((after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)).view(-1, seeds).mean(0)
