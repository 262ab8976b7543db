"""The registry of patterns, and what they are built from."""

from __future__ import annotations

from collections.abc import Callable

import scrub as rc
from scrub.graph import Expr
from scrub.rewrite.testing.maker import Maker

Pattern = Callable[[Maker], Expr]
PATTERNS: dict[str, Pattern] = {}


def pattern(function: Pattern) -> Pattern:
    """Decorator that registers a pattern by its name."""
    PATTERNS[function.__name__] = function
    return function


def maybe(maker: Maker, chance: float = 0.5) -> bool:
    """True with that probability."""
    return maker.random.random() < chance


def value(maker: Maker, *shape: int) -> Expr:
    """Something of that shape: a variable, an array, or computed from them."""
    leaf = maker.variable(shape) if maybe(maker, 0.6) else maker.array(shape)
    return leaf if maybe(maker, 0.8) else rc.Add(leaf, maker.expr(shape, 1))
