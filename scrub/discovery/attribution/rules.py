"""Where a path is visited, and with which weights: rules for the mean of a function over [0, 1].

At 1 the clean value stands, at 0 what replaces it. The weights of a rule sum to 1.
"""

from __future__ import annotations

import difflib
from typing import Literal, get_args

from scrub.graph import DiscoveryError

Rule = Literal["midpoint", "left", "right", "gauss-legendre"]
RULES: tuple[Rule, ...] = get_args(Rule)


def points(rule: str, steps: int) -> list[tuple[float, float]]:
    """(place, weight) of each step, in order of places.

    "left" visits k / m for k = 0 .. m - 1, "right" k = 1 .. m, "midpoint" the middles between, "gauss-legendre" the
    roots of the Legendre polynomial of degree m, which are exact for polynomials up to degree 2 m - 1. The error of
    left and right falls as 1 / m, that of the midpoint as 1 / m^2.

    Raises:
        DiscoveryError: no such rule, or fewer than one step.

    >>> points("midpoint", 2)
    [(0.25, 0.5), (0.75, 0.5)]
    >>> [(round(place, 4), round(weight, 4)) for place, weight in points("gauss-legendre", 3)]
    [(0.1127, 0.2778), (0.5, 0.4444), (0.8873, 0.2778)]
    """
    if steps < 1:
        raise DiscoveryError(
            f"a path cannot be followed in {steps} steps: at least 1 is needed",
            expected="at least 1",
            found=steps,
            hint="5 steps are usual",
        )
    match rule:
        case "left" | "midpoint" | "right":
            shift = {"left": 0.0, "midpoint": 0.5, "right": 1.0}[rule]
            return [((k + shift) / steps, 1 / steps) for k in range(steps)]
        case "gauss-legendre":
            import numpy as np

            roots, weights = np.polynomial.legendre.leggauss(steps)
            return [((float(x) + 1) / 2, float(w) / 2) for x, w in zip(roots, weights, strict=True)]
        case _:
            close = difflib.get_close_matches(rule, RULES, n=1)
            raise DiscoveryError(
                f"there is no rule {rule!r}",
                expected=RULES,
                found=rule,
                hint=f"did you mean {close[0]!r}?" if close else f"there are {', '.join(RULES)}",
            )
