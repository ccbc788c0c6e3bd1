"""Reproducible inputs, and comparison of numbers, for the tests against the authors' code."""

import pytest
import torch


def wave(*shape: int, start: float = 1.0) -> torch.Tensor:
    return torch.sin(
        start + torch.arange(torch.Size(shape).numel(), dtype=torch.float32) * 1.7
    ).view(*shape)


def near(values) -> torch.Tensor:
    return pytest.approx(torch.tensor(values).flatten().tolist(), abs=2e-4)
