"""Training round after round: when it ends, and at which learning rates."""

import pytest
import torch

from unconcept import Edit, Tune
from unconcept.training.rounds import RoundLimits, train_rounds

NAME = "attn2.to_k.weight"


def rounds_of(shares: list[float], limits: RoundLimits) -> tuple[Edit, list[float]]:
    """Train where so much is missing before the first round and after each one.

    Returns:
        The edit, and the learning rate of each round.
    """
    left, rates = iter(shares), []

    def fit_round(edit: Edit, tune: Tune) -> Edit:
        rates.append(tune.lr)
        training = {"steps": 10, "seconds": 1.0, "held_out_loss": [[0, 2.0], [10, 1.0]]}
        return Edit({NAME: torch.ones(2, 2)}, {"training": training})

    start = Edit({NAME: torch.zeros(2, 2)}, {"method": "all-but-one"})
    return train_rounds(start, Tune(lr=1.0), limits, fit_round, lambda _: next(left)), rates


@pytest.mark.parametrize(
    ("shares", "limits", "rates"),
    [
        ([0.02], RoundLimits(until=0.03, rounds=6), []),
        ([0.02, 0.02], RoundLimits(until=0.03, rounds=6, least=1), [1.0]),
        ([1.0, 0.4, 0.1, 0.03], RoundLimits(until=0.03, rounds=6), [1.0, 1.0, 1.0]),
        # A round that removes less than half doubles the rate of the next.
        ([1.0, 0.6, 0.4, 0.1, 0.0], RoundLimits(until=0.03, rounds=6), [1.0, 2.0, 4.0, 4.0]),
        # One round that removes less than a tenth is not the last, two in a row are.
        ([1.0, 0.95, 0.5, 0.49, 0.48], RoundLimits(until=0.03, rounds=6), [1.0, 2.0, 4.0, 8.0]),
        ([0.5, 0.48, 0.47], RoundLimits(until=0.03, rounds=6), [1.0, 2.0]),
        ([0.5, 0.6, 0.7], RoundLimits(until=0.03, rounds=6), [1.0, 2.0]),
        ([1.0, 0.8, 0.6], RoundLimits(until=0.03, rounds=2), [1.0, 2.0]),
    ],
)
def test_rounds_go_on_while_they_help(shares, limits, rates):
    edit, used = rounds_of(shares, limits)
    assert used == rates
    assert edit.card["training"]["missing"] == shares
    assert torch.equal(edit.deltas[NAME], torch.full((2, 2), float(len(rates))))
    assert edit.card["training"]["steps"] == 10 * len(rates)


def test_the_card_counts_steps_through_all_rounds():
    edit, _ = rounds_of([1.0, 0.4, 0.0], RoundLimits(until=0.03, rounds=6))
    training = edit.card["training"]
    assert training["held_out_loss"] == [[0, 2.0], [10, 1.0], [10, 2.0], [20, 1.0]]
    assert [run["lr"] for run in training["rounds"]] == [1.0, 1.0]
    assert edit.card["method"] == "all-but-one"
