"""Shares of images with their confidence intervals, and the difference of two paired shares.

Wilson 1927, Journal of the American Statistical Association 22, 209-212: the interval of one share.
Newcombe 1998, Statistics in Medicine 17, 2635-2650, method 10: the difference of paired shares.
"""

import math

from torch import Tensor


def wilson(successes: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share.

    Args:
        successes: Number of hits, in [0, n].
        n: Number of trials.
        z: Quantile of the normal distribution; 1.96 gives 95 %.

    Returns:
        (low, high), inside [0, 1]; (0, 1) where n is 0.
    """
    if n == 0:
        return 0.0, 1.0
    p, zz = successes / n, z * z
    centre, half = p + zz / (2 * n), z * math.sqrt(p * (1 - p) / n + zz / (4 * n * n))
    return max(0.0, (centre - half) / (1 + zz / n)), min(1.0, (centre + half) / (1 + zz / n))


def proportion(marks: Tensor) -> dict | None:
    """The share of ones among marks.

    Args:
        marks: [N] of 0, 1, or NaN where a mark does not apply.

    Returns:
        {value, n, ci95} over the marks that are not NaN, with a Wilson interval; None where all
        are.
    """
    marks = marks[~marks.isnan()]
    n, hits = len(marks), float(marks.sum())
    if n == 0:
        return None
    low, high = wilson(hits, n)
    return {"value": round(hits / n, 4), "n": n, "ci95": [round(low, 4), round(high, 4)]}


def difference(before: Tensor, after: Tensor) -> dict | None:
    """The share after minus the share before, of the same images.

    Images with the same seed are pairs. The variation that both have in common does not widen the
    interval, as it would if the two shares were treated as independent.

    Args:
        before: Marks [N] of 0, 1 or NaN.
        after: Marks [N] of the same images after the edit. Pairs with a NaN do not count.

    Returns:
        {value, ci95}, both in [-1, 1], with Newcombe's interval; None without any pair.
    """
    both = ~(before.isnan() | after.isnan())
    n = int(both.sum())
    if n == 0:
        return None
    x, y = after[both], before[both]
    # The 2 x 2 table of pairs: hit in both, after only, before only, in neither.
    a, b = float((x * y).sum()), float((x * (1 - y)).sum())
    c, d = float(((1 - x) * y).sum()), float(((1 - x) * (1 - y)).sum())
    p, q = (a + b) / n, (a + c) / n
    low_p, high_p = wilson(a + b, n)
    low_q, high_q = wilson(a + c, n)
    phi = _phi(a, b, c, d, n)
    low = p - q - _half_width(p - low_p, high_q - q, phi)
    high = p - q + _half_width(high_p - p, q - low_q, phi)
    return {"value": round(p - q, 4), "ci95": [round(max(low, -1.0), 4), round(min(high, 1.0), 4)]}


def _phi(a: float, b: float, c: float, d: float, n: int) -> float:
    """Correlation of the pairs with Newcombe's continuity correction; 0 where a margin is empty."""
    spread = math.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    covariance = a * d - b * c
    if covariance > 0:
        covariance = max(covariance - n / 2, 0.0)
    return covariance / spread if spread else 0.0


def _half_width(p_side: float, q_side: float, phi: float) -> float:
    """One side of the interval, from the sides of the two single intervals ("square and add")."""
    return math.sqrt(max(0.0, p_side * p_side - 2 * phi * p_side * q_side + q_side * q_side))
