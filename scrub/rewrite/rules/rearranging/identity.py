"""Rearrangements that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Expr, Rearrange
from scrub.graph.rearrange import Groups
from scrub.rewrite.rule import NoMatch, rewrite

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    """Axes that stay, some taken apart and merged again, some with a factor of 1; now and then two are swapped."""
    expr = maker.expr(maker.shape())
    left: list[tuple[int, ...]] = []
    right: list[tuple[int, ...]] = []
    sizes: dict[int, int] = {}
    for size in expr.shape:
        first = len(sizes)
        kind = maker.random.choice(["one", "two", "repeat"])
        sizes |= dict(enumerate(maker.factors(size) if kind == "two" else (size, 1), start=first))
        left.append((first, first + 1) if kind == "two" else (first,))
        right.append((first,) if kind == "one" else (first, first + 1))
    if maker.random.random() < 0.2:
        maker.random.shuffle(right)
    return Rearrange.from_groups(expr, tuple(left), tuple(right), sizes, maker.random.choice([None, "rearranged"]))


@rewrite(keeps="value", cases=_cases, simplifies=True)
def drop_identity_rearrange(node: Rearrange) -> Expr | NoMatch:
    """A rearrangement to the same axes in the same order is what it rearranges.

        (a b) c -> (a b) c  ->  x

    Factors that the spec says are 1 do not count. An axis that happens to have size 1 does: the order of axes is kept
    for when it has another.

    >>> from scrub.graph import Scalar
    >>> drop_identity_rearrange(Rearrange(Scalar(1.0, (2, 3), name="x"), "a b -> a b"))
    'x' [2, 3] Scalar 1.0
    """
    ones = {part for part, size in enumerate(node.sizes) if size == 1}
    left, right = _without(node.left, ones), _without(node.right, ones)
    if left == right:
        return node.children[0]
    if len(left) != len(right):
        return NoMatch(f"it makes {len(right)} axes of {len(left)}")
    axis = next(axis for axis, (before, after) in enumerate(zip(left, right, strict=True)) if before != after)
    return NoMatch(f"axis {axis} of the result is not axis {axis} of {node.children[0]!r}")


def _without(groups: Groups, parts: set[int]) -> Groups:
    return tuple(tuple(part for part in group if part not in parts) for group in groups)
