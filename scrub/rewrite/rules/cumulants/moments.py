"""Cumulants as expectations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from scrub.graph import Add, Cumulant, Einsum, Expr, Scalar
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.cumulants.common import (
    argument_axes,
    maybe_name,
    partitions,
    problem_with_dtype,
    random_argument,
    small_shapes,
)

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _case(maker: Maker) -> Expr:
    shapes = small_shapes(maker, maker.random.choice([1, 2, 2, 3, 4]))
    return Cumulant(*(random_argument(maker, shape) for shape in shapes), name=maybe_name(maker))


def _choices(cumulant: Cumulant) -> Iterator[Options]:
    yield {}
    yield {"centred": False}


@rewrite(keeps="value", cases=_case, choices=_choices)
def cumulant_to_expectations(cumulant: Cumulant, *, centred: bool = True, max_order: int = 6) -> Expr | NoMatch:
    """A cumulant of order 2 or more as expectations of products, of the arguments less their expectations.

        k(x, y)  ->  E[(x - E x)(y - E y)]

    Over set partitions p of the arguments, k = sum of (-1)^(|p|-1) (|p|-1)! times the product over blocks of the
    expectation of the block's product; of centred arguments, a block of one gives 0 and its partitions are left out. So
    order 3 is the third central moment, and order 4 the fourth less the three pairings.

    Args:
        cumulant: the cumulant.
        centred: subtract the expectations first; otherwise raw moments are used.
        max_order: highest order to do this for; the number of terms grows like the Bell numbers.

    >>> from scrub.graph import DiscreteVar
    >>> x = DiscreteVar(Scalar(1.0, (3,)), name="x")
    >>> cumulant_to_expectations(Cumulant(x, x, name="variance")).print(max_depth=2)
    'variance' [] Cumulant
      x centred * x centred [] Einsum ,->
        'x centred' [] Add ...
        'x centred'
    """
    if cumulant.order < 2:
        return NoMatch(f"its order is {cumulant.order}")
    if cumulant.order > max_order:
        return NoMatch(f"its order is {cumulant.order}, above {max_order}")
    problem = problem_with_dtype(cumulant.children)
    if problem is not None:
        return problem
    axes = argument_axes(cumulant.children)
    out_axes = tuple(axis for own in axes for axis in own)
    factors = [_centred(child) for child in cumulant.children] if centred else list(cumulant.children)
    terms: list[Expr] = []
    for partition in partitions(cumulant.order):
        if centred and any(len(block) == 1 for block in partition):
            continue
        moments = [_moment([(factors[i], axes[i]) for i in block]) for block in partition]
        if len(moments) == 1:
            terms.append(moments[0][0])
            continue
        count = len(partition) - 1
        sign = Scalar(float((-1) ** count * math.factorial(count)))
        terms.append(Einsum((sign, ()), *moments, out_axes=out_axes))
    return terms[0] if len(terms) == 1 else Add(*terms)


def _centred(expr: Expr) -> Expr:
    return expr.sub(Cumulant(expr), name=None if expr.name is None else f"{expr.name} centred")


def _moment(block: list[tuple[Expr, tuple[int, ...]]]) -> tuple[Expr, tuple[int, ...]]:
    """Expectation of the product of some factors, and its axes."""
    out_axes = tuple(axis for _, own in block for axis in own)
    return Cumulant(block[0][0] if len(block) == 1 else Einsum(*block, out_axes=out_axes)), out_axes
