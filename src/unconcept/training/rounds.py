"""Training round after round on top of an edit, and the card's entry on what was trained."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..edits.edit import Edit
from ..edits.weight_deltas import Deltas
from .config import Tune

MIN_PROGRESS = 0.1  # share of what is missing that a round must remove to count as progress


@dataclass(frozen=True)
class RoundLimits:
    """When training ends.

    until   no more than this share of what is to be reached is missing
    rounds  largest number of rounds
    least   smallest number of rounds, whatever is missing
    """

    until: float
    rounds: int
    least: int = 0


def train_rounds(
    edit: Edit,
    tune: Tune,
    limits: RoundLimits,
    fit_round: Callable[[Edit, Tune], Edit],
    missing: Callable[[Edit], float],
) -> Edit:
    """Train on top of an edit, round after round, until little enough is missing.

    A round that removes less than half of what was missing is followed by one with twice the
    learning rate. Two in a row that each remove less than MIN_PROGRESS are the last.

    Args:
        edit: Where training starts.
        tune: Hyperparameters of the first round.
        limits: When training ends.
        fit_round: Trains one round on top of an edit, and returns what it adds, as an edit.
        missing: Share of what is to be reached that is missing with an edit, 0 or more.

    Returns:
        The edit with everything that the rounds added; its card has the training, and under
        "missing" the share before the first round and after each one.
    """
    rounds: list[dict] = []
    shares = [missing(edit)]
    while len(rounds) < limits.rounds and (shares[-1] > limits.until or len(rounds) < limits.least):
        added = fit_round(edit, tune)
        rounds.append({**added.card["training"], "lr": tune.lr})
        edit = replace(edit, deltas=Deltas.of(edit.deltas) + Deltas.of(added.deltas))
        shares.append(missing(edit))
        if shares[-1] > shares[-2] / 2:
            tune = replace(tune, lr=2 * tune.lr)
        if stalled(shares):
            break
    training_card = {**sum_rounds(rounds), "missing": shares}
    return replace(edit, card={**edit.card, "training": training_card})


def stalled(missing: list[float]) -> bool:
    """Has training stopped helping?

    Args:
        missing: What was missing before the first round and after each one.

    Returns:
        Whether each of the last two rounds removed less than MIN_PROGRESS of what was missing.
    """
    if len(missing) < 3:
        return False
    first, second, third = missing[-3:]
    least = 1 - MIN_PROGRESS
    return second > least * first and third > least * second


def sum_rounds(rounds: list[dict]) -> dict:
    """The card's entry on training, for several rounds or groups in a row.

    Args:
        rounds: What `fit` says of each: "steps", "seconds" and "held_out_loss".

    Returns:
        Steps and seconds added up, the held-out losses one after the other with steps counted
        through, and under "rounds" each of them if there are several.
    """
    steps, seconds, trace = 0, 0.0, []
    for run in rounds:
        trace += [[steps + step, value] for step, value in run["held_out_loss"]]
        steps, seconds = steps + run["steps"], seconds + run["seconds"]
    total: dict[str, Any] = {"steps": steps, "seconds": round(seconds, 2), "held_out_loss": trace}
    if rounds and "trim" in rounds[-1]:
        total["trim"] = rounds[-1]["trim"]
    return {**total, "rounds": rounds} if len(rounds) > 1 else total
