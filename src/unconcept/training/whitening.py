"""Whitening of token states: the metric in which the keys and values of retained prompts are held."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..models.conditioning import encode_points
from ..models.interface import Model
from .config import Tune
from .distributed import micro_batches


def whitening_matrix(states: Iterable[Tensor], mu: float) -> Tensor:
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


@torch.no_grad()
def rows_per_step(model: Model, tune: Tune, asked: int) -> int:
    """Token states that one part of a step reads at most: not every condition that was recorded of a point is asked of the student."""
    first = micro_batches(tune.batch_size, tune.gradient_accumulation)[0]
    return (first.stop - first.start) * asked * model.encode([""])[model.prompt_states_key].shape[1]


def whitening_matrices(model: Model, tune: Tune, keep: Sequence[str]) -> dict[str, Tensor]:
    """P by the name of every tensor of the group that reads the prompt."""
    if tune.whiten is None:
        return {}
    sites, by_name = model.weight_group(tune.group), {}
    for name in {site.reads for site in sites if site.reads}:
        states = (model.linear_input(name, condition) for condition in encode_points(model, ["", *keep]))
        by_name[name] = whitening_matrix(states, tune.whiten).to(model.device, torch.float32)
    return {site.name: by_name[site.reads] for site in sites if site.reads}
