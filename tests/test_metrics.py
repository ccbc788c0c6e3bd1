import math

import pytest
import torch

from unconcept.metrics import pixel_change, proportion, ssim, structure_change, wilson


def test_wilson_by_hand():
    """8 of 10: centre (0.8 + 0.19208) / 1.38416 = 0.71674, half 1.96 √(0.016 + 0.009604) / 1.38416 = 0.22658."""
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.71674 - 0.22658, abs=1e-4), pytest.approx(0.71674 + 0.22658, abs=1e-4))
    assert wilson(0, 200)[0] == 0.0
    assert wilson(0, 200)[1] == pytest.approx(0.01885, abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_proportion_leaves_out_what_does_not_apply():
    assert proportion(torch.tensor([1.0, 0.0, math.nan, 1.0])) == {"value": 0.6667, "n": 3, "ci95": [0.2077, 0.9385]}
    assert proportion(torch.tensor([math.nan])) is None


def test_changes():
    torch.manual_seed(0)
    a, b = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    assert pixel_change(a, a).tolist() == [0.0, 0.0]
    assert pixel_change(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.25)).item() == 0.25
    assert ssim(a, a).tolist() == pytest.approx([1.0, 1.0])
    assert ssim(a, b).max() < 0.2
    assert structure_change(a, b).max() < 0.2 * pixel_change(a, b).min()  # noise has no layout
