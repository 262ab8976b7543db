"""Joint cumulants of what is independent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Cumulant, Expr
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.cumulants.common import maybe_name, random_argument, small_shapes, sources
from scrub.rewrite.rules.sums.terms import zero

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _case(maker: Maker) -> Expr:
    """Variables, and now and then two that only a third argument connects."""
    if maker.random.random() < 0.2:
        x, y = maker.variable(()), maker.variable(())
        args = maker.random.sample([x, x.mul(y), y], 3)
        return Cumulant(*args, name=maybe_name(maker))
    shapes = small_shapes(maker, maker.random.choice([2, 2, 3]))
    args = [maker.variable(shape) if maker.random.random() < 0.7 else random_argument(maker, shape) for shape in shapes]
    return Cumulant(*args, name=maybe_name(maker))


@rewrite(keeps="value", cases=_case, simplifies=True)
def drop_independent_cumulant(cumulant: Cumulant) -> Expr | NoMatch:
    """A joint cumulant is 0 if its arguments fall into two sets that share no random variable's group.

        k(x, y)  ->  0        k(x, x * z, y)  ->  0        for independent x, y and z

    Tied variables, whose `probs_and_group` is the same expression, are not independent; variables with equal
    probabilities under different tags are. What is under another cumulant is constant, and shares nothing.

    >>> from scrub.graph import Array, DiscreteVar
    >>> import torch
    >>> coin, other = (DiscreteVar(Array(torch.tensor([0.0, 1.0]))) for _ in range(2))
    >>> drop_independent_cumulant(Cumulant(coin, other)).evaluate()
    tensor(0.)
    """
    if cumulant.order < 2:
        return NoMatch("it has no two arguments")
    if cumulant.free_symbols:
        return NoMatch(f"symbol {cumulant.free_symbols[0].name!r} may be bound to something random")
    own = [sources(child) for child in cumulant.children]
    joined = set(own[0])
    waiting = list(range(1, cumulant.order))
    while True:
        reached = [i for i in waiting if own[i] & joined]
        if not reached:
            break
        for i in reached:
            joined |= own[i]
        waiting = [i for i in waiting if i not in reached]
    if not waiting:
        return NoMatch("its arguments are connected by the random variables that they share")
    return zero(cumulant.shape, cumulant.dtype, cumulant.name)
