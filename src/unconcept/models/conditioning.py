"""Conditions of many points: rows picked, joined, mixed and encoded in batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .interface import Condition, Model

MAX_CONDITION_NUMBERS = 2**25  # of conditions that are made at once: 16 prompts of Flux.1, 567 of Stable Diffusion 1.x


@dataclass(frozen=True, eq=False)
class PromptConditions(Mapping[str, Tensor]):
    """The condition of N points: that of each distinct prompt once, `each` [M, ...], and `which` of them every point has [N].
    By name it gives tensors of N rows, made when they are asked for."""

    each: Condition
    which: Tensor

    def __getitem__(self, name: str) -> Tensor:
        return self.each[name][self.which]

    def __iter__(self) -> Iterator[str]:
        return iter(self.each)

    def __len__(self) -> int:
        return len(self.each)

    @classmethod
    def of(cls, condition: Condition) -> "PromptConditions":
        """Any condition; where it is none of these, every row stands for itself."""
        if isinstance(condition, cls):
            return condition
        rows = next(iter(condition.values()))
        return cls(condition, torch.arange(len(rows), device=rows.device))

    def rows(self, index: Tensor | slice) -> "PromptConditions":
        return PromptConditions(self.each, self.which[index])


def encode_points(model: Model, prompts: Sequence[str]) -> Iterator[Condition]:
    """The prompts' conditions, as many at a time as have `NUMBERS` numbers."""
    n = max(1, MAX_CONDITION_NUMBERS // sum(t[0].numel() for t in model.encode([""]).values()))
    return (model.encode(prompts[i : i + n]) for i in range(0, len(prompts), n))


def gather_conditions(model: Model, prompts: Sequence[str]) -> Condition:
    """The prompts' conditions in the host's memory."""
    all_: dict[str, Tensor] = {}
    done = 0
    for some in encode_points(model, prompts):
        for name, t in some.items():
            all_.setdefault(name, t.new_empty(len(prompts), *t.shape[1:], device="cpu"))[done : done + len(t)] = t
        done += len(next(iter(some.values())))
    return all_


@torch.no_grad()
def predict_in_batches(model: Model, x: Tensor, t: Tensor, condition: Condition, batch: int | None = None) -> Tensor:
    """The model's output at many points of the host's memory, `batch` (None: as many as it takes) at a time, in single precision."""
    batch = batch or model.max_batch
    there, asked, parts = model.device, PromptConditions.of(condition), (slice(i, i + batch) for i in range(0, len(t), batch))
    return torch.cat([model.predict(x[s].to(there), t[s].to(there), to_device(there, asked.rows(s))).float().cpu() for s in parts])


def to_device(device: torch.device, condition: Condition) -> Condition:
    """A condition, moved."""
    return {name: value.to(device) for name, value in condition.items()}


def pick(condition: Condition, index: Tensor | slice) -> Condition:
    """Rows of a condition."""
    return {name: value[index] for name, value in condition.items()}


def join(*conditions: Condition) -> Condition:
    """Conditions one after the other in a batch."""
    return {name: torch.cat([condition[name] for condition in conditions]) for name in conditions[0]}


def per_row(v: Tensor, like: Tensor) -> Tensor:
    """Shape a factor of every sample so that it multiplies latents of any rank.

    Args:
        v: One number per sample [N].
        like: Latents [N, ...] of images or videos.

    Returns:
        `v` as [N, 1, ..., 1] with as many dimensions as `like`.
    """
    return v.view(-1, *[1] * (like.ndim - 1))


def where_rows(which: Tensor, a: Condition, b: Condition) -> Condition:
    """The rows of `a` where `which` [N] is true, and those of `b` elsewhere."""
    return {name: torch.where(per_row(which.to(rows.device), rows), a[name], rows) for name, rows in b.items()}


def rank_by_similarity(states: Tensor, own: Sequence[int]) -> Tensor:
    """For each of the rows `own` of token states [N, tokens, width] all rows [len(own), N], from the nearest on, by cosine of what is centred."""
    states = states.flatten(1)
    states = normalize(states - states.mean(0), dim=1)
    return (states @ states.T)[list(own)].argsort(1, descending=True)
