"""fit(): the one loop. It trains an Edit on a replay and gives back the one whose held-out loss was lowest."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from .checkpoint import surviving
from .edit import Edit, swapped
from .errors import InputError, RunError
from .models.base import Condition, Model, Site
from .trajectories import Replay

Student = Callable[[Tensor, Tensor, Condition], Tensor]
Draw = Callable[[int, Callable[[], AbstractContextManager], torch.Generator], tuple]
LOOK = 32  # points of each role that the held-out loss is taken over
Loss = Callable[[Student, Mapping[str, Replay]], Tensor]


@dataclass(frozen=True)
class Progress:
    """What a run is doing: the stage in words, done of total, and the losses where there are any."""

    stage: str
    done: int
    total: int
    loss: float | None = None
    held_out: float | None = None


Report = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Tune:
    """How an edit is trained.

    group     which weights: "cross-attention keys and values", "cross-attention", "self-attention", "attention blocks",
              "all but cross-attention", "all"
    whiten    μ of W = W* + A (C/c̄ + μI)^(-1/2), where a matrix reads the prompt; None: plain W = W* + A
    lr        AdamW's, on A; it falls linearly to 0 over `steps`
    steps     at most; the edit kept is the one of the lowest held-out loss, looked at every `check` steps,
              and the run ends when `patience` looks in a row brought nothing better
    batch     points of the replay in a step, of each role
    held_out  share of the trajectories that is never trained on
    """

    group: str = "cross-attention keys and values"
    whiten: float | None = 3e-4
    lr: float = 1e-3
    steps: int = 75
    batch: int = 8
    held_out: float = 0.2
    check: int = 15
    patience: int = 3
    seed: int = 0

    def __post_init__(self):
        if self.steps < 1 or self.batch < 1 or self.check < 1 or self.patience < 1:
            raise InputError("steps, batch, check and patience are at least 1")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise InputError(f"the learning rate is {self.lr}: it must be above 0")
        if not 0 < self.held_out <= 0.5:
            raise InputError(f"held_out is {self.held_out}: it must be above 0 and at most 0.5")
        if self.whiten is not None and self.whiten <= 0:
            raise InputError(f"whiten is {self.whiten}: it must be above 0, or null for plain updates")


def whitening(states: Tensor, mu: float) -> Tensor:
    """(C/c̄ + μI)^(-1/2) [width, width] for token states [..., width]; C is their second moment, c̄ its mean eigenvalue.

    Directions that the states use come out short, directions that they leave alone come out long (at most μ^(-1/2)).
    """
    e = states.reshape(-1, states.shape[-1]).double()
    C = e.T @ e / len(e)
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
    sites, generator = model.group(tune.group), torch.Generator().manual_seed(tune.seed)
    weights = {site.name: getattr(*site.find(model.components)).detach() for site in sites}
    A = {name: torch.zeros_like(w, dtype=torch.float32, requires_grad=True) for name, w in weights.items()}
    P = _whitenings(model, sites, keep, tune.whiten)
    optimizer = torch.optim.AdamW(A.values(), lr=tune.lr, weight_decay=0.0)

    def deltas() -> dict[str, Tensor]:
        return {name: a @ P[name].to(a) if name in P else a for name, a in A.items()}

    def student() -> Mapping[str, Tensor]:
        return {name: weights[name] + d.to(weights[name]) for name, d in deltas().items()}

    parts = {role: replay.split(tune.held_out) for role, replay in replays.items()}
    held = {role: thin(part, LOOK).to(model.device) for role, (_, part) in parts.items()}
    predict = precisely(model)

    def look() -> tuple[float, dict[str, Tensor]]:
        with torch.no_grad(), swapped(model.components, student()):
            return float(loss(predict, held)), {name: d.cpu().clone() for name, d in deltas().items()}

    best, kept = look()
    facts: dict = {"best": best, "since": 0, "trace": [[0, best]]}
    for step in surviving(tune.steps, optimizer, generator, {**kept, **(besides or {})}, facts):
        optimizer.param_groups[0]["lr"] = tune.lr * (1 - (step - 1) / tune.steps)
        drawn = {role: part[torch.randint(len(part), (tune.batch,), generator=generator)] for role, (part, _) in parts.items()}
        batches = {role: part.to(model.device) for role, part in drawn.items()}
        with swapped(model.components, student()):
            value = loss(predict, batches)
            value.backward()
        if not torch.isfinite(value):
            raise RunError(f"the loss became {value.item()} at step {step}; nothing was kept. Try a lower learning rate.")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % tune.check == 0 or step == tune.steps:
            now, candidate = look()
            facts["trace"].append([step, now])
            if not math.isfinite(now):
                raise RunError(f"the held-out loss became {now} at step {step}; nothing was kept. Try a lower learning rate.")
            facts["since"] += 1
            if now < facts["best"]:
                facts.update(best=now, since=0)
                for name, delta in candidate.items():
                    kept[name].copy_(delta)
        report(Progress("training", step, tune.steps, value.item(), facts["best"]))
        if facts["since"] >= tune.patience:
            break
    training = {"steps": facts["steps"], "held_out_loss": facts["trace"], "seconds": round(facts["seconds"], 2)}
    return Edit(kept, {**(card or {}), "model_sha256": model.fingerprint(), "training": training})


def descend(
    model: Model, group: str, draw: Draw, loss: Callable[..., Tensor], *, steps: int, lr: float, seed: int, weight_decay: float = 0.0,
    clip: float | None = None, average: float | None = None, rank: int | None = None, card: Mapping | None = None,
    report: Report = lambda progress: None,
) -> Edit:  # fmt: skip
    """The loop of the methods that sample anew for every step: no replay, nothing held out, the last step is kept.

    draw(step, on, generator) -> what `loss(student, *...)` is given; inside `with on():` the student stands in the model's place.
    average: decay of a running average of the student; it is the average then that `on` stands for, and that is kept.
    rank: Δ = U D of this rank (U begins at 0), instead of Δ as a whole.
    """
    sites, generator = model.group(group), torch.Generator().manual_seed(seed)
    weights = {site.name: getattr(*site.find(model.components)).detach() for site in sites}
    if rank is None:
        A = {name: torch.zeros_like(w, dtype=torch.float32, requires_grad=True) for name, w in weights.items()}
        trained, now = list(A.values()), lambda: A
    else:
        U = {name: torch.zeros(len(w), rank, requires_grad=True) for name, w in weights.items()}
        D = {
            name: torch.randn(rank, w[0].numel(), generator=generator).div(w[0].numel() ** 0.5).requires_grad_()
            for name, w in weights.items()
        }
        trained, now = [*U.values(), *D.values()], lambda: {name: (U[name] @ D[name]).view_as(weights[name]) for name in weights}
    mean = {name: torch.zeros_like(w, dtype=torch.float32) for name, w in weights.items()} if average is not None else None
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    put = lambda deltas: swapped(model.components, {name: weights[name] + d.to(weights[name]) for name, d in deltas.items()})
    facts: dict = {}
    for step in surviving(steps, optimizer, generator, mean, facts):
        batch = draw(step - 1, lambda: put(mean or now()), generator)
        with put(now()):
            value = loss(precisely(model), *batch)
            value.backward()
        if not torch.isfinite(value):
            raise RunError(f"the loss became {value.item()} at step {step}; nothing was kept. Try a lower learning rate.")
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(trained, clip)
        if weight_decay and rank is None:
            with torch.no_grad():
                for name, a in A.items():  # weight decay pulls at the weights, not at what was added to them
                    a.sub_(lr * weight_decay * (weights[name].float() + a))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if mean is not None and average is not None:
            with torch.no_grad():
                for name, delta in now().items():
                    mean[name].lerp_(delta, 1 - average)
        report(Progress("training", step, steps, value.item(), None))
    training = {"steps": steps, "seconds": round(facts["seconds"], 2)}
    kept = {name: d.detach().cpu().clone() for name, d in (mean or now()).items()}
    return Edit(kept, {**(card or {}), "model_sha256": model.fingerprint(), "training": training})


def precisely(model: Model) -> Student:
    """The model's predictions in single precision, whatever it computes in: losses are differences of what is nearly the same."""
    return lambda x, t, condition: model.predict(x, t, condition).float()


def thin(replay: Replay, n: int) -> Replay:
    """At most n points, evenly spread."""
    return replay[torch.linspace(0, len(replay) - 1, min(n, len(replay))).long()]


@torch.no_grad()
def _whitenings(model: Model, sites: Sequence[Site], keep: Sequence[str], mu: float | None) -> dict[str, Tensor]:
    if mu is None:
        return {}
    condition = model.encode(["", *keep])
    by_name = {
        name: whitening(model.reading(name, condition).cpu(), mu).to(model.device, torch.float32)
        for name in {s.reads for s in sites if s.reads}
    }
    return {site.name: by_name[site.reads] for site in sites if site.reads}
