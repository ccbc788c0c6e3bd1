"""How often the denoiser of an All but One training runs, counted beforehand."""

import math
from dataclasses import dataclass

from ..methods.all_but_one import AllButOne
from ..training.distributed import process_count
from ..training.replay_trainer import HELD_OUT_POINTS

ERASE_ROLES = 3  # conditions recorded per point of the concept: c, a and the empty prompt

TRAINED_ROLES = 2  # of them predicted by the student: c and the empty prompt


@dataclass(frozen=True)
class NetworkCalls:
    """Images that go forward through the denoiser, by what for.

    recording  trajectories and teacher predictions of the replay
    held_out   evaluations of the held-out loss
    training   training steps, each of them also a backward pass
    """

    recording: int
    held_out: int
    training: int

    @property
    def total(self) -> int:
        """Calls of the whole training, forward."""
        return self.recording + self.held_out + self.training


def network_calls(method: AllButOne, concepts: int = 1) -> NetworkCalls:
    """Count the network calls of an All but One training beforehand.

    Early stopping may save some of the training's.

    Args:
        method: The method with its hyperparameters.
        concepts: How many concepts are erased.

    Returns:
        Calls of one process.
    """
    groups = [group_calls(method, size) for size in method.groups(concepts)]
    return NetworkCalls(
        recording=sum(calls.recording for calls in groups),
        held_out=sum(calls.held_out for calls in groups),
        training=sum(calls.training for calls in groups),
    )


def group_calls(method: AllButOne, concepts: int) -> NetworkCalls:
    """The same for concepts that are trained together.

    Args:
        method: The method with its hyperparameters.
        concepts: Size of the group.

    Returns:
        Calls of one process, in one round of training; none where the closed form is all.
    """
    if not method.trains:
        return NetworkCalls(recording=0, held_out=0, training=0)
    tune = method.first_round
    erased = method.trajectories_per_concept(concepts) * concepts
    retained = 2 * method.trajectories * bool(method.rho)
    sampling = 2 * method.sampling_steps * (erased + retained)  # with the prompt and without
    predictions = method.points * (ERASE_ROLES * erased + retained)
    points = TRAINED_ROLES * held_out_points(method, erased) + held_out_points(method, retained)
    evaluations = 1 + math.ceil(tune.steps / tune.check)
    rows = TRAINED_ROLES + bool(method.rho) + method.attacks * bool(method.adversary)
    return NetworkCalls(
        recording=sampling + predictions,
        held_out=evaluations * points + 2 * TRAINED_ROLES * held_out_points(method, erased),
        training=tune.steps * rows * tune.batch_size // process_count(),
    )


def held_out_points(method: AllButOne, trajectories: int) -> int:
    """Points of so many trajectories that one evaluation of the held-out loss reads.

    Args:
        method: Says how many points a trajectory has and which share is held out.
        trajectories: Number of trajectories, held-out ones included.

    Returns:
        Number of points, at most HELD_OUT_POINTS.
    """
    every = max(2, round(1 / method.tune.held_out))
    return min(HELD_OUT_POINTS, method.points * math.ceil(trajectories / every))
