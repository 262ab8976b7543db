"""Concats of concats along one axis as one concat."""

from __future__ import annotations

from scrub.graph import Concat, Expr
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite


@rewrite(keeps="value", pattern=(Concat, Concat), simplifies=True)
def fuse_concat(concat: Concat, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """Parts that are concats along the same axis are replaced by their own parts, one level deep.

        [[a, b], c]  ->  [a, b, c]

    Args:
        concat: the outer concat.
        dissolve: which of the inner concats to take apart; all if not given.

    >>> from scrub.graph import Scalar
    >>> a, b, c = (Scalar(1.0, (2,), name=name) for name in "abc")
    >>> fuse_concat(Concat(Concat(a, b, axis=0), c, axis=0, name="all")).print()
    'all' [6] Concat axis=0
      'a' [2] Scalar 1.0
      'b' [2] Scalar 1.0
      'c' [2] Scalar 1.0
    """
    may = Matcher(dissolve)
    chosen = {p for p in concat.children if isinstance(p, Concat) and p.axis == concat.axis and may(p)}
    if not chosen:
        return NoMatch(f"no part is a concat along axis {concat.axis} that may be taken apart")
    parts = [inner for part in concat.children for inner in (part.children if part in chosen else (part,))]
    return Concat(*parts, axis=concat.axis)
