"""Changes of dtype that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scrub.graph import Expr, GeneralFunction, cast_to
from scrub.graph.functions.cast import Cast
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

_FLOATS = (torch.float32, torch.float64)
_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64)
_HALVES = (torch.float16, torch.bfloat16)


def _case(maker: Maker) -> Expr:
    dtypes = [torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.bool]
    shape = maker.shape()
    x = maker.scalar(shape) if maker.random.random() < 0.2 else maker.expr(shape, 2)
    for _ in range(maker.random.choice([1, 2, 3])):
        x = cast_to(x, maker.random.choice(dtypes), maker.name("n") if maker.random.random() < 0.3 else None)
    return x


@rewrite(keeps="value", cases=_case, simplifies=True)
def drop_cast(cast: GeneralFunction, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """A cast to the dtype that is there is dropped, and so is a cast below another if it loses nothing.

        cast[float64](x of float64)  ->  x        cast[float32](cast[float64](y))  ->  cast[float32](y)

    Args:
        cast: the (outer) cast.
        dissolve: which inner casts may go.

    >>> from scrub.graph import Array
    >>> drop_cast(cast_to(Array(torch.ones(2), "x"), torch.float32))
    'x' [2] Array ...
    """
    if not isinstance(cast.spec, Cast):
        return NoMatch(f"{cast.spec.label} is no cast")
    inner = cast.children[0]
    if inner.dtype == cast.dtype:
        return inner
    if not isinstance(inner, GeneralFunction) or not isinstance(inner.spec, Cast):
        return NoMatch(f"{inner!r} is {inner.dtype or 'of no dtype'}, and no cast")
    source = inner.children[0]
    if not _loses_nothing(source.dtype, inner.dtype):
        return NoMatch(f"{inner!r} may lose digits of {source.dtype or 'what has no dtype'}")
    if not Matcher(dissolve)(inner):
        return NoMatch(f"{inner!r} may not be taken apart")
    return GeneralFunction(source, spec=cast.spec)


def _loses_nothing(source: torch.dtype | None, target: torch.dtype | None) -> bool:
    """Whether every value of one dtype is a value of the other."""
    if source is None:  # scalars are computed in float64
        return target == torch.float64
    if source == torch.bool or source == target:
        return True
    if source in _HALVES:
        return target in _FLOATS
    for family in (_FLOATS, _INTEGERS):
        if source in family and target in family:
            return family.index(target) >= family.index(source)
    return False
