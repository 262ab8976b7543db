"""Softmax does not see what is added to all of its entries alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Add, Expr, GeneralFunction, Scalar, log_softmax, softmax
from scrub.graph.functions.softmax import LogSoftmax, Softmax
from scrub.graph.rules import broadcast_shapes
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _case(maker: Maker) -> Expr:
    shape = (*maker.shape(max_ndim=2), maker.random.choice([1, 2, 3]))
    make = maker.random_expr if maker.random.random() < 0.2 else maker.expr
    terms = [make(shape, 1)]
    for _ in range(maker.random.choice([1, 2, 3])):
        other = maker.some(shape)
        if maker.random.random() < 0.3:
            terms.append(maker.scalar(other))
        else:
            terms.append(make((*other[:-1], 1) if maker.random.random() < 0.7 and other else other, 1))
    maker.random.shuffle(terms)
    names = [maker.name("n") if maker.random.random() < 0.4 else None for _ in range(2)]
    return maker.random.choice([softmax, log_softmax])(Add(*terms, name=names[0]), names[1])


@rewrite(keeps="value", cases=_case, simplifies=True)
def drop_softmax_shift(function: GeneralFunction, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Terms that are the same along the last axis are dropped from the argument of a softmax.

        softmax(x[a, b] + y[a, 1] + 3)  ->  softmax(x)

    The values of these terms are taken to be finite. A term stays that alone gives the sum its shape or dtype.

    Args:
        function: a `softmax` or `log_softmax` of a sum.
        dissolve: which sums may be taken apart.

    >>> x, y = Scalar(1.0, (2, 3), name="x"), Scalar(2.0, (2, 1), name="y")
    >>> drop_softmax_shift(softmax(Add(x, y)))
    softmax(x) [2, 3] GeneralFunction softmax
    """
    if not isinstance(function.spec, Softmax | LogSoftmax):
        return NoMatch(f"{function.spec.label} is no softmax")
    total = function.children[0]
    if not isinstance(total, Add):
        return NoMatch(f"{total!r} is not a sum")
    shifts = [i for i, term in enumerate(total.children) if _is_shift(term, total)]
    if not shifts:
        return NoMatch("no term is the same along the last axis")
    if not Matcher(dissolve)(total):
        return NoMatch(f"{total!r} may not be taken apart")
    dropped: set[int] = set()
    for i in shifts:
        if _fits([term for j, term in enumerate(total.children) if j not in dropped and j != i], total):
            dropped.add(i)
    if not dropped:
        return NoMatch("the terms that are the same along the last axis give the sum its shape or dtype")
    remaining = [term for i, term in enumerate(total.children) if i not in dropped]
    argument = remaining[0] if len(remaining) == 1 else Add(*remaining)
    return GeneralFunction(argument, spec=function.spec)


def _is_shift(term: Expr, total: Add) -> bool:
    if isinstance(term, Scalar) or term.ndim == 0:
        return True
    return term.shape[-1] == 1


def _fits(terms: list[Expr], total: Add) -> bool:
    """Whether the sum of the terms has the shape and dtype of the whole."""
    if not terms or broadcast_shapes("softmax", terms) != total.shape:
        return False
    return Add(*terms).dtype == total.dtype
