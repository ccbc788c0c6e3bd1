"""A share of pictures, with its Wilson score interval (Wilson 1927, Journal of the American Statistical Association 22, 209-212)."""

import math

from torch import Tensor


def wilson(successes: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The interval (low, high) in [0, 1] of `successes` in `n`; z = 1.96: 95 %. Stays inside [0, 1], and is open at 0 of n."""
    if n == 0:
        return 0.0, 1.0
    p, zz = successes / n, z * z
    centre, half = p + zz / (2 * n), z * math.sqrt(p * (1 - p) / n + zz / (4 * n * n))
    return max(0.0, (centre - half) / (1 + zz / n)), min(1.0, (centre + half) / (1 + zz / n))


def proportion(marks: Tensor) -> dict | None:
    """{value, n, ci95} of marks [N] that are 0, 1 or NaN (does not apply); None when none applies."""
    marks = marks[~marks.isnan()]
    n, hits = len(marks), float(marks.sum())
    if n == 0:
        return None
    low, high = wilson(hits, n)
    return {"value": round(hits / n, 4), "n": n, "ci95": [round(low, 4), round(high, 4)]}
