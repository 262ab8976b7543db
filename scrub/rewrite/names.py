"""Which names a rewrite loses (SPEC 1.4), found by looking only where the two expressions differ."""

from __future__ import annotations

import heapq
import itertools

from scrub.graph import Expr
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rules.weight import weight

_LOOK_FURTHER = 200  # nodes below the changed part that are searched for a name before it is called lost


def is_named(node: Expr) -> bool:
    """Whether the node has a given name."""
    return node.name is not None


def is_unnamed(node: Expr) -> bool:
    """Whether the node has no given name."""
    return node.name is None


def names_to_keep(keep_names: MatcherIn) -> Matcher:
    """Matcher of the named nodes among those that `keep_names` matches.

    >>> from scrub.graph import Scalar
    >>> [names_to_keep("a")(Scalar(1.0, name=name)) for name in ("a", "b", None)]
    [True, False, False]
    """
    return Matcher(is_named) if keep_names is True else Matcher(is_named) & keep_names


def lost_name(before: Expr, after: Expr, keep: Matcher, weights: dict[Expr, int]) -> str | None:
    """A name of a node of `before` that `keep` matches and that no node of `after` has; None if there is none.

    Nodes are taken from the heaviest down, on both sides at once, and nothing below a node that both have is looked at:
    so the cost is that of what differs. (In return a name that survives only far below a shared node counts as lost.)

    Args:
        before, after: the expressions.
        keep: which nodes' names matter.
        weights: known weights, extended on the way.

    >>> from scrub.graph import Add, Scalar
    >>> x = Scalar(1.0, name="x")
    >>> lost_name(Add(Add(x, x, name="inner"), x), Add(x, x, x), Matcher(True), {})
    'inner'
    """
    if not _may_lose(before, after, keep):
        return None
    sides = ({before}, {after})
    count = itertools.count()
    queue = [(-weight(root, weights), next(count), root) for root in dict.fromkeys((before, after))]
    heapq.heapify(queue)
    gone: dict[str, None] = {}
    kept: set[str | None] = set()
    done: set[Expr] = set()
    while queue:
        _, _, node = heapq.heappop(queue)
        if node in done:
            continue
        done.add(node)
        of_before, of_after = node in sides[0], node in sides[1]
        if of_after:
            kept.add(node.name)
        elif node.name is not None and keep(node):
            gone[node.name] = None
        if of_before and of_after:
            continue
        own = sides[0] if of_before else sides[1]
        for child in node.children:
            if child not in own:
                own.add(child)
                heapq.heappush(queue, (-weight(child, weights), next(count), child))
    missing = [name for name in gone if name not in kept]
    if not missing:
        return None
    further = _names_near(after)
    return next((name for name in missing if name not in further), None)


def _may_lose(before: Expr, after: Expr, keep: Matcher) -> bool:
    """False if a look at the nodes nearest to the roots shows that no name is lost."""
    there = {after, *after.children}
    kept = {node.name for node in there}
    looked_at = [before]
    for node in looked_at:
        if node in there:
            continue
        if len(looked_at) > _LOOK_FURTHER + len(there) or (
            node.name is not None and node.name not in kept and keep(node)
        ):
            return True
        looked_at.extend(child for child in node.children if child not in there)
    return False


def _names_near(root: Expr) -> set[str | None]:
    """Names of the nodes nearest to the root."""
    seen: dict[Expr, None] = {root: None}
    order = [root]
    for node in order:
        if len(order) > _LOOK_FURTHER:
            break
        fresh = [child for child in dict.fromkeys(node.children) if child not in seen]
        seen.update(dict.fromkeys(fresh))
        order.extend(fresh)
    return {node.name for node in order}
