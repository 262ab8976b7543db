"""Scalars among the terms of a sum."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING

import torch

from scrub.graph import Add, Expr, Scalar
from scrub.graph.rules import broadcast_shapes
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.sums.cases import DTYPES, NUMBERS, random_sum
from scrub.rewrite.rules.sums.terms import fits

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    shape = maker.shape()
    scalars = [maker.scalar(maker.some(shape)) for _ in range(maker.random.choice([2, 2, 3]))]
    if maker.random.random() < 0.3:
        return Add(*scalars)
    if maker.random.random() < 0.5:
        return random_sum(maker, *scalars, shape=shape, dtypes=[torch.float64])
    values = maker.random.choice([[0, 1], [1, -2, 90]])
    integers = [Scalar(maker.random.choice(values), scalar.shape, scalar.name) for scalar in scalars]
    return random_sum(maker, *integers, shape=shape, dtypes=DTYPES if values == [0, 1] else NUMBERS)


@rewrite(keeps="value", cases=_cases, simplifies=True, idempotent=True)
def merge_scalar_terms(add: Add, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Scalars become one scalar, in the place of the first.

        2 + x + 3  ->  5 + x

    Not in a sum of booleans, which is "or", nor where integers of the dtype of the sum cannot hold the result.

    Args:
        add: the sum.
        dissolve: which scalars to merge.

    >>> merge_scalar_terms(Add(Scalar(2.0), Scalar(0.5, (3,)), name="s")).print()
    's' [3] Scalar 2.5
    """
    may = Matcher(dissolve)
    scalars = [term for term in add.children if isinstance(term, Scalar) and may(term)]
    if len(scalars) < 2:
        return NoMatch(f"{len(scalars)} of its terms are scalars that may be merged")
    if add.dtype == torch.bool:
        return NoMatch("it is a sum of booleans")
    value = functools.reduce(operator.add, [scalar.value for scalar in scalars])
    if not fits(value, add.dtype):
        return NoMatch(f"{add.dtype} does not hold {value}")
    if len(scalars) == len(add.children):
        return Scalar(value, add.shape, add.name)
    merged: list[Expr] = [Scalar(value, broadcast_shapes("", scalars))]
    chosen = set(scalars)
    first = add.children.index(scalars[0])
    before, after = add.children[:first], add.children[first:]
    return Add(*before, *merged, *(term for term in after if term not in chosen))
