"""Sums of sums as one sum."""

from __future__ import annotations

from scrub.graph import Add, Expr
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite


@rewrite(keeps="value", pattern=(Add, Add), simplifies=True)
def flatten_sum(add: Add, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Terms that are sums are replaced by their own terms, one level deep.

        (a + b) + c  ->  a + b + c

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
    if not chosen:
        return NoMatch("no term is a sum that may be taken apart")
    return Add(*(part for term in add.children for part in (term.children if term in chosen else (term,))))
