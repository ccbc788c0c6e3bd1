import math

import pytest
import torch

from unconcept.evaluation.features import lite0
from unconcept.evaluation.metrics.distribution import feature_change, kid
from unconcept.evaluation.metrics.proportions import difference, proportion, wilson
from unconcept.evaluation.metrics.similarity import (
    background_change,
    edge_change,
    edges,
    layout_change,
    pixel_change,
    ssim,
)
from unconcept.evaluation.scores import CHANGES


def test_wilson_by_hand():
    """8 of 10: centre (0.8 + 0.19208) / 1.38416 = 0.71674.

    The half width is 1.96 √(0.016 + 0.009604) / 1.38416 = 0.22658.
    """
    low, high = wilson(8, 10)
    assert (low, high) == (
        pytest.approx(0.71674 - 0.22658, abs=1e-4),
        pytest.approx(0.71674 + 0.22658, abs=1e-4),
    )
    assert wilson(0, 200)[0] == 0.0
    assert wilson(0, 200)[1] == pytest.approx(0.01885, abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_proportion_leaves_out_what_does_not_apply():
    assert proportion(torch.tensor([1.0, 0.0, math.nan, 1.0])) == {
        "value": 0.6667,
        "n": 3,
        "ci95": [0.2077, 0.9385],
    }
    assert proportion(torch.tensor([math.nan])) is None


def flat(value: float) -> torch.Tensor:
    return torch.full((1, 3, 16, 16), value)


def square(left: int, top: int = 4) -> torch.Tensor:
    """A white square of 6 x 6 on black."""
    image = torch.zeros(1, 3, 16, 16)
    image[..., top : top + 6, left : left + 6] = 1.0
    return image


def test_pixel_change_by_hand():
    """36 of 256 pixels are white in either image.

    After a move by 3 pixels half of them are new and half are gone: 36 / 256 differ by 1.
    """
    assert pixel_change(flat(0.5), flat(0.75)).item() == 0.25
    assert pixel_change(square(4), square(7)).item() == 36 / 256


def test_layout_change_by_hand():
    """At 2 x 2 each cell of 8 x 8 pixels is one mean: a move inside a cell does not count."""
    assert layout_change(square(0, 0), square(2, 2), size=2).item() == 0.0
    assert layout_change(square(0, 0), square(8, 0), size=2).item() == pytest.approx(
        2 * (36 / 64) / 4
    )


def test_background_change_by_hand():
    """The rim of one pixel has 60 of 256 pixels.

    A square inside does not count; one that touches the edge counts with 6 pixels.
    """
    assert background_change(square(4), square(7)).item() == 0.0
    assert background_change(square(4), square(0)).item() == pytest.approx(6 / 60)


def test_edge_change_by_hand():
    """A step from black to white has slope 1 on both of its sides.

    Moved by one pixel it counts as the same edge, moved far it does not.
    """
    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 1.0
    assert edges(step)[0, 0, 0].tolist() == [False, False, False, True, True, False, False, False]
    assert edge_change(square(4), square(5)).item() == pytest.approx(0.0, abs=0.01)
    assert edge_change(square(0, 0), square(10, 10)).item() == 1.0
    assert edge_change(flat(0.2), flat(0.9)).item() == 0.0, "no edges anywhere"
    assert edge_change(square(4), flat(0.5)).item() == 1.0, "all of them are gone"


def test_ssim_by_hand():
    """Flat images have no variance and no covariance.

    What is left is (2·x·y + C1) / (x² + y² + C1).
    """
    c1 = 0.01**2
    assert ssim(flat(0.5), flat(0.25)).item() == pytest.approx(
        (2 * 0.125 + c1) / (0.25 + 0.0625 + c1), abs=1e-4
    )


def test_ssim_is_that_of_torchmetrics(drawings):
    from torchmetrics.functional.image import structural_similarity_index_measure

    for other in drawings:
        for size in (64, 16):
            x, y = drawings[0][:4, :, :size, :size], other[:4, :, :size, :size]
            theirs = structural_similarity_index_measure(
                y.double(), x.double(), data_range=1.0, reduction="none"
            )
            assert ssim(x, y).tolist() == pytest.approx(theirs.tolist(), abs=1e-6)
    assert ssim(drawings[1], drawings[1]).tolist() == [1.0] * 16


def test_feature_change_by_hand():
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert feature_change(a, b).tolist() == [0.0, 1.0, 2.0]


def test_kernel_distance_by_hand():
    """(x·y/D + 1)³ with D = 1: within ones 8, within zeros 1, across 1.

    The distance is 8 + 1 - 2 = 7, whichever subsets are drawn.
    """
    ones, zeros = torch.ones(8, 1), torch.zeros(8, 1)
    assert kid(ones, zeros)["value"] == pytest.approx(7.0)
    assert kid(ones, ones.clone()) == {"value": 0.0, "n": 8, "ci95": [0.0, 0.0]}
    with pytest.raises(ValueError, match="four images"):
        kid(ones[:3], zeros)


def test_kernel_distance_moves_the_right_way():
    torch.manual_seed(0)
    a, b = torch.randn(64, 16), torch.randn(64, 16)
    same, near, far = kid(a, b), kid(a, b + 0.3), kid(a, b + 1.0)
    assert abs(same["value"]) < 0.05 < near["value"] < far["value"]
    assert kid(a, b) == same, "its subsets are always the same"


@pytest.fixture(scope="module")
def drawings():
    """Images with shapes, the same with little and with much noise, and other ones."""
    torch.manual_seed(0)
    blobs = torch.nn.functional.interpolate(
        torch.rand(16, 3, 5, 5), size=(64, 64), mode="bicubic"
    ).clamp(0, 1)
    blobs = (blobs > 0.5).float() * 0.8 + 0.1

    def noisy(s):
        return (blobs + s * torch.randn_like(blobs)).clamp(0, 1)

    return blobs, noisy(0.05), noisy(0.5), blobs.roll(1, 0)


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_moves_the_right_way(name, drawings):
    """The same image: no change. Little noise: little. Much noise, or another image: more."""
    original, little, much, other = drawings

    def change(p):
        values = CHANGES[name](original, p)
        return (1 - values if name.startswith("ssim") else values).mean().item()

    assert change(original) == pytest.approx(0.0, abs=1e-5)
    assert 0 <= change(little) < change(much)
    assert change(little) < change(other)


def test_the_second_ruler_moves_the_right_way(drawings):
    """EfficientNet-Lite0: the more noise the farther; a set is nearer to its kind than to noise.

    It weighs noise on flat drawings more than other shapes: it sees texture, which a judge of
    objects does not.
    """
    original, little, much, other = (lite0()(p) for p in drawings)
    assert feature_change(original, original).max() < 1e-5
    assert feature_change(original, little).mean() < feature_change(original, much).mean()
    assert kid(original, other)["value"] < min(
        kid(original, little)["value"], kid(original, much)["value"]
    )


def test_the_difference_of_pairs():
    """Antisymmetric; 0 and tight where nothing changed; narrower than for independent shares."""
    before = torch.tensor([1.0] * 90 + [0.0] * 10)
    assert difference(before, before)["value"] == 0.0
    assert max(map(abs, difference(before, before)["ci95"])) < 0.04
    after = before.clone()
    after[:4] = 0
    lost, won = difference(before, after), difference(after, before)
    assert lost["value"] == -won["value"] == -0.04
    assert lost["ci95"] == [-won["ci95"][1], -won["ci95"][0]]
    apart = difference(
        before, after[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    )
    assert apart["ci95"][1] - apart["ci95"][0] > 1.5 * (lost["ci95"][1] - lost["ci95"][0])
    assert difference(torch.tensor([float("nan")]), torch.ones(1)) is None


def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says():
    """It contains the truth in 95 % of 1,000 samples of 200 pairs, half of them equal."""
    chance, inside = torch.Generator().manual_seed(0), 0
    for _ in range(1000):
        before, again = (
            (torch.rand(200, generator=chance) < 0.9).float(),
            (torch.rand(200, generator=chance) < 0.8).float(),
        )
        low, high = difference(
            before, torch.where(torch.rand(200, generator=chance) < 0.5, before, again)
        )["ci95"]
        inside += low <= 0.5 * (0.8 - 0.9) <= high
    assert 0.93 <= inside / 1000 <= 0.97
