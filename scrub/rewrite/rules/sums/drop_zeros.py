"""Zeros among the terms of a sum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from scrub.graph import Add, Array, Expr, Scalar
from scrub.graph.rules import broadcast_shapes, common_dtype
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.sums.cases import random_sum
from scrub.rewrite.rules.sums.terms import is_zero, zero

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    shape = maker.shape()
    kinds = [Scalar(0.0, maker.some(shape)), Scalar(-0.0, maker.some(shape), "none"), zero(shape, torch.float64)]
    kinds += [Add(), zero(maker.some(shape), torch.int64), Array(torch.zeros(shape, dtype=torch.float64), "nothing")]
    return random_sum(maker, *maker.random.sample(kinds, maker.random.choice([1, 2, 3])), shape=shape)


def _choices(add: Add) -> Iterator[Options]:
    yield {}
    yield {"arrays": True}


@rewrite(keeps="value", cases=_cases, choices=_choices, simplifies=True, idempotent=True)
def drop_zero_terms(add: Add, *, arrays: bool = False, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Terms that are 0 are left out, unless the sum has its shape or its dtype from them.

        a + 0 + b  ->  a + b

    Where several zeros give the shape, the first ones that do are kept. The sign of zeros is not: -0.0 + 0.0 is 0.0.

    Args:
        add: the sum.
        arrays: leave out arrays of zeros too; their contents are read.
        dissolve: which zeros may be left out.

    >>> x = Array(torch.ones(2), "x")
    >>> drop_zero_terms(Add(x, Scalar(0.0), name="s")).print()
    's' [2] Add
      'x' [2] Array 2b55f495
    """
    may = Matcher(dissolve)
    zeros = {term for term in add.children if is_zero(term, arrays=arrays) and may(term)}
    if not zeros:
        return NoMatch("no term is a zero that may be left out")
    others = [term for term in add.children if term not in zeros]
    shape, dtype = broadcast_shapes("", others), common_dtype("", others)
    needed: set[Expr] = set()
    for term in dict.fromkeys(term for term in add.children if term in zeros):
        wider = broadcast_shapes("", [Scalar(0.0, shape), term])
        promoted = term.dtype if dtype is None else torch.promote_types(dtype, term.dtype or dtype)
        if wider != shape or promoted != dtype:
            needed.add(term)
            shape, dtype = wider, promoted
    kept: list[Expr] = []
    for term in add.children:
        if term not in zeros or term in needed:
            kept.append(term)
            needed.discard(term)
    if len(kept) == len(add.children):
        return NoMatch("the sum has its shape or its dtype from its zeros")
    return Add(*kept)
