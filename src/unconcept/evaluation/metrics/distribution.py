"""Distances in a feature space: of image pairs, and of two sets of images."""

import statistics
import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity


def feature_change(before: Tensor, after: Tensor) -> Tensor:
    """1 - cosine of the features of image pairs.

    Args:
        before: Features [N, D].
        after: Features [N, D] of the images of the same seeds.

    Returns:
        [N] in [0, 2]; 0 for identical directions.
    """
    return 1 - cosine_similarity(before, after, dim=1)


def kid(features: Tensor, other: Tensor, subsets: int = 100, seed: int = 0) -> dict:
    """Kernel inception distance of two sets (Binkowski et al. 2018), computed by torchmetrics.

    Cubic polynomial kernel, unbiased: it may be slightly below 0. Values of different feature
    networks are not comparable, so the network's name belongs beside every value.

    Args:
        features: [N, D], N >= 4.
        other: [M, D], M >= 4.
        subsets: Number of random subsets, each of half the smaller set.
        seed: Of the subsets.

    Returns:
        {value, n, ci95}: the mean over the subsets, the size of the smaller set, and 1.96 standard
        deviations on both sides.

    Raises:
        ValueError: Fewer than four features on one side.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    n = min(len(features), len(other))
    if n // 2 < 2:
        raise ValueError("a kernel distance needs at least four images on each side")
    with warnings.catch_warnings():
        # It warns about the memory of millions of features; here there are hundreds.
        warnings.simplefilter("ignore", UserWarning)
        metric = KernelInceptionDistance(
            feature=_Precomputed(features.shape[1]), subsets=subsets, subset_size=n // 2
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        metric.update(features, real=True)
        metric.update(other, real=False)
        mean, deviation = (float(value) for value in metric.compute())
    low, high = mean - 1.96 * deviation, mean + 1.96 * deviation
    return {"value": round(mean, 5), "n": n, "ci95": [round(low, 5), round(high, 5)]}


def fid(features: Tensor, other: Tensor) -> dict:
    """Fréchet distance of two sets (Heusel et al. 2017), computed by torchmetrics.

    It falls with the number of images: use thousands of them, or `kid`.

    Args:
        features: [N, D].
        other: [M, D].

    Returns:
        {value, n, ci95}: n is the size of the smaller set; the interval is 1.96 / √2 standard
        deviations over ten random halves.
    """
    generator = torch.Generator().manual_seed(0)
    value = _frechet(features, other)
    halves = []
    for _ in range(10):
        half = _random_half(features, generator)
        halves.append(_frechet(half, _random_half(other, generator)))
    reach = 1.96 * statistics.stdev(halves) / 2**0.5
    n = min(len(features), len(other))
    return {
        "value": round(value, 4),
        "n": n,
        "ci95": [round(value - reach, 4), round(value + reach, 4)],
    }


def _random_half(features: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(len(features), generator=generator)
    return features[order[: len(features) // 2]]


def _frechet(x: Tensor, y: Tensor) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Precomputed(x.shape[1])).set_dtype(torch.float64)
    metric.update(x.double(), real=True)
    metric.update(y.double(), real=False)
    return float(metric.compute())


class _Precomputed(nn.Module):
    """Stands for torchmetrics' feature network where the features are computed already."""

    def __init__(self, width: int):
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features
