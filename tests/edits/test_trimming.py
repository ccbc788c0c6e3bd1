"""Cutting a change to a lower rank."""

import pytest
import torch

from unconcept import Edit, InputError
from unconcept.edits.trimming import Trimmer, count_numbers
from unconcept.edits.weight_deltas import Deltas


@pytest.fixture
def deltas() -> Deltas:
    """Singular values 8, 4, 2, 1 once as a matrix, once as factors; and a bias."""
    generator = torch.Generator().manual_seed(0)
    U, _ = torch.linalg.qr(torch.randn(24, 4, generator=generator))
    V, _ = torch.linalg.qr(torch.randn(16, 4, generator=generator))
    S = torch.tensor([8.0, 4.0, 2.0, 1.0])
    return Deltas({"whole": U * S @ V.T, "bias": torch.ones(3)}, {"pair": (U * S, V.T)})


def error(deltas, cut, name) -> float:
    return float((deltas[name] - cut[name]).norm() / deltas[name].norm())


@pytest.mark.parametrize("rank", [1, 2, 3, 9])
def test_a_rank(deltas, rank):
    """Of 85 = 64 + 16 + 4 + 1 in all, what is left out of the squares is the error."""
    cut = Edit(deltas, {"method": "m"}).trimmed(rank=rank)
    left_out = (0.0, 21 / 85, 5 / 85, 1 / 85, 0)[rank] if rank < 4 else 0.0
    for name in ("whole", "pair"):
        assert error(deltas, cut.deltas, name) == pytest.approx(left_out**0.5, abs=1e-5)
    stored = {name: len(V) for name, (_, V) in Deltas.of(cut.deltas).pairs.items()}
    assert stored == {"whole": rank, "pair": min(rank, 4)}
    assert torch.equal(cut.deltas["bias"], deltas["bias"])
    assert cut.card == {"method": "m", "trimmed": {"rank": rank}}


def test_a_share(deltas):
    cut = Edit(deltas).trimmed(share=0.25)  # √(5/85) = .243
    assert [len(V) for _, V in Deltas.of(cut.deltas).pairs.values()] == [2, 2]
    assert count_numbers(cut.deltas) == 3 + 2 * 2 * (24 + 16)
    same = Edit(deltas).trimmed(rank=4).deltas
    assert torch.equal(Deltas.of(same).pairs["pair"][0], deltas.pairs["pair"][0])


@pytest.mark.parametrize("limits", [{}, {"rank": 1, "share": 0.5}, {"rank": 0}, {"share": 1.5}])
def test_wrong_limits(deltas, limits):
    with pytest.raises(InputError):
        Edit(deltas).trimmed(**limits)


def test_the_smallest_cut_that_is_no_worse(deltas):
    """A loss that needs two singular values, and one that only the whole change meets."""

    def needs_two(cut: Deltas) -> float:
        return max(0.25, error(deltas, cut, "whole"))

    cut, chosen = Trimmer(deltas).cut_by_loss(needs_two)
    assert (chosen["loss"], chosen["whole"]) == (0.25, 0.25)
    assert count_numbers(cut) == chosen["numbers"] == 3 + 2 * 2 * (24 + 16)
    whole = Deltas({"whole": deltas["whole"]})
    cut, chosen = Trimmer(whole).cut_by_loss(lambda cut: error(whole, cut, "whole") > 1e-9)
    assert chosen.keys() == {"loss", "whole", "numbers"}
    assert torch.equal(cut["whole"], whole["whole"])
