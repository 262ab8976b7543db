"""Sums of sums as one sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Add, Expr
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.sums.cases import part, random_sum, some_dtype
from scrub.rewrite.rules.sums.terms import computes_in

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    if maker.random.random() < 0.5:
        return maker.pattern(Add, Add)
    shape, dtype = maker.shape(), some_dtype(maker)
    return random_sum(maker, Add(part(maker, shape, dtype), part(maker, maker.some(shape), dtype)), shape=shape)


@rewrite(keeps="value", pattern=(Add, Add), cases=_cases, simplifies=True)
def flatten_sum(add: Add, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Terms that are sums are replaced by their own terms, one level deep.

        (a + b) + c  ->  a + b + c

    A sum of booleans is "or", so it stays apart in a sum of numbers.

    Args:
        add: the sum.
        dissolve: which of the inner sums to take apart; all if not given.

    >>> from scrub.graph import Scalar
    >>> a, b, c = (Scalar(1.0, name=name) for name in "abc")
    >>> flatten_sum(Add(Add(a, b), c, name="s")).print()
    's' [] Add
      'a' [] Scalar 1.0
      'b' [] Scalar 1.0
      'c' [] Scalar 1.0
    """
    may = Matcher(dissolve)
    chosen = {term for term in add.children if isinstance(term, Add) and may(term)}
    apart = {term for term in chosen if not computes_in(term, add)}
    if not chosen:
        return NoMatch("no term is a sum that may be taken apart")
    if chosen == apart:
        return NoMatch(f"{next(iter(apart))!r} is a sum of {next(iter(apart)).dtype} in one of {add.dtype}")
    chosen -= apart
    return Add(*(part for term in add.children for part in (term.children if term in chosen else (term,))))
