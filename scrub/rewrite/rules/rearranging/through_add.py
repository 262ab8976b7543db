"""Rearrangements of sums, and sums of rearranged terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Add, Expr, Rearrange
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.rearranging.axes import singles
from scrub.rewrite.rules.rearranging.cases import random_rearrange, random_spec, rearranged_by
from scrub.rewrite.rules.rearranging.move import pull, push

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _rearranged_sum(maker: Maker) -> Expr:
    return random_rearrange(maker, maker.pattern(Add))


def _sum_of_rearranged(maker: Maker) -> Expr:
    """Terms rearranged alike; some numbers; now and then one in another way, or not at all; or squares, turned."""
    if maker.random.random() < 0.15:
        size = maker.random.choice([2, 3])
        whole = maker.random.choice([2, 3])
        axes = singles(0, whole)
        orders = [tuple(maker.random.sample(axes, whole)) for _ in range(2)]
        return Add(*(rearranged_by(maker, maker.expr((size,) * whole, 1), (axes, order, {})) for order in orders))
    shape = maker.shape()
    spec = random_spec(maker, shape)
    terms: list[Expr] = [rearranged_by(maker, maker.expr(shape, 2), spec) for _ in range(maker.random.randint(1, 3))]
    terms += [maker.scalar(()) for _ in range(maker.random.choice([0, 0, 1]))]
    terms += [maker.expr(maker.some(terms[0].shape), 1) for _ in range(maker.random.choice([0, 0, 0, 1]))]
    if maker.random.random() < 0.2:
        order = maker.random.sample(range(terms[0].ndim), terms[0].ndim)
        there = tuple((axis,) for axis in range(terms[0].ndim))
        other = maker.expr(tuple(terms[0].shape[axis] for axis in order), 1)
        terms.append(rearranged_by(maker, other, (tuple((axis,) for axis in order), there, {})))
    return Add(*terms)


@rewrite(keeps="value", cases=_rearranged_sum)
def push_rearrange_through_add(rearrange: Rearrange, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """A rearranged sum becomes the sum of the rearranged terms.

        (a b -> b a) of x + y  ->  (a b -> b a) of x + (a b -> b a) of y

    A term that is broadcast stays so where it can; it is repeated along an axis that is merged with one it has.

    Args:
        rearrange: of a sum.
        dissolve: whether the sum may be taken apart.

    >>> from scrub.graph import Scalar
    >>> x, bias = Scalar(1.0, (2, 3), name="x"), Scalar(2.0, (3,), name="bias")
    >>> push_rearrange_through_add(Rearrange(Add(x, bias), "a b -> b a", name="r")).print()
    'r' [3, 2] Add
      rearrange(x) [3, 2] Rearrange a b -> b a
        'x' [2, 3] Scalar 1.0
      rearrange(bias) [3, 1] Rearrange a -> a 1
        'bias' [3] Scalar 2.0
    """
    return push(rearrange, Add, dissolve)


@rewrite(keeps="value", cases=_sum_of_rearranged)
def pull_rearrange_through_add(add: Add, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """A sum of terms that are rearranged in the same way becomes the rearranged sum.

        (a b -> b a) of x + (a b -> b a) of y  ->  (a b -> b a) of x + y

    Terms without axes, such as numbers, need not be rearranged.

    Args:
        add: the sum.
        dissolve: which of the rearranged terms may be taken apart.

    >>> from scrub.graph import Scalar
    >>> x, y = Scalar(1.0, (2, 3), name="x"), Scalar(2.0, (2, 3), name="y")
    >>> pull_rearrange_through_add(Add(Rearrange(x, "a b -> b a"), Rearrange(y, "a b -> b a"), name="s")).print()
    's' [3, 2] Rearrange a b -> b a
      x + y [2, 3] Add
        'x' [2, 3] Scalar 1.0
        'y' [2, 3] Scalar 2.0
    """
    return pull(add, dissolve)
