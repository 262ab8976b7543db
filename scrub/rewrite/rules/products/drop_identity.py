"""Einsums that do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Einsum, Expr
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.sums.cases import maybe_name, part, some_dtype
from scrub.rewrite.rules.sums.terms import is_identity, loses_name

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    x = part(maker, maker.shape(), some_dtype(maker))
    axes = list(range(x.ndim))
    out = axes if maker.random.random() < 0.7 else maker.random.sample(axes, len(axes))
    if x.ndim > 1 and x.shape[0] == x.shape[1] and maker.random.random() < 0.5:
        axes[1] = axes[0]
        out = list(axes)
    return Einsum((x, axes), out_axes=out, name=maybe_name(maker))


@rewrite(keeps="value", cases=_cases, simplifies=True)
def drop_identity_einsum(einsum: Einsum, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An einsum of one operand that leaves its axes as they are is that operand.

    The operand takes the name of the einsum; a leaf keeps its own.

    Args:
        einsum: the einsum.
        dissolve: which named nodes may be lost: the operand, or, where that is a leaf, the einsum.

    >>> from scrub.graph import Scalar
    >>> x = Scalar(2.0, (3,), name="x")
    >>> drop_identity_einsum(Einsum((x, (0,)), out_axes=(0,), name="same"))
    'x' [3] Scalar 2.0
    """
    if len(einsum.children) != 1:
        return NoMatch(f"it has {len(einsum.children)} operands")
    if not is_identity(einsum.in_axes[0], einsum.out_axes):
        return NoMatch("it sums, permutes or takes a diagonal")
    (operand,) = einsum.children
    reason = loses_name(einsum, operand, Matcher(dissolve))
    return operand if reason is None else NoMatch(reason)
