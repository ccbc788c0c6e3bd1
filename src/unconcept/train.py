"""fit(): the one loop. It trains an Edit on a replay and gives back the one whose held-out loss was lowest."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .change import Change
from .checkpoint import surviving
from .edit import Edit, identity
from .errors import InputError, RunError
from .models.base import Condition, Model
from .processes import agreed, count, mean, shares
from .trajectories import Replay, encoded

Student = Callable[[Tensor, Tensor, Condition], Tensor]
LOOK = 32  # points of each role that the held-out loss is taken over
Loss = Callable[[Student, Mapping[str, Replay]], Tensor]


@dataclass(frozen=True)
class Progress:
    """What a run is doing: the stage in words, done of total, and in a training the losses and the student: inside `with progress.on():` it
    stands in the model's place."""

    stage: str
    done: int
    total: int
    loss: float | None = None
    held_out: float | None = None
    on: Callable[[], AbstractContextManager] | None = None


Report = Callable[[Progress], None]


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
    batch     points of the replay in a step, of each role; several processes share them
    eight_bit  AdamW's moments in 8 bits (Dettmers et al. 2022; bitsandbytes): a quarter of their memory
    parts     of a process's share, one after the other: the same step in less memory
    checkpointing  what lies between layers is computed again on the way back instead of kept: less memory, a third more time
    held_out  share of the trajectories that is never trained on
    """

    group: str = "cross-attention keys and values"
    rank: int | None = None
    whiten: float | None = 3e-4
    lr: float = 1e-3
    decay: float = 8.0
    steps: int = 100
    batch: int = 8
    parts: int = 1
    checkpointing: bool = False
    held_out: float = 0.2
    check: int = 15
    patience: int = 3
    eight_bit: bool = False
    seed: int = 0

    def __post_init__(self):
        if min(self.steps, self.batch, self.parts, self.check, self.patience) < 1:
            raise InputError("steps, batch, parts, check and patience are at least 1")
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


def whitening(states: Iterable[Tensor], mu: float) -> Tensor:
    """(C/c̄ + μI)^(-1/2) [width, width] for token states [..., width] in parts; C is their second moment, summed up part by part in double
    precision in the host's memory, c̄ its mean eigenvalue.

    Directions that the states use come out short, directions that they leave alone come out long (at most μ^(-1/2)).
    """
    C, n = torch.zeros((), dtype=torch.float64), 0
    for part in states:
        e = part.reshape(-1, part.shape[-1]).cpu().double()
        C, n = C + e.T @ e, n + len(e)
    C = C / n
    values, vectors = torch.linalg.eigh(C / C.diagonal().mean() + mu * torch.eye(len(C), dtype=C.dtype))
    return (vectors * values.rsqrt()) @ vectors.T


def fit(
    model: Model,
    replays: Mapping[str, Replay],
    loss: Loss,
    tune: Tune,
    *,
    keep: Sequence[str] = (),
    besides: Mapping[str, Tensor] | None = None,
    card: Mapping | None = None,
    report: Report = lambda progress: None,
) -> Edit:
    """Train an edit of `tune.group` so that `loss(student, batches)` falls, and return the best one by held-out loss.

    `loss` gets the student (the model with the edit on) and one batch by role out of `replays`. `keep` are the prompts that C is made of,
    `besides` tensors that the loss remembers from step to step.
    The model's own tensors are never written. A loss that is not finite raises RunError.
    """
    generator = torch.Generator().manual_seed(tune.seed)
    mine = shares(tune.batch, tune.parts)
    rows = rows_read(model, tune, sum(len(replay.asked) for replay in replays.values()))
    change = Change(model, tune.group, rank=tune.rank, P=_whitenings(model, tune, keep), rows=rows, generator=generator)
    optimizer, predict = adamw(change, tune), precisely(model)
    parts = {role: replay.split(tune.held_out) for role, replay in replays.items()}
    held = {role: replays[role].batch(thin(places, LOOK)) for role, (_, places) in parts.items()}

    looks = min(-(-2 * LOOK // model.max_batch), *map(len, held.values()))  # as many points at once as the model takes

    def look() -> tuple[float, dict[str, Tensor]]:
        with torch.no_grad(), change.on():
            seen = [loss(predict, {role: part[i::looks].to(model.device) for role, part in held.items()}) for i in range(looks)]
            return float(sum(seen)) / looks, {name: d.cpu().clone() for name, d in change.deltas().items()}

    with model.readers_on(torch.device("cpu")), recomputing(model, tune.checkpointing):
        best, kept = look()
        facts: dict = {"best": best, "since": 0, "trace": [[0, best]]}
        for step in surviving(tune.steps, optimizer, generator, {**kept, **(besides or {})}, facts):
            for group in optimizer.param_groups:
                group["lr"] = tune.lr * (1 - (step - 1) / tune.steps)
            places = {role: rest[torch.randint(len(rest), (tune.batch,), generator=generator)] for role, (rest, _) in parts.items()}
            batch = {role: replays[role].batch(own) for role, own in places.items()}
            value = torch.zeros((), device=model.device)
            for share in mine:
                with change.on():
                    some = loss(predict, {role: z[share].to(model.device) for role, z in batch.items()}) / len(mine)
                    some.backward()
                value += some.detach()
            value = together(value, change.trained)
            if not torch.isfinite(value):
                raise RunError(f"the loss became {value.item()} at step {step}; nothing was kept. Try a lower learning rate.")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % tune.check == 0 or step == tune.steps:
                now, candidate = look()
                now = agreed(now, model.device)
                facts["trace"].append([step, now])
                if not math.isfinite(now):
                    raise RunError(f"the held-out loss became {now} at step {step}; nothing was kept. Try a lower learning rate.")
                facts["since"] += 1
                if now < facts["best"]:
                    facts.update(best=now, since=0)
                    for name, delta in candidate.items():
                        kept[name].copy_(delta)
            report(Progress("training", step, tune.steps, value.item(), facts["best"], change.on))
            if facts["since"] >= tune.patience:
                break
    training = {"steps": facts["steps"], "held_out_loss": facts["trace"], "seconds": round(facts["seconds"], 2)}
    return Edit(kept, {**(card or {}), **identity(model), "training": training})


def adamw(change: Change, tune: Tune) -> torch.optim.Optimizer:
    """Over `change.trained`, in its order. What does not begin at 0 is not drawn to 0."""
    groups: Any = [{"params": change.from_zero, "weight_decay": tune.decay}, {"params": change.from_chance, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if not tune.eight_bit:
        return torch.optim.AdamW(groups, lr=tune.lr)
    try:
        from bitsandbytes.optim.adamw import AdamW8bit
    except ImportError:
        raise InputError("tune.eight_bit needs bitsandbytes: pip install 'unconcept[quant]'") from None
    return AdamW8bit(groups, lr=tune.lr)


@contextmanager
def recomputing(model: Model, on: bool) -> Iterator[None]:
    """Gradient checkpointing inside, as diffusers does it."""
    denoiser: Any = model.denoiser
    if on:
        denoiser.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if on:
            denoiser.disable_gradient_checkpointing()


def together(value: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """The loss over all processes; the parameters' gradients become those of all processes."""
    parameters = list(parameters)
    if count() > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        shared = mean(torch.cat([value.flatten(), *(g.flatten() for g in gradients)]))
        value, *parts = shared.split([1, *(g.numel() for g in gradients)])
        for gradient, part in zip(gradients, parts):
            gradient.copy_(part.view_as(gradient))
    return value.squeeze()


def precisely(model: Model) -> Student:
    """The model's predictions in single precision, whatever it computes in: losses are differences of what is nearly the same."""
    return lambda x, t, condition: model.predict(x, t, condition).float()


def thin(places: Tensor, n: int) -> Tensor:
    """At most n of them, evenly spread."""
    return places[torch.linspace(0, len(places) - 1, min(n, len(places))).long()]


@torch.no_grad()
def rows_read(model: Model, tune: Tune, asked: int) -> int:
    """Token states that one part of a step reads at most: not every condition that was recorded of a point is asked of the student."""
    first = shares(tune.batch, tune.parts)[0]
    return (first.stop - first.start) * asked * model.encode([""])[model.words].shape[1]


def _whitenings(model: Model, tune: Tune, keep: Sequence[str]) -> dict[str, Tensor]:
    """P by the name of every tensor of the group that reads the prompt."""
    if tune.whiten is None:
        return {}
    sites, by_name = model.group(tune.group), {}
    for name in {site.reads for site in sites if site.reads}:
        states = (model.reading(name, condition) for condition in encoded(model, ["", *keep]))
        by_name[name] = whitening(states, tune.whiten).to(model.device, torch.float32)
    return {site.name: by_name[site.reads] for site in sites if site.reads}
