"""The replay: trajectories sampled once, with what the original model answers at each of their points.

Earlier methods sample half a trajectory for a single training step and throw the rest away. Here every point (x_t, t) is kept with the
teacher's ε*(x_t, ·), so that the teacher is free in training: a step is one forward and one backward of the student.
What is asked there is kept once for each distinct prompt: a large text encoder says megabytes of one.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..models.conditioning import PromptConditions, gather_conditions, predict_in_batches, to_device
from ..models.interface import Condition, Model
from .resume import load_or_compute


@dataclass(frozen=True)
class Replay:
    """N points of trajectories: x [N, C, H, W], t [N], which trajectory each is of [N], and by role ("c", "a", "null", "k")
    the conditions `asked` there and the teacher's native outputs `said` [N, C, H, W]. In the host's memory, whatever the model is on.
    Parts of it share its conditions; on a device (`to`) every point has its own. Parts of a `batch` know their points' places [N] in it."""

    x: Tensor
    t: Tensor
    trajectory: Tensor
    conditions: Mapping[str, Condition]
    targets: Mapping[str, Tensor]
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.t)

    def batch(self, index: Tensor) -> "Replay":
        """These points as one batch."""
        return replace(self[index], places=torch.arange(len(index)))

    def second(self) -> Tensor:
        """[N], on the host: is the point the second, fourth, ... of its batch? The same however the batch is parted."""
        return (torch.arange(len(self)) if self.places is None else self.places) % 2 == 1

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name, as a file holds it."""
        conditions = {role: PromptConditions.of(condition) for role, condition in self.conditions.items()}
        asked = {f"asked.{role}.{name}": t for role, condition in conditions.items() for name, t in condition.each.items()}
        which = {f"which.{role}": condition.which for role, condition in conditions.items()}
        said = {f"said.{role}": t for role, t in self.targets.items()}
        return {"x": self.x, "t": self.t, "trajectory": self.trajectory, **asked, **which, **said}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Replay":
        each: dict[str, dict[str, Tensor]] = {}
        for name in (n for n in tensors if n.startswith("asked.")):
            _, role, entry = name.split(".", 2)
            each.setdefault(role, {})[entry] = tensors[name]
        asked = {role: PromptConditions(condition, tensors[f"which.{role}"]) for role, condition in each.items()}
        said = {name.partition(".")[2]: t for name, t in tensors.items() if name.startswith("said.")}
        return cls(tensors["x"], tensors["t"], tensors["trajectory"], asked, said)

    def __getitem__(self, index: Tensor | slice) -> "Replay":
        asked = {role: PromptConditions.of(condition).rows(index) for role, condition in self.conditions.items()}
        said = {role: output[index] for role, output in self.targets.items()}
        places = None if self.places is None else self.places[index]
        return Replay(self.x[index], self.t[index], self.trajectory[index], asked, said, places)

    def to(self, device: torch.device) -> "Replay":
        asked = {role: to_device(device, condition) for role, condition in self.conditions.items()}
        said = {role: output.to(device) for role, output in self.targets.items()}
        return Replay(self.x.to(device), self.t.to(device), self.trajectory.to(device), asked, said, self.places)

    def split(self, share: float) -> tuple[Tensor, Tensor]:
        """(the rest, about `share` of the trajectories held out), as the points' places: no trajectory is in both."""
        names = self.trajectory.unique()
        held = torch.isin(self.trajectory, names[:: max(2, round(1 / share))])
        return (~held).nonzero().flatten(), held.nonzero().flatten()


@torch.no_grad()
def record(
    model: Model,
    drive: Sequence[str],
    asked: Mapping[str, Sequence[Sequence[str]]],
    *,
    seed: int,
    steps: int,
    guidance: float,
    points: int,
    batch: int | None = None,
    beside: Mapping[str, Sequence[Sequence[str]]] | None = None,
) -> Replay:
    """Sample one trajectory for each prompt of `drive`, and ask the teacher at its points what it says to the prompts `asked` by role.

    A trajectory has one or more prompts in a role and asks them in turn, from point to point: so a few trajectories hear many phrasings.
    `beside` are prompts by role, too, whose conditions are kept and to which the teacher says nothing.
    `batch` rows go through the model at once; None: as many as it takes. Of the `steps` points of a trajectory every `steps // points`-th is kept behind a random offset: `points`,
    or more where they do not divide (12 of 25: 12 or 13; 13 to 25 of 25: all).
    Cost in network calls on one picture: 2 · steps + roles · points kept for each trajectory. A run that survives does it once.
    """
    batch = batch or model.max_batch
    settings: dict[str, Any] = dict(steps=steps, guidance=guidance, points=points, batch=batch)
    return Replay.of(load_or_compute(lambda: sample_points(model, drive, asked, beside or {}, seed=seed, **settings).tensors()))


def sample_points(
    model: Model, drive: Sequence[str], asked: Mapping[str, Sequence[Sequence[str]]], beside: Mapping[str, Sequence[Sequence[str]]], *,
    seed: int, steps: int, guidance: float, points: int, batch: int,
) -> Replay:  # fmt: skip
    stride = max(1, steps // points)
    offset = torch.randint(stride, (len(drive),), generator=torch.Generator().manual_seed(seed))
    kept: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for rows in torch.arange(len(drive)).split(batch // 2):
        prompts, seeds = [str(drive[r]) for r in rows.tolist()], [seed + r for r in rows.tolist()]
        for step, (x, t) in enumerate(model.trajectory(prompts, seeds, steps=steps, guidance=guidance)):
            if step == steps:
                break
            now = (step - offset[rows]) % stride == 0
            kept.append((x[now].cpu(), t[now].cpu(), rows[now], (step - offset[rows[now]]) // stride))
    x, t, trajectory, turn = (torch.cat(parts) for parts in zip(*kept))
    conditions = {}
    for role, prompts in {**asked, **beside}.items():
        own = [prompts[int(r)][int(k) % len(prompts[int(r)])] for r, k in zip(trajectory.tolist(), turn.tolist())]
        names = list(dict.fromkeys(own))
        conditions[role] = PromptConditions(gather_conditions(model, names), torch.tensor([names.index(prompt) for prompt in own]))
    return Replay(x, t, trajectory, conditions, {role: predict_in_batches(model, x, t, conditions[role], batch) for role in asked})


@torch.no_grad()
def sample_point(
    model: Model, prompts: Sequence[str], on: Callable[[], AbstractContextManager] | None, generator: torch.Generator, *, steps: int,
    guidance: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One point (x_t, t) of a fresh guided trajectory, at a random one of its `steps`: what the methods without a replay train on.

    on: who walks, as a context manager that puts it in the model's place; None: the original.
    """
    last = int(torch.randint(steps, (), generator=generator))
    seeds = torch.randint(2**40, (len(prompts),), generator=generator).tolist()
    with nullcontext() if on is None else on():
        for step, (x, t) in enumerate(model.trajectory(prompts, seeds, steps=steps, guidance=guidance)):
            if step == last:
                return x, t
    raise AssertionError("a trajectory has as many points as steps")
