"""Whitening of token states: the metric in which keys and values of retained prompts are held."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..models.conditioning import empty_condition, encode_points
from ..models.interface import Model
from .config import Tune
from .distributed import micro_batches


def whitening_matrix(states: Iterable[Tensor], mu: float) -> Tensor:
    """(C/c̄ + μI)^(-1/2), where C is the second moment of token states and c̄ its mean eigenvalue.

    Directions that the states use come out short; directions that they do not use come out long,
    at most μ^(-1/2).

    Args:
        states: Token states [..., width], in chunks. C is summed up in double precision on the
            CPU, so one chunk at a time is in memory.
        mu: μ, above 0.

    Returns:
        The matrix [width, width] in double precision, on the CPU.
    """
    C = torch.zeros((), dtype=torch.float64)
    n = 0
    for chunk in states:
        e = chunk.reshape(-1, chunk.shape[-1]).cpu().double()
        C = C + e.T @ e
        n += len(e)
    C = C / n
    identity = torch.eye(len(C), dtype=C.dtype)
    values, vectors = torch.linalg.eigh(C / C.diagonal().mean() + mu * identity)
    return (vectors * values.rsqrt()) @ vectors.T


@torch.no_grad()
def rows_per_step(model: Model, tune: Tune, conditions: int) -> int:
    """An upper bound of the token states that a matrix reads in one micro-batch.

    Args:
        model: Its number of tokens counts.
        tune: Batch size and gradient accumulation.
        conditions: Conditions that were recorded of each point; a loss may use fewer.

    Returns:
        Number of rows.
    """
    first = micro_batches(tune.batch_size, tune.gradient_accumulation)[0]
    points = first.stop - first.start
    tokens = empty_condition(model)[model.prompt_states_key].shape[1]
    return points * conditions * tokens


def whitening_matrices(model: Model, tune: Tune, retained: Sequence[str]) -> dict[str, Tensor]:
    """P of every tensor in the trained group that reads the prompt.

    Args:
        model: Encodes the prompts.
        tune: Weight group, and μ or None.
        retained: Prompts whose states make up C, besides the empty prompt.

    Returns:
        P [width, width] by the name of the tensor, in single precision on the model's device;
        empty without whitening.
    """
    if tune.whiten is None:
        return {}
    sites = [site for site in model.weight_group(tune.group) if site.reads]
    by_input = {}
    for name in {site.reads for site in sites}:
        conditions = encode_points(model, ["", *retained])
        states = (model.linear_input(name, condition) for condition in conditions)
        matrix = whitening_matrix(states, tune.whiten)
        by_input[name] = matrix.to(model.device, torch.float32)
    return {site.name: by_input[site.reads] for site in sites}
