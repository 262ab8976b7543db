"""Sums of one term, or of none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Add, Expr, Scalar
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.sums.cases import maybe_name, part, some_dtype
from scrub.rewrite.rules.sums.terms import loses_name

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    num_terms = maker.random.choice([0, 1, 1, 1, 1])
    return Add(*(part(maker, maker.shape(), some_dtype(maker)) for _ in range(num_terms)), name=maybe_name(maker))


@rewrite(keeps="value", cases=_cases, simplifies=True)
def drop_identity_sum(add: Add, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """A sum of one term is that term, one of no terms is 0.

    The term takes the name of the sum; a leaf keeps its own.

    Args:
        add: the sum.
        dissolve: which named nodes may be lost: the term, or, where that is a leaf, the sum.

    >>> x = Scalar(2.0, name="x")
    >>> drop_identity_sum(Add(x, name="sum"))
    'x' [] Scalar 2.0
    """
    if len(add.children) > 1:
        return NoMatch(f"it has {len(add.children)} terms")
    for term in add.children:
        reason = loses_name(add, term, Matcher(dissolve))
        return term if reason is None else NoMatch(reason)
    return Scalar(0.0, name=add.name)
