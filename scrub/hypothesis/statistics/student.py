"""Student's distribution: what the mean of a few numbers, in standard errors, is compared with.

    P(|T| > t) = I_x(df / 2, 1 / 2),   x = df / (df + t^2)

with I the regularized incomplete beta function, by its continued fraction (Abramowitz & Stegun 26.5.4, 26.5.8, 26.7.1).
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

from scrub.graph import EstimateError

_SO_MANY = 100_000  # degrees of freedom from which on the normal distribution is the same to 1e-5
_TINY = 1e-300
_CLOSE = 1e-15


def t_upper_tail(t: float, df: float) -> float:
    """Probability that a variable of Student's distribution exceeds t.

    >>> round(t_upper_tail(1.0, 1), 12), t_upper_tail(0.0, 7)
    (0.25, 0.5)
    """
    if math.isnan(t):
        return math.nan
    if df < 1:
        return 0.5  # one number says nothing
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    if df >= _SO_MANY:
        return math.erfc(t / math.sqrt(2)) / 2
    half = _incomplete_beta(df / 2, 0.5, df / (df + t * t)) / 2
    return half if t >= 0 else 1 - half


@lru_cache(maxsize=256)
def t_quantile(level: float, df: float) -> float:
    """Half width, in standard errors, of the central interval of that coverage; infinite for no degrees of freedom.

    >>> round(t_quantile(0.95, 10), 3), round(t_quantile(0.95, 10**9), 3)
    (2.228, 1.96)
    """
    if not 0 < level < 1:
        raise EstimateError(f"level is a coverage between 0 and 1, not {level}", found=level, hint="0.95")
    if df < 1:
        return math.inf
    low = high = NormalDist().inv_cdf(0.5 + level / 2)
    if df >= _SO_MANY:
        return high
    tail = (1 - level) / 2
    while t_upper_tail(high, df) > tail:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if t_upper_tail(middle, df) > tail else (low, middle)
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _continued_fraction(a, b, x) / a
    return 1 - front * _continued_fraction(b, a, 1 - x) / b  # where the fraction converges fast


def _continued_fraction(a: float, b: float, x: float) -> float:
    """By Lentz's method: numerators d_2m and d_2m+1 of Abramowitz & Stegun 26.5.8 in turn."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + numerator * d)
            c = _not_zero(1 + numerator / c)
            result *= c * d
        if abs(c * d - 1) < _CLOSE:
            break
    return result


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
