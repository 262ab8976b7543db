"""Walks that see a call as what it is given: its arguments, not its body."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from scrub.graph import Expr, GeneralFunction, Module
from scrub.graph.functions.cast import Cast
from scrub.graph.walk import postorder
from scrub.rewrite import substitute


def reads(node: Expr) -> tuple[Expr, ...]:
    """What a node computes from: the arguments of a call, the children of anything else."""
    return node.args if isinstance(node, Module) else node.children


def uncast(node: Expr) -> Expr:
    """What a node casts to another precision; any other node itself."""
    while isinstance(node, GeneralFunction) and isinstance(node.spec, Cast):
        node = node.children[0]
    return node


def outside_bodies(roots: Iterable[Expr], stop: Collection[Expr] = ()) -> Iterator[Expr]:
    """Every node once, what it reads first; `stop` is visited and not gone below."""
    return postorder(roots, descend=lambda node: node not in stop, below=reads)


def depending(root: Expr, sources: Collection[Expr]) -> set[Expr]:
    """The nodes of an expression, bodies left out, that read one of `sources`; these included."""
    found: set[Expr] = set()
    for node in outside_bodies([root], sources):
        if node in sources or any(child in found for child in reads(node)):
            found.add(node)
    return found


def replaced(root: Expr, values: Mapping[Expr, Expr]) -> Expr:
    """The expression with nodes replaced by others of the same shape, outside of bodies."""
    results: dict[Expr, Expr] = {}
    for node in outside_bodies([root], values.keys()):
        if node in values:
            results[node] = values[node]
        else:
            results[node] = with_reads(node, [results[child] for child in reads(node)])
    return results[root]


def with_reads(node: Expr, new: list[Expr]) -> Expr:
    """The node with other things to read."""
    old = reads(node)
    if all(a is b for a, b in zip(old, new, strict=True)):
        return node
    return node.with_children((node.children[0], *new) if isinstance(node, Module) else tuple(new))


def opened(root: Expr, chosen: Callable[[Module], bool], stop: Collection[Expr] = ()) -> Expr:
    """The expression with some calls inlined, again and again until none that is outside of bodies is chosen."""
    results: dict[Expr, Expr] = {}
    for node in outside_bodies([root], stop):
        if node in stop:
            results[node] = node
            continue
        new = with_reads(node, [results[child] for child in reads(node)])
        if isinstance(new, Module) and chosen(new):
            new = opened_body(new, chosen)
        results[node] = new
    return results[root]


def opened_body(call: Module, chosen: Callable[[Module], bool]) -> Expr:
    """A call inlined, and the calls that come out of its body as far as they are chosen; its arguments stay."""
    current: Expr = substitute(call)
    while True:
        calls = [node for node in outside_bodies([current], call.args) if isinstance(node, Module)]
        found = [node for node in calls if node not in call.args and chosen(node)]
        if not found:
            return current
        current = replaced(current, {found[0]: substitute(found[0])})


def opened_once(root: Expr, calls: Collection[Expr], stop: Collection[Expr] = ()) -> Expr:
    """The expression with some of its calls inlined, and not those that come out of their bodies."""
    results: dict[Expr, Expr] = {}
    for node in outside_bodies([root], stop):
        if node in stop:
            results[node] = node
            continue
        new = with_reads(node, [results[child] for child in reads(node)])
        results[node] = substitute(new) if node in calls else new
    return results[root]
