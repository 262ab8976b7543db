"""Which nodes gradients are taken with respect to."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from scrub.graph import DiscreteVar, Expr, MatchError, Module, postorder
from scrub.rewrite import get, substitute_all_modules
from scrub.rewrite.explain import nothing_found
from scrub.rewrite.near_miss import near_misses
from scrub.rewrite.path_matcher import IterativeMatcherIn


@dataclass(frozen=True)
class Targets:
    """Nodes, and the expressions in which each of them has one value.

    Attributes:
        exprs: as they were given, or with all modules substituted.
        nodes: what gradients are taken with respect to; for a node that was asked for, what stands for it in `exprs`.
    """

    exprs: tuple[Expr, ...]
    nodes: dict[Expr, Expr]


def find_targets(exprs: Sequence[Expr], wrt: Sequence[IterativeMatcherIn]) -> Targets:
    """The nodes that `wrt` says.

    A node outside of the bodies of modules has one value, one in a body has one for each call. So where all nodes lie
    outside, the expressions stay as they are; otherwise nodes are looked for in the expressions with all modules
    substituted, where each call is under its name.

    Args:
        exprs: what is computed.
        wrt: nodes, or anything that `expr.get` takes.

    Raises:
        MatchError: something is not there.

    >>> from scrub.graph import ModuleSpec, Scalar, Symbol
    >>> s = Symbol.new_from_name((), "s")
    >>> double = Module(ModuleSpec(s.add(s, name="2 s").add(Scalar(1.0)), [s]), "double", s=Scalar(3.0, name="x"))
    >>> find_targets([double], ["double", "x"]).nodes.values()
    dict_values(['double' [] Module, 'x' [] Scalar 3.0])
    >>> find_targets([double], ["double", "2 s"]).nodes.values()
    dict_values(['double' [] Add, '2 s' [] Add])
    """
    exprs = tuple(exprs)
    nodes = _computed(exprs)
    names = _by_name(nodes)
    bound = {symbol for node in nodes if isinstance(node, Module) for symbol in node.bindings}
    found: dict[Expr, Expr] = {}
    for entry in wrt:
        own = _found(exprs, nodes, names, entry)
        if not own or not all(bound.isdisjoint(node.free_symbols) for node in own):
            return _in_substituted(exprs, wrt)
        found |= {node: node for node in own}
    return Targets(exprs, found)


def _in_substituted(exprs: tuple[Expr, ...], wrt: Sequence[IterativeMatcherIn]) -> Targets:
    substituted = tuple(substitute_all_modules(expr) for expr in exprs)
    nodes = _computed(substituted)
    names = _by_name(nodes)
    found: dict[Expr, Expr] = {}
    for entry in wrt:
        own = _found(substituted, nodes, names, entry)
        if isinstance(entry, Expr):
            image = entry if own else substitute_all_modules(entry)
            if image not in nodes:
                raise not_there(entry, substituted)
            found[entry] = image
        elif not own:
            raise nothing_found(substituted[0], entry)
        else:
            found |= {node: node for node in own}
    return Targets(substituted, found)


def _found(
    exprs: Sequence[Expr], nodes: Container[Expr], names: Mapping[str, list[Expr]], entry: IterativeMatcherIn
) -> list[Expr]:
    if isinstance(entry, Expr):
        return [entry] if entry in nodes else []
    if isinstance(entry, str):  # without a walk for each of many heads
        return names.get(entry, [])
    return list(dict.fromkeys(node for expr in exprs for node in get(expr, entry) if node in nodes))


def _by_name(nodes: Iterable[Expr]) -> dict[str, list[Expr]]:
    names: dict[str, list[Expr]] = {}
    for node in nodes:
        if node.name is not None:
            names.setdefault(node.name, []).append(node)
    return names


def _computed(exprs: Sequence[Expr]) -> dict[Expr, None]:
    """The nodes but for those that only decide how random variables are drawn, with their groups."""
    found: dict[Expr, None] = {}
    waiting = list(reversed(exprs))
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node] = None
            waiting.extend(reversed(node.children[:1] if isinstance(node, DiscreteVar) else node.children))
    return found


def not_there(node: Expr, exprs: Sequence[Expr]) -> MatchError:
    """The error for a node that is none of the expressions with all modules substituted."""
    names = {below.name for below in postorder(exprs) if below.name and below is not node}
    near = near_misses(node.name, names) if node.name else []
    nearest = f"nodes of nearly that name: {', '.join(map(repr, near))}" if near else "no name is like its"
    return MatchError(
        f"gradient with respect to {node!r}: it is not computed, even with all modules substituted; {nearest}",
        nodes=[node, *exprs[:3]],
        found=node,
        hint="a node of a module's body has a value for each call: substitute_all_modules(expr).get(...) shows them",
    )
