"""The replay: trajectories sampled once, with the original model's predictions at their points.

Earlier methods sample half a trajectory for a single training step and discard the rest. Here
every point (x_t, t) is recorded with the teacher's ε*(x_t, ·), so that the teacher costs nothing
during training: a step is one forward and one backward pass of the student.
The condition of each distinct prompt is stored once: a large text encoder returns megabytes of it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..config.ranges import SEEDS
from ..models.conditioning import (
    PromptConditions,
    gather_conditions,
    predict_in_batches,
    to_device,
)
from ..models.interface import Condition, Model, Sampling
from .resume import load_or_compute

Prompts = Mapping[str, Sequence[Sequence[str]]]  # by role, for each trajectory a list of prompts


@dataclass(frozen=True)
class Replay:
    """N points of recorded trajectories.

    A recorded replay is in CPU memory, whatever device the model is on; indexed parts of it share
    its conditions. After `to` every point has a condition of its own.

    x           latents [N, C, H, W]
    t           timesteps [N]
    trajectory  index of the trajectory that each point belongs to [N]
    conditions  by role ("c", "a", "null", "k", "near") the conditions of the points
    targets     by role the teacher's native outputs [N, C, H, W] under these conditions; those of
                clips are stored in half precision, and a part of a replay has them in single
    places      in a part of a batch, the points' positions in the whole batch [N]
    """

    x: Tensor
    t: Tensor
    trajectory: Tensor
    conditions: Mapping[str, Condition]
    targets: Mapping[str, Tensor]
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.t)

    def batch(self, index: Tensor) -> "Replay":
        """The points at some indices as one batch, whose points know their places in it.

        Args:
            index: [N]

        Returns:
            A replay of N points.
        """
        return replace(self[index], places=torch.arange(len(index)))

    def every_other(self) -> Tensor:
        """[N], on the CPU: true for the second, fourth, ... point of the batch.

        It is the same point however the batch is divided into micro-batches.
        """
        places = torch.arange(len(self)) if self.places is None else self.places
        return places % 2 == 1

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, as a file stores them; `from_tensors` reads them."""
        tensors = {"x": self.x, "t": self.t, "trajectory": self.trajectory}
        for role, condition in self.conditions.items():
            points = PromptConditions.of(condition)
            tensors[f"which.{role}"] = points.which
            for name, tensor in points.each.items():
                tensors[f"asked.{role}.{name}"] = tensor
        for role, target in self.targets.items():
            tensors[f"said.{role}"] = target
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Replay":
        """The replay that `tensors` describes.

        Args:
            tensors: As the method `tensors` returned them.

        Returns:
            The replay.
        """
        distinct: dict[str, dict[str, Tensor]] = {}
        targets = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "asked":
                role, _, entry = rest.partition(".")
                distinct.setdefault(role, {})[entry] = tensor
            elif kind == "said":
                targets[rest] = tensor
        conditions = {
            role: PromptConditions(condition, tensors[f"which.{role}"])
            for role, condition in distinct.items()
        }
        return cls(tensors["x"], tensors["t"], tensors["trajectory"], conditions, targets)

    def __getitem__(self, index: Tensor | slice) -> "Replay":
        conditions = {
            role: PromptConditions.of(condition).rows(index)
            for role, condition in self.conditions.items()
        }
        targets = {role: target[index].float() for role, target in self.targets.items()}
        places = None if self.places is None else self.places[index]
        return Replay(
            self.x[index], self.t[index], self.trajectory[index], conditions, targets, places
        )

    def to(self, device: torch.device) -> "Replay":
        """The points on another device; `places` stay on the CPU.

        Args:
            device: Of everything else.

        Returns:
            A copy in which every point has a condition of its own.
        """
        return Replay(
            self.x.to(device),
            self.t.to(device),
            self.trajectory.to(device),
            {role: to_device(device, condition) for role, condition in self.conditions.items()},
            {role: target.to(device) for role, target in self.targets.items()},
            self.places,
        )

    def split(self, share: float) -> tuple[Tensor, Tensor]:
        """Hold out whole trajectories.

        Args:
            share: Of the trajectories to hold out, about; above 0 and at most 0.5.

        Returns:
            Indices of the points to train on, and of those held out.
        """
        trajectories = self.trajectory.unique()
        stride = max(2, round(1 / share))
        held_out = torch.isin(self.trajectory, trajectories[::stride])
        return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


@dataclass(frozen=True, kw_only=True)
class ReplayPlan:
    """Which trajectories are sampled, and what is recorded at their points.

    drive            the prompt that guides each trajectory; their number T is that of trajectories
    prompts          by role, for each trajectory the prompts under which the teacher's prediction
                     is recorded: one at each point, in turn, so that a few trajectories cover many
                     phrasings
    conditions_only  the same for roles whose conditions are recorded without a prediction
    seed             of the first trajectory; the others follow
    steps            of the sampler
    guidance         CFG scale of the sampler
    points           recorded points of each trajectory, from 1 to `steps`: every
                     (steps // points)-th from a random offset on; some more where `points` does
                     not divide `steps`
    """

    drive: Sequence[str]
    prompts: Prompts
    conditions_only: Prompts = field(default_factory=dict)
    seed: int
    steps: int
    guidance: float
    points: int


@torch.no_grad()
def record(model: Model, plan: ReplayPlan, batch_size: int | None = None) -> Replay:
    """Sample the trajectories of a plan and record the teacher's predictions at their points.

    It costs 2 · steps + roles · points network calls for each trajectory. A resumed run loads the
    replay instead of sampling it again.

    Args:
        model: The teacher, unedited.
        plan: Trajectories, prompts and sampling settings.
        batch_size: Rows that go through the denoiser at once; None: as many as the model takes.

    Returns:
        The replay, in CPU memory.
    """
    rows = batch_size or model.max_batch
    return Replay.from_tensors(load_or_compute(lambda: sample_points(model, plan, rows).tensors()))


def sample_points(model: Model, plan: ReplayPlan, batch_size: int) -> Replay:
    """`record` without the stored result.

    Args:
        model: The teacher, unedited.
        plan: Trajectories, prompts and sampling settings.
        batch_size: Rows that go through the denoiser at once, at least 2.

    Returns:
        The replay, in CPU memory.
    """
    stride = max(1, plan.steps // plan.points)
    generator = torch.Generator().manual_seed(plan.seed % SEEDS)
    offset = torch.randint(stride, (len(plan.drive),), generator=generator)
    chunks: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for rows in torch.arange(len(plan.drive)).split(batch_size // 2):
        prompts = [plan.drive[int(row)] for row in rows]
        seeds = [(plan.seed + int(row)) % SEEDS for row in rows]
        points = model.trajectory(prompts, seeds, Sampling(plan.steps, plan.guidance))
        for step, (x, t) in enumerate(points):
            if step == plan.steps:
                break
            since_offset = step - offset[rows]
            recorded = since_offset % stride == 0
            turn = since_offset[recorded] // stride
            chunks.append((x[recorded].cpu(), t[recorded].cpu(), rows[recorded], turn))
    x, t, trajectory, turn = (torch.cat(parts) for parts in zip(*chunks))

    conditions = {}
    for role, by_trajectory in {**plan.prompts, **plan.conditions_only}.items():
        conditions[role] = conditions_in_turn(model, by_trajectory, trajectory, turn)
    targets = {}
    for role in plan.prompts:
        prediction = predict_in_batches(model, x, t, conditions[role], batch_size)
        targets[role] = prediction.to(target_dtype(model))
    return Replay(x, t, trajectory, conditions, targets)


def target_dtype(model: Model) -> torch.dtype:
    """How predictions are stored: those of clips, which are large, in half precision.

    Half precision has three more bits than bfloat16, and a loss takes differences of predictions.

    Args:
        model: The teacher.
    """
    return torch.float16 if model.frames else torch.float32


def conditions_in_turn(
    model: Model, prompts: Sequence[Sequence[str]], trajectory: Tensor, turn: Tensor
) -> PromptConditions:
    """The conditions of points whose trajectories go through their prompts in turn.

    Args:
        model: Encodes each distinct prompt once.
        prompts: Of each trajectory.
        trajectory: Of each point [N].
        turn: How many points of its trajectory precede each point [N].

    Returns:
        The conditions of the N points.
    """
    by_point = []
    for r, k in zip(trajectory.tolist(), turn.tolist()):
        by_point.append(prompts[r][k % len(prompts[r])])
    distinct = list(dict.fromkeys(by_point))
    which = torch.tensor([distinct.index(prompt) for prompt in by_point])
    return PromptConditions(gather_conditions(model, distinct), which)


@torch.no_grad()
def sample_point(
    model: Model,
    prompts: Sequence[str],
    walker: Callable[[], AbstractContextManager] | None,
    generator: torch.Generator,
    *,
    steps: int,
    guidance: float,
) -> tuple[Tensor, Tensor]:
    """One point of a fresh guided trajectory, at a random step: for methods without a replay.

    Args:
        model: Samples the trajectory.
        prompts: One for each row.
        walker: Returns a context inside which an edited model samples; None: the original.
        generator: Draws the step first, then the seeds.
        steps: Of the sampler.
        guidance: CFG scale of the sampler.

    Returns:
        x_t [len(prompts), C, H, W] and t [len(prompts)].
    """
    last = int(torch.randint(steps, (), generator=generator))
    seeds = torch.randint(2**40, (len(prompts),), generator=generator).tolist()
    with nullcontext() if walker is None else walker():
        points = model.trajectory(prompts, seeds, Sampling(steps, guidance))
        for step, (x, t) in enumerate(points):
            if step == last:
                return x, t
    raise AssertionError("a trajectory has as many points as steps")
