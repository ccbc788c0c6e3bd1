"""A share of pictures, with its Wilson score interval (Wilson 1927, Journal of the American Statistical Association 22, 209-212), and the
difference of two shares of the same pictures (Newcombe 1998, Statistics in Medicine 17, 2635-2650, method 10)."""

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


def difference(before: Tensor, after: Tensor) -> dict | None:
    """{value, ci95} in [-1, 1] of the second share less the first, of pairs of marks [N] that are 0 or 1; pairs with a NaN do not count.

    The same seeds make pairs: what both have in common does not widen the interval, as it would were the two shares taken apart.
    """
    both = ~(before.isnan() | after.isnan())
    x, y, n = after[both], before[both], int(both.sum())
    if n == 0:
        return None
    a, b, c, d = (float((p * q).sum()) for p, q in ((x, y), (x, 1 - y), (1 - x, y), (1 - x, 1 - y)))
    p, q = (a + b) / n, (a + c) / n
    (low_p, high_p), (low_q, high_q) = wilson(a + b, n), wilson(a + c, n)
    spread, together = math.sqrt((a + b) * (c + d) * (a + c) * (b + d)), a * d - b * c
    phi = (max(together - n / 2, 0.0) if together > 0 else together) / spread if spread else 0.0
    down, up = ((p - low_p, high_q - q), (high_p - p, q - low_q))
    reach = lambda one, two: math.sqrt(max(0.0, one * one - 2 * phi * one * two + two * two))
    low, high = p - q - reach(*down), p - q + reach(*up)
    return {"value": round(p - q, 4), "ci95": [round(max(low, -1.0), 4), round(min(high, 1.0), 4)]}
