"""descend(): the loop of the methods that sample anew for every step."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback
from ..edits.edit import Edit
from ..edits.provenance import model_identity
from ..errors import RunError
from ..models.interface import Model
from .distributed import require_single_process
from .replay_trainer import as_student
from .resume import resumable_steps
from .trainable_delta import TrainableDelta

Draw = Callable[[int, Callable[[], AbstractContextManager], torch.Generator], tuple]


def train_online(
    model: Model, group: str, draw: Draw, loss: Callable[..., Tensor], *, steps: int, lr: float, seed: int, weight_decay: float = 0.0,
    clip: float | None = None, average: float | None = None, rank: int | None = None, card: Mapping | None = None,
    progress: ProgressCallback = lambda progress: None,
) -> Edit:  # fmt: skip
    """Train an edit on what `draw` brings for each step: no replay, nothing held out, the last step is kept.

    draw(step, on, generator) -> what `loss(student, *...)` is given; inside `with on():` the student stands in the model's place.
    average: decay of a running average of the student; it is the average then that `on` stands for, and that is kept.
    rank: Δ = U D of this rank (U begins at 0), instead of Δ as a whole.
    """
    require_single_process()
    generator = torch.Generator().manual_seed(seed)
    change = TrainableDelta(model, group, rank=rank, generator=generator)
    mean = {name: torch.zeros_like(w, dtype=torch.float32) for name, w in change.weights.items()} if average is not None else None
    optimizer = torch.optim.AdamW(change.trained, lr=lr, weight_decay=0.0)
    facts: dict = {}
    for step in resumable_steps(steps, optimizer, generator, mean, facts):
        batch = draw(step - 1, lambda: change.on(mean), generator)
        with change.on():
            value = loss(as_student(model), *batch)
            value.backward()
        if not torch.isfinite(value):
            raise RunError(f"the loss became {value.item()} at step {step}; nothing was kept. Try a lower learning rate.")
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(change.trained, clip)
        if weight_decay and rank is None:
            with torch.no_grad():
                for name, a in change.A.items():  # weight decay pulls at the weights, not at what was added to them
                    a.sub_(lr * weight_decay * (change.weights[name].float() + a))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if mean is not None and average is not None:
            with torch.no_grad():
                for name, delta in change.deltas().items():
                    mean[name].lerp_(delta, 1 - average)
        progress(Progress("training", step, steps, value.item(), on=change.on))
    training = {"steps": steps, "seconds": round(facts["seconds"], 2)}
    kept = {name: d.detach().cpu().clone() for name, d in (mean or change.deltas()).items()}
    return Edit(kept, {**(card or {}), **model_identity(model), "training": training})
