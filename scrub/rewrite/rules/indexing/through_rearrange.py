"""Indices of rearranged expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scrub.graph import Expr, Index, Rearrange
from scrub.graph.index import Entry
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import random_index, whole_or_partial
from scrub.rewrite.rules.indexing.descent import Blocked, Plan, plans, push
from scrub.rewrite.rules.indexing.entries import Entries, count, join, split
from scrub.rewrite.rules.rearranging.axes import declared_sizes, elementary_sizes, rearranged
from scrub.rewrite.rules.rearranging.cases import random_rearrange

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    return random_index(maker, random_rearrange(maker, maker.expr(maker.shape(), 2)))


@rewrite(keeps="value", cases=_cases, choices=whole_or_partial)
def push_index_through_rearrange(index: Index, *, partial: bool = False, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An index of a rearranged expression becomes the indexed expression, rearranged.

        (a b -> b a)[i, j]  ->  x[j, i] rearranged

    An entry on a merged axis passes if it picks from each part by itself: an int does, and a slice or positions that
    form a block. On an axis that the `Rearrange` repeats or inserts the entry only changes how often; an axis that it
    splits is picked from by positions, or by a slice where these follow each other.

    Args:
        index: of a `Rearrange`.
        partial: let those entries pass that can, where others cannot.
        dissolve: whether the `Rearrange` may be taken apart.

    >>> from scrub.graph import I, Scalar
    >>> x = Scalar(1.0, (2, 6), name="x")
    >>> push_index_through_rearrange(Index(Rearrange(x, "a (b c) -> c b a", b=2), I[:, 1, 0], name="i")).print()
    'i' [3] Index [0, 3:6]
      'x' [2, 6] Scalar 1.0
    >>> push_index_through_rearrange.attempt(Index(Rearrange(x, "a b -> (b a)"), I[1:4])).reason
    'the index cannot pass ...: axis 0: what it picks is no block of the merged axes of sizes (6, 2)'
    """
    return push(index, Rearrange, partial=partial, dissolve=dissolve)


@plans(Rearrange)
def plan_rearrange(node: Rearrange, entries: Entries) -> Plan | Blocked:
    """By elementary axes: each gets an entry, and with it another size, or is dropped."""
    sizes = list(elementary_sizes(node))
    found = _by_elementary_axis(node, entries, sizes)
    if isinstance(found, dict):
        return found
    entry_of, right = found
    below: list[Entry] = []
    left: list[tuple[int, ...]] = []
    for group in node.left:
        picked = [entry_of.get(part) for part in group]
        below.append(join(picked, [sizes[part] for part in group]))
        kept = tuple(part for part, entry in zip(group, picked, strict=True) if not isinstance(entry, int))
        if kept or not group:
            left.append(kept)
    new_sizes = {
        part: count(entry_of.get(part), size)
        for part, size in enumerate(sizes)
        if not isinstance(entry_of.get(part), int)
    }
    fixed = declared_sizes(node)  # others follow from the child's shape, but not next to a size of 0
    declared = {
        part: size
        for part, size in new_sizes.items()
        if part in fixed or part >= len(node.sizes) or 0 in new_sizes.values()
    }

    def build(children: Sequence[Expr], name: str | None) -> Expr:
        return rearranged(children[0], tuple(left), right, declared, name)

    return Plan(((0, tuple(below)),), build)


def _by_elementary_axis(
    node: Rearrange, entries: Entries, sizes: list[int]
) -> tuple[dict[int, Entry], tuple[tuple[int, ...], ...]] | Blocked:
    """Entries on the elementary axes, and the groups of the result. Adds to `sizes` those of new axes."""
    merged_with: dict[int, tuple[int, ...]] = {}
    for group in (*node.left, *node.right):
        merged_with |= {part: (*merged_with.get(part, ()), *group) for part in group if len(group) > 1}
    entry_of: dict[int, Entry] = {}
    right: list[tuple[int, ...]] = []
    blocked: Blocked = {}
    for axis, (group, entry) in enumerate(zip(node.right, entries, strict=True)):
        if entry is None:
            right.append(group)
        elif any(not _is_known(sizes, merged_with.get(part, ())) for part in group):
            blocked[axis] = "it is merged with or split from axes whose sizes are not known"
        elif not group:
            if not isinstance(entry, int):  # an inserted axis of size 1 becomes one that repeats
                right.append((len(sizes),))
                sizes.append(count(entry, 1))
        else:
            own = [sizes[part] for part in group]
            picked = split(entry, own)
            if picked is None:
                blocked[axis] = f"what it picks is no block of the merged axes of sizes {tuple(own)}"
                continue
            entry_of |= zip(group, picked, strict=True)
            if not isinstance(entry, int):
                right.append(tuple(part for part in group if not isinstance(entry_of[part], int)))
    return blocked or (entry_of, tuple(right))


def _is_known(sizes: Sequence[int], group: Sequence[int]) -> bool:
    return all(isinstance(sizes[part], int) for part in group)  # pyright: ignore[reportUnnecessaryIsInstance]
