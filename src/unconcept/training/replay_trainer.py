"""fit(): the one loop. It trains an Edit on a replay and gives back the one whose held-out loss was lowest."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback
from ..edits.edit import Edit
from ..edits.provenance import model_identity
from ..errors import InputError, RunError
from ..models.interface import Condition, Model
from .config import Tune
from .distributed import from_first_process, mean_over_processes, micro_batches, process_count
from .replay import Replay
from .resume import resumable_steps
from .trainable_delta import TrainableDelta
from .whitening import rows_per_step, whitening_matrices

Student = Callable[[Tensor, Tensor, Condition], Tensor]

LOOK = 32  # points of each role that the held-out loss is taken over

Loss = Callable[[Student, Mapping[str, Replay]], Tensor]


def fit(
    model: Model,
    replays: Mapping[str, Replay],
    loss: Loss,
    tune: Tune,
    *,
    keep: Sequence[str] = (),
    besides: Mapping[str, Tensor] | None = None,
    card: Mapping | None = None,
    progress: ProgressCallback = lambda progress: None,
) -> Edit:
    """Train an edit of `tune.group` so that `loss(student, batches)` falls, and return the best one by held-out loss.

    `loss` gets the student (the model with the edit on) and one batch by role out of `replays`. `keep` are the prompts that C is made of,
    `besides` tensors that the loss remembers from step to step.
    The model's own tensors are never written. A loss that is not finite raises RunError.
    """
    generator = torch.Generator().manual_seed(tune.seed)
    mine = micro_batches(tune.batch_size, tune.gradient_accumulation)
    rows = rows_per_step(model, tune, sum(len(replay.conditions) for replay in replays.values()))
    change = TrainableDelta(model, tune.group, rank=tune.rank, P=whitening_matrices(model, tune, keep), rows=rows, generator=generator)
    optimizer, predict = adamw(change, tune), as_student(model)
    parts = {role: replay.split(tune.held_out) for role, replay in replays.items()}
    held = {role: replays[role].batch(evenly_spaced(places, LOOK)) for role, (_, places) in parts.items()}

    looks = min(-(-2 * LOOK // model.max_batch), *map(len, held.values()))  # as many points at once as the model takes

    def look() -> tuple[float, dict[str, Tensor]]:
        with torch.no_grad(), change.on():
            seen = [loss(predict, {role: part[i::looks].to(model.device) for role, part in held.items()}) for i in range(looks)]
            return float(sum(seen)) / looks, {name: d.cpu().clone() for name, d in change.deltas().items()}

    with model.text_encoders_on(torch.device("cpu")), gradient_checkpointing(model, tune.gradient_checkpointing):
        best, kept = look()
        facts: dict = {"best": best, "since": 0, "trace": [[0, best]]}
        for step in resumable_steps(tune.steps, optimizer, generator, {**kept, **(besides or {})}, facts):
            for group in optimizer.param_groups:
                group["lr"] = tune.lr * (1 - (step - 1) / tune.steps)
            places = {role: rest[torch.randint(len(rest), (tune.batch_size,), generator=generator)] for role, (rest, _) in parts.items()}
            batch = {role: replays[role].batch(own) for role, own in places.items()}
            value = torch.zeros((), device=model.device)
            for share in mine:
                with change.on():
                    some = loss(predict, {role: z[share].to(model.device) for role, z in batch.items()}) / len(mine)
                    some.backward()
                value += some.detach()
            value = sum_gradients(value, change.trained)
            if not torch.isfinite(value):
                raise RunError(f"the loss became {value.item()} at step {step}; nothing was kept. Try a lower learning rate.")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % tune.check == 0 or step == tune.steps:
                now, candidate = look()
                now = from_first_process(now, model.device)
                facts["trace"].append([step, now])
                if not math.isfinite(now):
                    raise RunError(f"the held-out loss became {now} at step {step}; nothing was kept. Try a lower learning rate.")
                facts["since"] += 1
                if now < facts["best"]:
                    facts.update(best=now, since=0)
                    for name, delta in candidate.items():
                        kept[name].copy_(delta)
            progress(Progress("training", step, tune.steps, value.item(), facts["best"], change.on))
            if facts["since"] >= tune.patience:
                break
    training = {"steps": facts["steps"], "held_out_loss": facts["trace"], "seconds": round(facts["seconds"], 2)}
    return Edit(kept, {**(card or {}), **model_identity(model), "training": training})


def adamw(change: TrainableDelta, tune: Tune) -> torch.optim.Optimizer:
    """Over `change.trained`, in its order. What does not begin at 0 is not drawn to 0."""
    groups: Any = [{"params": change.from_zero, "weight_decay": tune.decay}, {"params": change.from_chance, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if not tune.adam_8bit:
        return torch.optim.AdamW(groups, lr=tune.lr)
    try:
        from bitsandbytes.optim.adamw import AdamW8bit
    except ImportError:
        raise InputError("tune.adam_8bit needs bitsandbytes: pip install 'unconcept[quant]'") from None
    return AdamW8bit(groups, lr=tune.lr)


@contextmanager
def gradient_checkpointing(model: Model, on: bool) -> Iterator[None]:
    """Gradient checkpointing inside, as diffusers does it."""
    denoiser: Any = model.denoiser
    if on:
        denoiser.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if on:
            denoiser.disable_gradient_checkpointing()


def sum_gradients(value: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """The loss over all processes; the parameters' gradients become those of all processes."""
    parameters = list(parameters)
    if process_count() > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        shared = mean_over_processes(torch.cat([value.flatten(), *(g.flatten() for g in gradients)]))
        value, *parts = shared.split([1, *(g.numel() for g in gradients)])
        for gradient, part in zip(gradients, parts):
            gradient.copy_(part.view_as(gradient))
    return value.squeeze()


def as_student(model: Model) -> Student:
    """The model's predictions in single precision, whatever it computes in: losses are differences of what is nearly the same."""
    return lambda x, t, condition: model.predict(x, t, condition).float()


def evenly_spaced(places: Tensor, n: int) -> Tensor:
    """At most n of them, evenly spread."""
    return places[torch.linspace(0, len(places) - 1, min(n, len(places))).long()]
