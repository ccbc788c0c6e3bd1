"""How far the unconditional prediction drifted, at points of the original model's trajectories.

    drift = ‖ε_θ(x_t, ∅) − ε*(x_t, ∅)‖ / ‖ε*(x_t, ∅)‖

θ is the model with the edit, * the model without.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ...models.conditioning import PromptConditions, predict_in_batches
from ...models.interface import Model, Sampling


@torch.no_grad()
def drift(
    model: Model,
    on: AbstractContextManager,
    *,
    seeds: int = 8,
    steps: int = 10,
    first: int = 900_000,
) -> Tensor:
    """Relative drift of ε(∅) along unprompted trajectories.

    In classifier-free guidance with scale s every prompt adds (1 - s) times ε(∅): this is the part
    of an edit that no prompt can avoid.

    Args:
        model: The model without the edit.
        on: `edit.on(model)`, entered once.
        seeds: Number of trajectories.
        steps: Sampling steps of each.
        first: The first seed; the others count up.

    Returns:
        [seeds], each the mean along one trajectory.
    """
    points, times = [], []
    numbers = list(range(first, first + seeds))
    for x, t in model.trajectory([""] * seeds, numbers, Sampling(steps, guidance=1.0)):
        if t[0] >= 0:  # the finished latents have no prediction
            points.append(x)
            times.append(t)
    x, t = torch.cat(points).cpu(), torch.cat(times).cpu()

    def predict() -> Tensor:
        empty = torch.zeros(len(x), dtype=torch.long, device=model.device)
        return predict_in_batches(model, x, t, PromptConditions(model.encode([""]), empty))

    before = predict()
    with on:
        after = predict()
    relative = (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
    return relative.view(-1, seeds).mean(0)
