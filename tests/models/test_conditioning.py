"""Conditions and factors of many points."""

import pytest
import torch

from unconcept.models.conditioning import per_row


@pytest.mark.parametrize("shape", [(3, 4, 2, 2), (3, 4, 3, 2, 2), (3, 5, 8)])
def test_a_factor_of_every_sample(shape):
    """Also where the batch is as large as another dimension, such as a video's frames."""
    factors = torch.tensor([0.0, 1.0, 2.0])
    product = per_row(factors, torch.ones(shape)) * torch.ones(shape)
    assert product.flatten(1).tolist() == [[n] * product[0].numel() for n in (0.0, 1.0, 2.0)]
