"""Train an edit without a replay: for the methods that sample anew for every step."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress
from ..edits.edit import Edit
from ..edits.provenance import model_identity
from ..models.interface import Model
from .distributed import require_single_process
from .early_stopping import require_finite
from .replay_trainer import as_student
from .resume import TrainingState, resumable
from .trainable_delta import TrainableDelta

StudentContext = Callable[[], AbstractContextManager]

# draw(step, student, generator): the arguments of the loss behind the student's predictions
Draw = Callable[[int, StudentContext, torch.Generator], tuple]


@dataclass(frozen=True, kw_only=True)
class OnlineTraining:
    """How `train_online` trains.

    group         weight group that is trained
    steps         number of steps; the edit of the last one is returned
    lr            learning rate of AdamW, constant
    seed          of everything that is drawn at random
    rank          train Δ = U D of this rank; None: Δ of full rank
    weight_decay  draws the edited weights W* + Δ to 0, not Δ; full rank only
    clip          largest norm of the gradient; None: not clipped
    average       decay of a running average of Δ: the average then samples and is returned
    """

    group: str
    steps: int
    lr: float
    seed: int
    rank: int | None = None
    weight_decay: float = 0.0
    clip: float | None = None
    average: float | None = None


def train_online(
    model: Model,
    draw: Draw,
    loss: Callable[..., Tensor],
    training: OnlineTraining,
    *,
    card: Mapping | None = None,
    progress: ProgressCallback = no_progress,
) -> Edit:
    """Minimize a loss over points that are drawn for every step.

    Args:
        model: To be edited; its own tensors are never written.
        draw: `draw(step, student, generator)` returns the arguments of the loss. Steps count from
            0; inside `with student():` the model is the student, or its running average.
        loss: `loss(student, *arguments)` returns a scalar; the student predicts like the model
            with the edit applied.
        training: Weight group and hyperparameters.
        card: What the edit says about itself; identity of the model and training are added.
        progress: Called after every step.

    Returns:
        The edit of the last step, or the running average.

    Raises:
        RunError: The loss is not finite.
        InputError: There are several processes.
    """
    require_single_process()
    generator = torch.Generator().manual_seed(training.seed)
    delta = TrainableDelta(model, training.group, rank=training.rank, generator=generator)
    average = zeros_like_weights(delta) if training.average is not None else {}
    optimizer = torch.optim.AdamW(delta.trained, lr=training.lr, weight_decay=0.0)
    predict = as_student(model)

    def student() -> AbstractContextManager:
        return delta.on(average or None)

    state = TrainingState(optimizer, generator, average)
    for step in resumable(state, training.steps):
        arguments = draw(step - 1, student, generator)
        with delta.on():
            value = loss(predict, *arguments)
            value.backward()
        require_finite(value.item(), step)
        if training.clip is not None:
            torch.nn.utils.clip_grad_norm_(delta.trained, training.clip)
        if training.weight_decay and training.rank is None:
            decay_edited_weights(delta, training.lr * training.weight_decay)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if training.average is not None:
            update_average(average, delta, training.average)
        progress(Progress("training", step, training.steps, value.item(), on=delta.on))

    deltas = {}
    for name, tensor in (average or delta.deltas()).items():
        deltas[name] = tensor.detach().cpu().clone()
    record: dict[str, Any] = {"steps": state.step, "seconds": round(state.seconds, 2)}
    return Edit(deltas, {**(card or {}), **model_identity(model, deltas), "training": record})


def zeros_like_weights(delta: TrainableDelta) -> dict[str, Tensor]:
    """A Δ of 0 in single precision.

    Args:
        delta: Of the weight group.

    Returns:
        Tensors by name.
    """
    zeros = {}
    for name, w in delta.weights.items():
        zeros[name] = torch.zeros_like(w, dtype=torch.float32)
    return zeros


@torch.no_grad()
def decay_edited_weights(delta: TrainableDelta, rate: float) -> None:
    """One step of decoupled weight decay on W* + Δ.

    Args:
        delta: Of full rank; changed in place.
        rate: Learning rate times weight decay.
    """
    for name, a in delta.A.items():
        a.sub_(rate * (delta.weights[name].float() + a))


@torch.no_grad()
def update_average(average: Mapping[str, Tensor], delta: TrainableDelta, decay: float) -> None:
    """θ̄ ← m θ̄ + (1 − m) θ

    Args:
        average: θ̄ by name; changed in place.
        delta: θ.
        decay: m, in [0, 1].
    """
    for name, tensor in delta.deltas().items():
        average[name].lerp_(tensor, 1 - decay)
