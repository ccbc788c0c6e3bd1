"""Train an edit on a replay; the result is the edit with the lowest held-out loss."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress
from ..edits.edit import Edit
from ..edits.provenance import model_identity
from ..edits.trimming import Trimmer
from ..edits.weight_deltas import Deltas
from ..errors import InputError
from ..models.interface import Condition, Model
from .config import Tune
from .distributed import from_first_process, mean_over_processes, micro_batches, process_count
from .early_stopping import EarlyStopping, require_finite
from .replay import Replay
from .resume import TrainingState, resumable
from .trainable_delta import TrainableDelta
from .whitening import rows_per_step, whitening_matrices

Student = Callable[[Tensor, Tensor, Condition], Tensor]

Loss = Callable[[Student, Mapping[str, Replay]], Tensor]

HELD_OUT_POINTS = 32  # of each role, over which the held-out loss is averaged


@dataclass(frozen=True)
class ReplayTraining:
    """How `fit` trains.

    tune        hyperparameters
    retained    prompts whose token states make up C of the whitening; the empty prompt is added
    loss_state  tensors that the loss changes in place from step to step, by name: they are
                checkpointed with the training
    """

    tune: Tune
    retained: Sequence[str] = ()
    loss_state: Mapping[str, Tensor] = field(default_factory=dict)


def fit(
    model: Model,
    replays: Mapping[str, Replay],
    loss: Loss,
    training: ReplayTraining,
    *,
    card: Mapping | None = None,
    progress: ProgressCallback = no_progress,
) -> Edit:
    """Minimize a loss over replays by training an edit of one weight group.

    The model's own tensors are never written.

    Args:
        model: To be edited.
        replays: Recorded points by role, for example "erase" and "keep".
        loss: `loss(student, batches)` returns a scalar. The student predicts like the model with
            the edit applied; batches are points of the replays, by role, on the model's device.
        training: Hyperparameters, retained prompts and the state of the loss.
        card: What the edit says about itself; identity of the model and training are added.
        progress: Called after every step.

    Returns:
        The edit with the lowest held-out loss among those checked, which include the empty one.

    Raises:
        RunError: A loss is not finite.
        InputError: The batch cannot be divided as `training.tune` says.
    """
    tune = training.tune
    micro = micro_batches(tune.batch_size, tune.gradient_accumulation)
    generator = torch.Generator().manual_seed(tune.seed)
    delta = trainable_delta(model, replays, training, generator)
    optimizer = adamw(delta, tune)
    student = as_student(model)
    splits = {role: replay.split(tune.held_out) for role, replay in replays.items()}
    train_points = {role: points for role, (points, _) in splits.items()}
    held_out = {
        role: replays[role].batch(evenly_spaced(points, HELD_OUT_POINTS))
        for role, (_, points) in splits.items()
    }

    cpu = torch.device("cpu")
    with model.text_encoders_on(cpu), gradient_checkpointing(model, tune.gradient_checkpointing):
        first_loss = evaluate_held_out(model, delta, loss, held_out)
        best_deltas = snapshot(delta)
        stopping = EarlyStopping(tune.patience, best=first_loss)
        tensors = {**best_deltas, **training.loss_state}
        state = TrainingState(optimizer, generator, tensors, stopping)

        for step in resumable(state, tune.steps):
            for group in optimizer.param_groups:
                group["lr"] = tune.lr * (1 - (step - 1) / tune.steps)

            batches = draw_batches(replays, train_points, tune.batch_size, generator)
            total = torch.zeros((), device=model.device)
            for rows in micro:
                on_device = {role: z[rows].to(model.device) for role, z in batches.items()}
                with delta.on():
                    value = loss(student, on_device) / len(micro)
                    value.backward()
                total += value.detach()
            total = sum_gradients(total, delta.trained)
            require_finite(total.item(), step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            if step % tune.check == 0 or step == tune.steps:
                held_out_loss = evaluate_held_out(model, delta, loss, held_out)
                held_out_loss = from_first_process(held_out_loss, model.device)
                if stopping.improved(step, held_out_loss):
                    for name, tensor in snapshot(delta).items():
                        best_deltas[name].copy_(tensor)

            progress(Progress("training", step, tune.steps, total.item(), stopping.best, delta.on))
            if stopping.exhausted:
                break

        best = Deltas.read(best_deltas)
        record: dict[str, Any] = {
            "steps": state.step,
            "held_out_loss": stopping.history,
            "seconds": round(state.seconds, 2),
        }
        if tune.trim:

            def loss_of(deltas: Deltas) -> float:
                held_out_loss = evaluate_held_out(model, delta, loss, held_out, deltas)
                return from_first_process(held_out_loss, model.device)

            best, record["trim"] = Trimmer(best).cut_by_loss(loss_of)

    return Edit(best, {**(card or {}), **model_identity(model, best), "training": record})


def trainable_delta(
    model: Model,
    replays: Mapping[str, Replay],
    training: ReplayTraining,
    generator: torch.Generator,
) -> TrainableDelta:
    """Δ = 0 of the weight group that is tuned, whitened by the retained prompts.

    Args:
        model: To be edited.
        replays: Points that a training step draws from.
        training: Hyperparameters and retained prompts.
        generator: Initializes the random factor of a low-rank change.

    Returns:
        The change to train.
    """
    tune = training.tune
    conditions = sum(len(replay.conditions) for replay in replays.values())
    rows = rows_per_step(model, tune, conditions)
    P = whitening_matrices(model, tune, training.retained)
    return TrainableDelta(model, tune.group, rank=tune.rank, P=P, rows=rows, generator=generator)


def draw_batches(
    replays: Mapping[str, Replay],
    points: Mapping[str, Tensor],
    batch_size: int,
    generator: torch.Generator,
) -> dict[str, Replay]:
    """Random points, drawn with replacement.

    Args:
        replays: By role.
        points: By role the indices to draw from.
        batch_size: Points of each role.
        generator: Draws the roles in the order of `points`.

    Returns:
        A batch of each role.
    """
    batches = {}
    for role, indices in points.items():
        drawn = torch.randint(len(indices), (batch_size,), generator=generator)
        batches[role] = replays[role].batch(indices[drawn])
    return batches


@torch.no_grad()
def evaluate_held_out(
    model: Model,
    delta: TrainableDelta,
    loss: Loss,
    held_out: Mapping[str, Replay],
    deltas: Deltas | None = None,
) -> float:
    """Mean loss of the student over held-out points.

    The points are evaluated in interleaved chunks, as many at once as the model takes; every
    chunk has points of every role.

    Args:
        model: To be edited.
        delta: The change that makes it the student.
        loss: As `fit` takes it.
        held_out: Points by role.
        deltas: Applied instead of the present change; None: the present one.

    Returns:
        The mean over the chunks.
    """
    student = as_student(model)
    chunks = math.ceil(2 * HELD_OUT_POINTS / model.max_batch)
    chunks = min(chunks, *(len(points) for points in held_out.values()))
    losses = []
    with delta.on(None if deltas is None else on_device(deltas, model)):
        for i in range(chunks):
            chunk = {role: z[i::chunks].to(model.device) for role, z in held_out.items()}
            losses.append(loss(student, chunk))
    return float(sum(losses)) / chunks


def on_device(deltas: Deltas, model: Model) -> dict[str, Tensor]:
    """Δ by name, multiplied, on the model's device.

    Args:
        deltas: In CPU memory.
        model: Says where.
    """
    return {name: deltas[name].to(model.device) for name in deltas}


@torch.no_grad()
def snapshot(delta: TrainableDelta) -> dict[str, Tensor]:
    """Copies of the deltas as they are now.

    Args:
        delta: Being trained.

    Returns:
        What `Deltas.read` reads, in CPU memory; a change of low rank as its factors.
    """
    return {name: tensor.cpu().clone() for name, tensor in delta.stored().tensors().items()}


def adamw(delta: TrainableDelta, tune: Tune) -> torch.optim.Optimizer:
    """AdamW over `delta.trained`, in that order.

    Args:
        delta: Its factors that begin at 0 get weight decay; random ones would be drawn to 0.
        tune: Learning rate, weight decay, and whether moments are held in 8 bits.

    Returns:
        The optimizer.

    Raises:
        InputError: 8-bit moments without bitsandbytes.
    """
    groups: list[dict[str, Any]] = [
        {"params": delta.from_zero, "weight_decay": tune.decay},
        {"params": delta.from_random, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not tune.adam_8bit:
        return torch.optim.AdamW(groups, lr=tune.lr)
    try:
        from bitsandbytes.optim.adamw import AdamW8bit
    except ImportError:
        raise InputError(
            "tune.adam_8bit needs bitsandbytes: pip install 'unconcept[quant]'"
        ) from None
    return AdamW8bit(groups, lr=tune.lr)


@contextmanager
def gradient_checkpointing(model: Model, enabled: bool) -> Iterator[None]:
    """Inside, the denoiser recomputes activations in the backward pass, as diffusers does it.

    Args:
        model: Its denoiser is switched.
        enabled: False: nothing happens.
    """
    denoisers: list[Any] = [model.components[name] for name in model.denoiser_names]
    if not enabled:
        yield
        return
    try:
        for denoiser in denoisers:
            denoiser.enable_gradient_checkpointing()
        yield
    finally:
        for denoiser in denoisers:
            denoiser.disable_gradient_checkpointing()


def sum_gradients(loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Average loss and gradients over all processes.

    Args:
        loss: Scalar of this process.
        parameters: Their gradients are replaced by the mean over processes, in place.

    Returns:
        The mean loss.
    """
    if process_count() > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([loss.flatten(), *(gradient.flatten() for gradient in gradients)])
        sizes = [1, *(gradient.numel() for gradient in gradients)]
        loss, *means = mean_over_processes(flat).split(sizes)
        for gradient, mean in zip(gradients, means):
            gradient.copy_(mean.view_as(gradient))
    return loss.squeeze()


def as_student(model: Model) -> Student:
    """The model's predictions in single precision, whatever precision it computes in.

    Losses are differences of nearly equal numbers.

    Args:
        model: With or without an edit applied.

    Returns:
        Takes x [N, C, H, W], t [N] and a condition to the native output [N, C, H, W].
    """

    def predict(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return model.predict(x, t, condition).float()

    return predict


def evenly_spaced(indices: Tensor, n: int) -> Tensor:
    """Some of the indices, evenly spread over them.

    Args:
        indices: [M], at least one.
        n: How many, at most.

    Returns:
        [min(n, M)]
    """
    n = min(n, len(indices))
    return indices[torch.linspace(0, len(indices) - 1, n).long()]
