"""Distances in the feature space of a network that had no part in the training: of pairs, and of whole sets of pictures."""

import statistics
import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity


def feature_change(before: Tensor, after: Tensor) -> Tensor:
    """1 - cosine of the features [N, D] of pairs: [N] in [0, 2]; 0 is the same."""
    return 1 - cosine_similarity(before, after, dim=1)


def kid(features: Tensor, other: Tensor, subsets: int = 100, seed: int = 0) -> dict:
    """Kernel distance of two sets of features [N, D] and [M, D] (Binkowski et al. 2018: cubic polynomial kernel, unbiased, may be below 0).

    {value, n, ci95}: the mean over `subsets` random halves of the smaller set, and 1.96 standard deviations of it on both sides.
    Computed by torchmetrics. Features of another network give other numbers: name the network beside it.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(len(features), len(other)) // 2
    if size < 2:
        raise ValueError("a kernel distance needs four pictures or more on each side")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it keeps all features: hundreds here, not millions
        metric = KernelInceptionDistance(feature=_Given(features.shape[1]), subsets=subsets, subset_size=size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        metric.update(features, real=True)
        metric.update(other, real=False)
        mean, deviation = (float(v) for v in metric.compute())
    n = min(len(features), len(other))
    return {"value": round(mean, 5), "n": n, "ci95": [round(mean - 1.96 * deviation, 5), round(mean + 1.96 * deviation, 5)]}


def fid(features: Tensor, other: Tensor) -> dict:
    """Fréchet distance of two sets of features [N, D] and [M, D] (Heusel et al. 2017), by torchmetrics: {value, n, ci95}.

    It falls with the number of pictures: take thousands, or `kid`. The interval is 1.96 / √2 standard deviations of ten random halves.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    def distance(x: Tensor, y: Tensor) -> float:
        metric = FrechetInceptionDistance(feature=_Given(x.shape[1])).set_dtype(torch.float64)
        metric.update(x.double(), real=True)
        metric.update(y.double(), real=False)
        return float(metric.compute())

    generator, n = torch.Generator().manual_seed(0), min(len(features), len(other))
    half = lambda f: f[torch.randperm(len(f), generator=generator)[: len(f) // 2]]
    value, halves = distance(features, other), [distance(half(features), half(other)) for _ in range(10)]
    reach = 1.96 * statistics.stdev(halves) / 2**0.5
    return {"value": round(value, 4), "n": n, "ci95": [round(value - reach, 4), round(value + reach, 4)]}


class _Given(nn.Module):
    """The features are there already."""

    def __init__(self, width: int):
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features
