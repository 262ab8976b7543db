"""How often, and on which batch axes, each node is computed once all modules are inlined, without inlining them.

A body is walked once for each *context* it is called in: the batch axes (and dtype, device) of what its parameters are
bound to. Contexts refer to each other like calls, and the number of calls of each is found by going down that graph
once. So the work is linear in distinct pairs of node and context, however many calls there are.

Batch axes have identities, (level of the call, position from the right), so that the axes that a node gains are the
union of those of the symbols below it; outer levels stand in front (SPEC 3, 4.2). Nodes of a body that use none of its
parameters belong to the context around it, where they are computed once for all calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from scrub.graph.expr import Expr
from scrub.graph.module import Module
from scrub.graph.symbol import Symbol
from scrub.graph.walk import postorder

BatchAxes = tuple[tuple[tuple[int, int], int], ...]
"""((level, position from the right), size) of each axis, front to back."""


@dataclass(frozen=True)
class Facts:
    """What is known of a value in a context.

    Attributes:
        batch: the axes that it gains in front.
        dtype, device: of the value, as far as the leaves decide them.
    """

    batch: BatchAxes = ()
    dtype: torch.dtype | None = None
    device: torch.device | None = None


@dataclass(frozen=True)
class Occurrence:
    """A node in a context.

    Attributes:
        node: as it stands in the body.
        facts: of its value there.
        children: those of its children, where it gains axes; else nothing.
        num_calls: how many calls compute it there.
    """

    node: Expr
    facts: Facts
    children: tuple[Facts, ...]
    num_calls: int


Context = tuple[Expr, tuple[Symbol, ...], tuple[tuple[Symbol, Facts], ...]]
"""A body, its parameters, and what is known of what its free symbols are bound to."""


def occurrences(expr: Expr) -> Iterator[Occurrence]:
    """Every node in every context that it is computed in. Modules come too, though they compute nothing themselves.

    >>> import scrub as rc
    >>> x = rc.Symbol.new_from_name((2,), "x")
    >>> double = rc.ModuleSpec(rc.Add(x, x, name="double"), [x])
    >>> call = rc.Module(double, "call", x=rc.Scalar(1.0, (5, 2)))
    >>> [(o.node.name, o.num_calls, [size for _, size in o.facts.batch]) for o in occurrences(call)]
    [(None, 1, []), ('call', 1, []), ('x', 1, [5]), ('double', 1, [5])]
    """
    parts = _parts([expr])
    top: Context = (expr, (), ())
    found: dict[Context, list[tuple[Expr, Facts, tuple[Facts, ...]]]] = {}
    called: dict[Context, Counter[Context]] = {}
    stack: list[Context] = [top]
    while stack:
        context = stack.pop()
        if context not in found:
            found[context], called[context] = _walk(context, parts)
            stack.extend(called[context])
    num_calls: Counter[Context] = Counter({top: 1})
    for context in _callers_first(top, called):
        for below, times in called[context].items():
            num_calls[below] += times * num_calls[context]
        for node, facts, children in found[context]:
            yield Occurrence(node, facts, children, num_calls[context])


@dataclass(frozen=True)
class _Parts:
    """A body apart: `own` are the nodes that use its parameters, children first; `others` the first that do not."""

    own: tuple[Expr, ...]
    others: tuple[Expr, ...]


def _parts(roots: Sequence[Expr]) -> dict[tuple[Expr, tuple[Symbol, ...]], _Parts]:
    parts: dict[tuple[Expr, tuple[Symbol, ...]], _Parts] = {}
    for node in postorder(roots):  # bodies come before their calls, so those of inner modules are known
        if isinstance(node, Module):
            key = (node.body, tuple(node.bindings))
            if key not in parts:
                parts[key] = _take_apart(node.body, set(node.bindings), parts)
    for root in roots:
        parts[root, ()] = _take_apart(root, None, parts)
    return parts


def _take_apart(body: Expr, params: set[Symbol] | None, parts: dict[tuple[Expr, tuple[Symbol, ...]], _Parts]) -> _Parts:
    own: list[Expr] = []
    others: list[Expr] = []
    seen: set[Expr] = set()
    stack = [(body, False)]
    while stack:
        node, is_ready = stack.pop()
        if is_ready:
            own.append(node)
        elif node not in seen:
            seen.add(node)
            if params is not None and params.isdisjoint(node.free_symbols):
                others.append(node)
                continue
            stack.append((node, True))
            below = node.children
            if isinstance(node, Module):
                below = (*node.args, *parts[node.body, tuple(node.bindings)].others)
            stack.extend((child, False) for child in reversed(below))
    return _Parts(tuple(own), tuple(others))


def _walk(
    context: Context, parts: dict[tuple[Expr, tuple[Symbol, ...]], _Parts]
) -> tuple[list[tuple[Expr, Facts, tuple[Facts, ...]]], Counter[Context]]:
    """The nodes of a context with what is known of them, and how often it calls which other."""
    body, params, bound = context
    bindings = dict(bound)
    known: dict[Expr, Facts] = {}
    found: list[tuple[Expr, Facts, tuple[Facts, ...]]] = []
    called: Counter[Context] = Counter()

    def facts_of(node: Expr) -> Facts:
        if node in known:
            return known[node]
        return _combine(node, [bindings[s] for s in node.free_symbols if s in bindings], bindings)

    for node in parts[body, params].own:
        if isinstance(node, Symbol):
            known[node] = bindings.get(node, Facts())
        else:
            below = node.args if isinstance(node, Module) else node.children
            is_decided = node.dtype is not None and node.device is not None
            known[node] = _combine(node, [] if is_decided else [facts_of(child) for child in below], bindings)
        if isinstance(node, Module):
            called[_context_of(node, [facts_of(arg) for arg in node.args], bindings)] += 1
        children = tuple(facts_of(child) for child in node.children) if known[node].batch else ()
        found.append((node, known[node], children))
    return found, called


def _combine(node: Expr, below: Sequence[Facts], bindings: dict[Symbol, Facts]) -> Facts:
    if not node.free_symbols and node.dtype is not None and node.device is not None:
        return _plain(node.dtype, node.device)
    batch: dict[tuple[int, int], int] = {}
    for symbol in node.free_symbols:
        if symbol in bindings:
            batch.update(bindings[symbol].batch)
    dtype, device = node.dtype, node.device
    if dtype is None:
        for facts in below:
            if facts.dtype is not None:
                dtype = facts.dtype if dtype is None else torch.promote_types(dtype, facts.dtype)
    if device is None:
        device = next((facts.device for facts in below if facts.device is not None), None)
    return Facts(tuple(sorted(batch.items(), key=_position)), dtype, device)


@lru_cache(maxsize=256)
def _plain(dtype: torch.dtype, device: torch.device) -> Facts:
    """The same object for most nodes."""
    return Facts((), dtype, device)


def _context_of(module: Module, args: Sequence[Facts], bindings: dict[Symbol, Facts]) -> Context:
    free = set(module.body.free_symbols)
    bound = {symbol: bindings[symbol] for symbol in module.body.free_symbols if symbol in bindings}
    level = 1 + max((axis[0] for facts in (*bindings.values(), *args) for axis, _ in facts.batch), default=-1)
    for symbol, arg, facts in zip(module.bindings, module.args, args, strict=True):
        bound.pop(symbol, None)
        if symbol in free:
            own = arg.shape[: arg.ndim - symbol.ndim]
            axes = tuple(((level, i - len(own)), size) for i, size in enumerate(own))
            bound[symbol] = Facts(facts.batch + axes, facts.dtype, facts.device)
    levels = sorted({axis[0] for facts in bound.values() for axis, _ in facts.batch})
    number = {level: i for i, level in enumerate(levels)}  # so that equal calls at other depths are the same context
    renumbered = {
        symbol: Facts(
            tuple(((number[level], at), size) for (level, at), size in facts.batch), facts.dtype, facts.device
        )
        for symbol, facts in bound.items()
    }
    order = [symbol for symbol in module.body.free_symbols if symbol in renumbered]
    return module.body, tuple(module.bindings), tuple((symbol, renumbered[symbol]) for symbol in order)


def _callers_first(top: Context, called: dict[Context, Counter[Context]]) -> list[Context]:
    order: list[Context] = []
    seen: set[Context] = set()
    stack: list[tuple[Context, bool]] = [(top, False)]
    while stack:
        context, is_ready = stack.pop()
        if is_ready:
            order.append(context)
        elif context not in seen:
            seen.add(context)
            stack.append((context, True))
            stack.extend((below, False) for below in called[context])
    return order[::-1]


def _position(item: tuple[tuple[int, int], int]) -> tuple[int, int]:
    return item[0]
