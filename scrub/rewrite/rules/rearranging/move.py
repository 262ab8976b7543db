"""How a `Rearrange` moves past a node: what the rules for sums and for functions share.

Axes are of two kinds. Along its *free* axes a node computes each entry from the entries of its arguments at the same
place, so that rearranging before or after is the same. The others are its own: those stay where they are.
"""

from __future__ import annotations

from scrub.graph import Add, Expr, GeneralFunction, Rearrange, Scalar
from scrub.graph.functions.power import Pow
from scrub.graph.rearrange import Groups
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch
from scrub.rewrite.rules.rearranging.axes import declared_sizes, elementary_sizes, rearranged, singles

Mover = Add | GeneralFunction


def is_broadcast(node: Mover) -> bool:
    """Whether it is computed element by element from arguments that are broadcast like numpy."""
    return isinstance(node, Add) or isinstance(node.spec, Pow)


def push(outer: Rearrange, kind: type[Mover], dissolve: MatcherIn) -> Expr | NoMatch:
    """The node on rearranged arguments instead of the node rearranged."""
    (node,) = outer.children
    if not isinstance(node, kind):
        return NoMatch(f"it rearranges {node!r}, which is no {kind.__name__}")
    if not Matcher(dissolve)(node):
        return NoMatch(f"{node!r} may not be taken apart")
    if not node.children:
        return NoMatch(f"{node!r} has nothing below it that could be rearranged instead")
    if is_broadcast(node):
        return node.make(tuple(_spread(outer, node)), node.params, None)
    return _push_free(outer, node.cast(GeneralFunction))


def _push_free(outer: Rearrange, node: GeneralFunction) -> Expr | NoMatch:
    shape = node.function_shape()
    num_free = node.ndim - shape.num_opaque
    moved = _moved(outer, shape.num_opaque)
    if moved is not None:
        return NoMatch(f"{node.spec.label} computes axis {moved} of {node!r} together, which is not kept as it is")
    left, right = outer.left[:num_free], outer.right[: outer.ndim - shape.num_opaque]
    arguments: list[Expr] = []
    for i, (child, own) in enumerate(zip(node.children, shape.own_ndims, strict=True)):
        if child.ndim - own not in (0, num_free):
            return NoMatch(f"argument {i} of {node!r} has not all the axes that are rearranged")
        kept = singles(len(outer.sizes), own)
        is_table = child.ndim == own
        arguments.append(child if is_table else rearranged(child, left + kept, right + kept, declared_sizes(outer)))
    if all(new is old for new, old in zip(arguments, node.children, strict=True)):
        return NoMatch(f"no argument of {node!r} has the axes that are rearranged")
    return GeneralFunction(*arguments, spec=node.spec)


def _moved(node: Rearrange, num_own: int) -> int | None:
    """The first of the last `num_own` axes that the node does not keep as they are."""
    (child,) = node.children
    for from_end in range(num_own, 0, -1):
        if from_end > node.ndim or node.left[-from_end] != node.right[-from_end]:
            return child.ndim - from_end
    return None


def _spread(outer: Rearrange, node: Expr) -> list[Expr]:
    """Arguments rearranged so that they broadcast to the rearranged result.

    An argument without an axis is broadcast along it. It stays so where a whole axis of the result is of such parts,
    and is repeated where they are merged with parts it has. What no argument has, the first with all axes repeats.
    """
    sizes = dict(enumerate(elementary_sizes(outer)))
    lefts: list[Groups] = []
    for child in node.children:
        own = zip(child.shape, node.shape[node.ndim - child.ndim :], outer.left[node.ndim - child.ndim :], strict=True)
        lefts.append(tuple(group if size == full else () for size, full, group in own))
    parts_of = [{part for group in left for part in group} for left in lefts]
    covered = {group for group in outer.right if any(not parts.isdisjoint(group) for parts in parts_of)}
    whole = next(i for i, child in enumerate(node.children) if child.ndim == node.ndim)
    arguments: list[Expr] = []
    for i, (child, left, parts) in enumerate(zip(node.children, lefts, parts_of, strict=True)):
        right = [
            group if not parts.isdisjoint(group) or (i == whole and group not in covered) else ()
            for group in outer.right
        ]
        while i != whole and right and not right[0]:
            del right[0]
        declared = declared_sizes(outer) | {part: size for part, size in sizes.items() if part not in parts}
        arguments.append(rearranged(child, left, tuple(right), declared))
    return arguments


def pull(node: Mover, dissolve: MatcherIn) -> Expr | NoMatch:
    """The node rearranged instead of the node on rearranged arguments."""
    may = Matcher(dissolve)
    own_ndims, num_opaque = _own_axes(node)
    arguments: list[Expr] = []
    frees: dict[Rearrange, Expr] = {}
    for child, own in zip(node.children, own_ndims, strict=True):
        if child.ndim == own:
            arguments.append(child)
            continue
        if not isinstance(child, Rearrange):
            return NoMatch(f"{child!r} is not rearranged")
        if not may(child):
            return NoMatch(f"{child!r} may not be taken apart")
        moved = _moved(child, own)
        if moved is not None:
            return NoMatch(f"{child!r} does not keep axis {moved} of {child.children[0]!r}, which {node!r} needs")
        frees.setdefault(_free_part(child, own), child)
        arguments.append(child.children[0])
    if not frees:
        return NoMatch("no argument is rearranged")
    if len(frees) > 1:
        first, second = list(frees.values())[:2]
        return NoMatch(f"{first!r} and {second!r} are not rearranged in the same way")
    free = next(iter(frees))
    kept = singles(len(free.sizes), num_opaque)
    inner = node.make(tuple(arguments), node.params, None)
    return rearranged(inner, free.left + kept, free.right + kept, declared_sizes(free))


def _own_axes(node: Mover) -> tuple[tuple[int, ...], int]:
    """How many of the last axes of each argument, and of the result, are not free."""
    if is_broadcast(node):
        return (0,) * len(node.children), 0
    shape = node.cast(GeneralFunction).function_shape()
    return shape.own_ndims, shape.num_opaque


def _free_part(node: Rearrange, own: int) -> Rearrange:
    """The same rearrangement of the free axes alone: equal for arguments whose free axes are rearranged alike."""
    (child,) = node.children
    num_free = child.ndim - own
    zeros = Scalar(0.0, child.shape[:num_free])
    return Rearrange.from_groups(zeros, node.left[:num_free], node.right[: node.ndim - own], declared_sizes(node))
