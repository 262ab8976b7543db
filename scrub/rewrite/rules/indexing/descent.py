"""How an `Index` passes below each node type: what is registered here for a type, every rule of pushing shares.

A plan says, for entries on the axes of a node, which entries its children get and how the node is made again on them;
or, for each axis whose entry cannot pass, why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from scrub.graph import Expr, Index, Scalar
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch
from scrub.rewrite.rules.indexing.entries import Entries, indexed, is_whole

Blocked = dict[int, str]
"""Axis of the node -> why its entry cannot pass."""


@dataclass(frozen=True)
class Plan:
    """How entries pass a node.

    Attributes:
        below: pairs (which child, entries on its axes).
        build: makes the node again from these children, indexed, in that order, under a name.
    """

    below: tuple[tuple[int, Entries], ...]
    build: Callable[[Sequence[Expr], str | None], Expr]


Planner = Callable[[Any, Entries], Plan | Blocked]
P = TypeVar("P", bound=Planner)

PLANNERS: dict[type[Expr], Planner] = {}
"""For each node type below which an index can pass, how."""


def plans(kind: type[Expr]) -> Callable[[P], P]:
    """Decorator that registers how an index passes nodes of a type: (node, entries) -> `Plan` or `Blocked`."""

    def register(planner: P) -> P:
        if kind in PLANNERS:
            raise TypeError(f"how an index passes a {kind.__name__} is registered already")
        PLANNERS[kind] = planner
        return planner

    return register


def plan_by_axis_map(node: Expr, entries: Entries) -> Plan | Blocked:
    """For nodes that stay the same on indexed children: each child's axis gets the entry of the axis it becomes."""
    maps = node.axis_map()
    carried = {use for uses in maps for use in uses if isinstance(use, int)}
    lost = [axis for axis, entry in enumerate(entries) if entry is not None and axis not in carried]
    if lost:
        return dict.fromkeys(lost, "no axis below becomes it value by value")
    below = tuple(
        (i, tuple(entries[use] if isinstance(use, int) else None for use in uses)) for i, uses in enumerate(maps)
    )
    return Plan(below, lambda children, name: node.make(tuple(children), node.params, name))


def plan_broadcast(node: Expr, entries: Entries, build: Callable[[Sequence[Expr], str | None], Expr]) -> Plan:
    """For nodes whose children are broadcast like numpy: each entry on the children that have the axis in full."""
    below: list[tuple[int, Entries]] = []
    for i, child in enumerate(node.children):
        first = node.ndim - child.ndim
        own = zip(entries[first:], child.shape, node.shape[first:], strict=True)
        below.append((i, tuple(e if size == full else 0 if isinstance(e, int) else None for e, size, full in own)))
    return Plan(tuple(below), build)


@dataclass(frozen=True)
class Passage:
    """What passes a node: the plan for it, and the entries that stay above, on the axes of the result."""

    plan: Plan
    above: Entries


def passage(node: Expr, entries: Entries, *, partial: bool) -> Passage | NoMatch:
    """How entries on a node's axes pass it; the reason names each axis that does not.

    Args:
        partial: let those pass that can, where others cannot.
    """
    planner = PLANNERS.get(type(node))
    if planner is None:
        why = "how an index passes that type is not known" if node.children else "it is a leaf"
        return NoMatch(f"the index cannot pass {node!r}: {why}")
    blocked: Blocked = {}
    while True:
        passing = tuple(None if axis in blocked else entry for axis, entry in enumerate(entries))
        if blocked and (not partial or is_whole(passing)):
            reasons = "; ".join(f"axis {axis}: {why}" for axis, why in sorted(blocked.items()))
            return NoMatch(f"the index cannot pass {node!r}: {reasons}")
        plan = planner(node, passing)
        if isinstance(plan, Plan):
            kept = [axis for axis, entry in enumerate(passing) if not isinstance(entry, int)]
            return Passage(plan, tuple(entries[axis] if axis in blocked else None for axis in kept))
        blocked |= plan


def push(index: Index, kind: type[Expr] | None = None, *, partial: bool, dissolve: MatcherIn) -> Expr | NoMatch:
    """One step of pushing an index below a node of a type, or of any type."""
    (node,) = index.children
    if kind is not None and not isinstance(node, kind):
        return NoMatch(f"it picks from {node!r}, which is no {kind.__name__}")
    if is_whole(index.entries):
        return NoMatch("it takes all of every axis")
    if not Matcher(dissolve)(node):
        return NoMatch(f"{node!r} may not be taken apart")
    found = passage(node, index.entries, partial=partial)
    if isinstance(found, NoMatch):
        return found
    children = [indexed(node.children[i], entries) for i, entries in found.plan.below]
    result = indexed(found.plan.build(children, None), found.above)
    is_new_leaf = isinstance(node, Scalar) and index.name is not None
    return result.rename(index.name) if is_new_leaf else result
