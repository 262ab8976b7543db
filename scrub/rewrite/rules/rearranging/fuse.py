"""Rearrangements of rearrangements as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scrub.graph import Expr, Rearrange
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.rearranging.axes import elementary_sizes, singles
from scrub.rewrite.rules.rearranging.cases import Spec, random_spec, rearranged_by

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

Pair = tuple[int, int, int]
"""Part of which axis of one side, of which of the other, and of what size."""


def _cases(maker: Maker) -> Expr:
    """Two or three in a row; half of the time all axes are merged, which the next may split in another way."""
    expr: Expr = maker.expr(maker.shape(), 2)
    for _ in range(maker.random.choice([1, 1, 2])):
        all_in_one: Spec = (singles(0, expr.ndim), (tuple(range(expr.ndim)),), {})
        is_merged = expr.ndim > 1 and maker.random.random() < 0.5
        expr = rearranged_by(maker, expr, all_in_one if is_merged else random_spec(maker, expr.shape))
    return rearranged_by(maker, expr, random_spec(maker, expr.shape, split=0.8))


@rewrite(keeps="value", cases=_cases, simplifies=True, idempotent=True)
def fuse_rearrange(outer: Rearrange, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """A rearranged rearrangement, and so on down, becomes one.

        (a b -> b a) of (a b -> b a)  ->  a b -> a b

    An axis that one merges and the other splits is taken apart into the parts of both. There are none where neither
    refines the other: (2 3) merged to 6 and split as (3 2) goes through a tensor of shape [6], and no single spec does.

    Args:
        outer: the outer one.
        dissolve: which of the inner ones to take up; it stops above the first that it may not, or cannot.

    >>> from scrub.graph import Scalar
    >>> x = Scalar(1.0, (4, 3), name="x")
    >>> fuse_rearrange(Rearrange(Rearrange(x, "a b -> (b a)"), "(c d) -> d c", c=6, name="r"))
    'r' [2, 6] Rearrange (a b) c -> b (c a)
    """
    may = Matcher(dissolve)
    result: Rearrange = outer
    while isinstance(inner := result.children[0], Rearrange) and may(inner):
        fused = _fuse(result, inner)
        if isinstance(fused, NoMatch):
            return fused if result is outer else result
        result = fused
    if result is not outer:
        return result
    return NoMatch(
        f"{inner!r} may not be taken apart"
        if isinstance(inner, Rearrange)
        else f"it rearranges {inner!r}, which is no Rearrange"
    )


def _fuse(outer: Rearrange, inner: Rearrange) -> Rearrange | NoMatch:
    """One `Rearrange` for both, on parts that refine the axes of both where they meet."""
    inner_sizes, outer_sizes = elementary_sizes(inner), elementary_sizes(outer)
    inner_parts: list[list[int]] = [[] for _ in inner_sizes]
    outer_parts: list[list[int]] = [[] for _ in outer_sizes]
    declared: dict[int, int] = {}
    num_parts = 0
    for axis, (above, below) in enumerate(zip(outer.left, inner.right, strict=True)):
        sizes = [outer_sizes[part] for part in above], [inner_sizes[part] for part in below]
        pairs = _common_parts(*sizes)
        if pairs is None:
            return NoMatch(
                f"axis {axis} of {inner!r} is made of sizes {tuple(sizes[1])} and taken apart into {tuple(sizes[0])}, "
                "which have no parts in common"
            )
        for i, j, size in pairs:
            outer_parts[above[i]].append(num_parts)
            inner_parts[below[j]].append(num_parts)
            if outer.sizes[above[i]] is not None or inner.sizes[below[j]] is not None:
                declared[num_parts] = size
            num_parts += 1
    on_left = {part for group in outer.left for part in group}
    for repeated in (part for part in range(len(outer_sizes)) if part not in on_left):
        outer_parts[repeated].append(num_parts)
        declared[num_parts] = outer_sizes[repeated]
        num_parts += 1
    left = tuple(tuple(new for part in group for new in inner_parts[part]) for group in inner.left)
    right = tuple(tuple(new for part in group for new in outer_parts[part]) for group in outer.right)
    return Rearrange.from_groups(inner.children[0], left, right, declared)


def _common_parts(first: Sequence[int], second: Sequence[int]) -> list[Pair] | None:
    """Parts, in order, that make up both factorisations of one size; None if no parts make up both.

    From the last axis on: the smaller of the two sizes that are left must divide the larger. Factors of 1 are dropped,
    unless the factorisations are the same.
    """
    if list(first) == list(second):
        return [(i, i, size) for i, size in enumerate(first)]
    if not all(isinstance(size, int) for size in (*first, *second)) or math.prod(first) == 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        return None
    pairs: list[Pair] = []
    left = [(i, size) for i, size in enumerate(first) if size != 1]
    right = [(j, size) for j, size in enumerate(second) if size != 1]
    while left and right:
        (i, a), (j, b) = left.pop(), right.pop()
        common = min(a, b)
        if a % common or b % common:
            return None
        pairs.append((i, j, common))
        left += [(i, a // common)] if a > common else []
        right += [(j, b // common)] if b > common else []
    return pairs[::-1]
