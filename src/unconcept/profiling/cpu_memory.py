"""The CPU memory that a training will need, from shapes alone.

CPU memory = points of the replay + conditions, once per distinct prompt
           + token states that whitening reads at once
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..concepts.concept import Concept
from ..concepts.retain import retain_prompts
from ..methods.all_but_one import MAX_RETAINED_PROMPTS, MAX_RETAINED_TOKENS, AllButOne
from ..models.conditioning import MAX_CONDITION_NUMBERS, empty_condition, pick
from ..models.interface import Model
from ..training.replay import target_dtype
from .memory_estimate import bytes_per_number
from .network_calls import ERASE_ROLES

FP64_BYTES = 8

INDEX_BYTES = 8  # of an int64

# float64 matrices of the whitening's width at once: the second moment, the matrix that is
# decomposed, its eigenvectors, and two of LAPACK's.
WHITENING_MATRICES = 5


@dataclass(frozen=True)
class CpuMemory:
    """What a training holds in CPU memory besides the networks, in bytes unless said otherwise.

    points      latents and predictions of the replay
    conditions  text conditions, once per distinct prompt
    states      token states, or the matrices of their second moment, while whitening
    prompts     number of distinct prompts
    """

    points: int
    conditions: int
    states: int
    prompts: int

    @property
    def whole(self) -> int:
        """All bytes together."""
        return self.points + self.conditions + self.states


def estimate_cpu_memory(model: Model, method: AllButOne, concepts: Sequence[Concept]) -> CpuMemory:
    """Estimate the CPU memory of an All but One training.

    Args:
        model: A model on the device "meta".
        method: The method with its hyperparameters.
        concepts: What is erased; of several groups the largest counts.

    Returns:
        Bytes, and the number of prompts.
    """
    ends = list(itertools.accumulate(method.groups(len(concepts))))
    runs = []
    for start, end in zip([0, *ends], ends):
        runs.append(group_cpu_memory(model, method, concepts[start:end]))
    return max(runs, key=lambda run: run.whole)


def group_cpu_memory(model: Model, method: AllButOne, concepts: Sequence[Concept]) -> CpuMemory:
    """Estimate the CPU memory for concepts that are trained together.

    Which points are kept of a trajectory depends on its offset: this is the mean.

    Args:
        model: A model on the device "meta".
        method: The method with its hyperparameters.
        concepts: The concepts of one group.

    Returns:
        Bytes, and the number of prompts.
    """
    trajectories = method.trajectories_per_concept(len(concepts)) * len(concepts)
    retained_trajectories = 2 * method.trajectories * bool(method.rho)
    points = method.sampling_steps / max(1, method.sampling_steps // method.points)
    retained = retain_prompts(concepts, model.vocabulary)
    pairs = [pair for concept in concepts for pair in concept.pairs()]
    prompts = 1 + min(retained_trajectories * method.points, len(retained))
    for column in zip(*pairs):
        prompts += min(int(trajectories * points), len(set(column)))
    points_bytes = points * (
        trajectories * point_bytes(model, ERASE_ROLES)
        + retained_trajectories * point_bytes(model, 1)
    )
    condition = pick(empty_condition(model), slice(0, 1))
    condition_bytes = sum(tensor.nbytes for tensor in condition.values())
    states = whitening_cpu_bytes(model, method, len(retained))
    if not method.trains:  # the closed form has no replay
        return CpuMemory(0, 0, states, prompts)
    return CpuMemory(int(points_bytes), prompts * condition_bytes, states, prompts)


def point_bytes(model: Model, roles: int) -> int:
    """Bytes of a replay's point: x, t, trajectory, and per role a prediction and an index.

    Args:
        model: Says the shape and the precision of a latent.
        roles: Predictions recorded at the point: ERASE_ROLES on trajectories of erased concepts,
            1 on those of retained prompts.

    Returns:
        Bytes.
    """
    latent = math.prod(model.latent_shape)
    prediction = torch.finfo(target_dtype(model)).bits // 8
    return latent * (bytes_per_number(model) + prediction * roles) + INDEX_BYTES * (2 + roles)


def whitening_cpu_bytes(model: Model, method: AllButOne, retained: int) -> int:
    """Bytes that whitening needs in CPU memory.

    The larger of two: the token states it reads at once, also in float64; the matrices of their
    second moment.

    Args:
        model: A model on the device "meta".
        method: The method with its hyperparameters.
        retained: Number of retained prompts.

    Returns:
        Bytes; 0 if nothing is whitened.
    """
    reads = {site.reads for site in model.weight_group(method.tune.group) if site.reads}
    if method.tune.whiten is None or not reads:
        return 0
    condition = pick(empty_condition(model), slice(0, 1))
    tokens = condition[model.prompt_states_key].shape[1]
    prompts = 1 + min(retained, MAX_RETAINED_PROMPTS, MAX_RETAINED_TOKENS // tokens)
    numbers = prompts * sum(tensor.numel() for tensor in condition.values())
    at_once = min(MAX_CONDITION_NUMBERS, numbers)
    width = max(model.linear_input(name, condition).shape[-1] for name in reads)
    states = at_once * (FP64_BYTES + bytes_per_number(model))
    return max(states, WHITENING_MATRICES * width**2 * FP64_BYTES)
