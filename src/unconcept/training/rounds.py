"""Several trainings in a row, as one entry of an edit's card."""

from typing import Any


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
