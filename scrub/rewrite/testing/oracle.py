"""The exact value of any expression, random ones included, by enumeration: what rules are judged by.

The value of a random expression is a function of the outcome, the rows that the groups of its random variables take.
Here it is a tensor with one leading axis per group. Shares nothing with how the package rewrites: modules are
closures, batch axes are loops, and a cumulant is the moment-cumulant formula, weighted by probability,

    k(X_1..X_n) = sum over set partitions p of (-1)^(|p|-1) (|p|-1)! prod over blocks b of E[prod of X_i, i in b]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from scrub.graph import (
    Array,
    Cumulant,
    DiscreteVar,
    Expr,
    Module,
    RandomVariableError,
    Scalar,
    StoredCumulantVar,
    Symbol,
    UnboundSymbolError,
    postorder,
)

MAX_OUTCOMES = 100_000


def value_of(
    expr: Expr,
    *,
    groups: Sequence[Expr] | None = None,
    symbols: Mapping[Symbol, torch.Tensor] | None = None,
) -> torch.Tensor:
    """The value at every joint outcome, in float64 where it is floating: [one axis per group, *expr.shape].

    Args:
        expr: what to evaluate.
        groups: of the leading axes, in order; those of the variables outside cumulants if not given.
        symbols: values of free symbols, of their shapes.

    Raises:
        UnboundSymbolError: a free symbol has no value.
        RandomVariableError: a group that the value depends on is not among `groups`, or there are too many outcomes.

    >>> dice = DiscreteVar(Array(torch.arange(1.0, 7.0)))
    >>> value_of(dice.add(dice))
    tensor([ 2.,  4.,  6.,  8., 10., 12.], dtype=torch.float64)
    >>> value_of(Cumulant(dice, dice))
    tensor(2.9167, dtype=torch.float64)
    """
    given = {s: Values((), v, v.dtype) for s, v in (symbols or {}).items()}
    wanted = groups_of([expr]) if groups is None else tuple(groups)
    found = _run(expr, given)
    missing = [group for group in found.groups if group not in wanted]
    if missing:
        raise RandomVariableError(f"the value of {expr!r} depends on a group that is not listed", nodes=missing)
    tensor = found.over(wanted)
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor


def groups_of(exprs: Sequence[Expr]) -> tuple[Expr, ...]:
    """Groups of the random variables that are under no cumulant, in order of first visit.

    >>> dice = DiscreteVar(Array(torch.arange(1.0, 7.0)))
    >>> groups_of([dice.add(Cumulant(DiscreteVar(dice.values)))]) == (dice.probs_and_group,)
    True
    """
    outside = postorder(exprs, descend=lambda node: not isinstance(node, Cumulant))
    return tuple(dict.fromkeys(node.probs_and_group for node in outside if isinstance(node, DiscreteVar)))


@dataclass(frozen=True)
class Values:
    """A function of the outcome: one leading axis of `tensor` per group. `dtype` is None for scalars alone."""

    groups: tuple[Expr, ...]
    tensor: torch.Tensor
    dtype: torch.dtype | None

    def over(self, groups: Sequence[Expr]) -> torch.Tensor:
        """The tensor with an axis for each of these groups, which contain its own."""
        own = [group for group in groups if group in self.groups]
        rest = range(len(self.groups), self.tensor.ndim)
        tensor = self.tensor.permute([self.groups.index(group) for group in own] + list(rest))
        for position, group in enumerate(groups):
            if group not in self.groups:
                tensor = tensor.unsqueeze(position)
        sizes = tuple(group.shape[0] for group in groups)
        return tensor.expand(sizes + tuple(tensor.shape[len(groups) :]))


def _run(root: Expr, scope: Mapping[Symbol, Values]) -> Values:
    """The value of every node below the root, children first. Recurses once per nested call of a module."""
    known: dict[Expr, Values] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        parts = _parts(node)
        waiting = [part for part in parts if part not in known]
        if node not in known and waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        if node not in known:
            known[node] = _value(node, [known[part] for part in parts], scope)
    return known[root]


def _value(node: Expr, parts: list[Values], scope: Mapping[Symbol, Values]) -> Values:
    if isinstance(node, Symbol):
        if node not in scope:
            raise UnboundSymbolError(f"symbol {node.name!r} has no value", nodes=[node])
        return scope[node]
    if isinstance(node, Module):
        return _call(node, parts, scope)
    if isinstance(node, DiscreteVar):
        return _variable(node, parts)
    if isinstance(node, Cumulant):
        return _cumulant(node, parts)
    if isinstance(node, StoredCumulantVar):
        raise RandomVariableError(f"{node!r} is known by its cumulants alone, and has no outcomes", nodes=[node])
    if node.free_symbols:  # only now is it known what dtype the symbols have
        node = node.with_children([_stand_in(part) for part in parts])
    return Values(_all_groups(parts), _by_outcome(node.compute, parts), node.dtype)


def _by_outcome(compute: Callable[..., torch.Tensor], parts: Sequence[Values]) -> torch.Tensor:
    groups = _all_groups(parts)
    if not groups:
        return compute(*(part.tensor for part in parts))
    sizes = [group.shape[0] for group in groups]
    expanded = [part.over(groups) for part in parts]
    results = [compute(*(tensor[rows] for tensor in expanded)) for rows in itertools.product(*map(range, sizes))]
    return torch.stack(results).reshape(*sizes, *results[0].shape)


def _all_groups(parts: Sequence[Values]) -> tuple[Expr, ...]:
    groups = tuple(dict.fromkeys(group for part in parts for group in part.groups))
    if math.prod([group.shape[0] for group in groups]) > MAX_OUTCOMES:
        raise RandomVariableError(
            f"{len(groups)} groups have more than {MAX_OUTCOMES} joint outcomes, too many to enumerate",
            nodes=groups[:10],
            hint="try it on variables with fewer rows",
        )
    return groups


def _stand_in(part: Values) -> Expr:
    """A leaf of the same shape and dtype."""
    shape = tuple(part.tensor.shape[len(part.groups) :])
    return Scalar(0.0, shape) if part.dtype is None else Array(torch.empty(shape, dtype=part.dtype, device="meta"))


def _variable(node: DiscreteVar, parts: list[Values]) -> Values:
    values, group = parts[0], node.probs_and_group
    others = [other for other in values.groups if other is not group]  # a table may itself be random
    rows = range(group.shape[0])
    if group in values.groups:
        tensor = values.over([group, *others])
        picked = torch.stack([tensor[row].select(len(others), row) for row in rows])
    else:
        picked = torch.stack([values.tensor.select(len(others), row) for row in rows])
    return Values((group, *others), picked, values.dtype)


def _parts(node: Expr) -> tuple[Expr, ...]:
    """What has to be evaluated first."""
    if isinstance(node, Module):
        return node.args
    stored = node.children[0] if node.children else None
    if isinstance(node, Cumulant) and isinstance(stored, StoredCumulantVar) and set(node.children) == {stored}:
        return (stored.cumulant(node.order),)
    return node.children


def _cumulant(node: Cumulant, parts: list[Values]) -> Values:
    dtype = node.dtype if node.dtype is not None and node.dtype.is_floating_point else torch.float64
    if len(parts) == 1 and not parts[0].groups:  # the expectation of a constant, or a cumulant that is stored
        return parts[0]
    if not parts:
        return Values((), torch.ones((), dtype=torch.float64), None)
    groups = _all_groups(parts)
    weights = torch.ones((), dtype=torch.float64)
    for group in groups:
        weights = weights.unsqueeze(-1) * probabilities(group)
    arguments: list[torch.Tensor] = []
    before = 0
    for part in parts:  # each argument on axes of its own: [outcome, 1.., *shape, 1..]
        tensor = part.over(groups).to(torch.float64)
        shape = tuple(tensor.shape[len(groups) :])
        after = node.ndim - before - len(shape)
        arguments.append(tensor.reshape(weights.numel(), *(1,) * before, *shape, *(1,) * after))
        before += len(shape)
    flat = weights.reshape(-1, *(1,) * node.ndim)
    total = torch.zeros(node.shape, dtype=torch.float64)
    for blocks in set_partitions(range(len(arguments))):
        term = torch.tensor(float((-1) ** (len(blocks) - 1) * math.factorial(len(blocks) - 1)), dtype=torch.float64)
        for block in blocks:
            moment = flat
            for i in block:
                moment = moment * arguments[i]
            term = term * moment.sum(0)
        total = total + term
    return Values((), total.to(dtype), node.dtype)


def probabilities(group: Expr) -> torch.Tensor:
    """Probability of each row of a group, float64 [n]."""
    weights = value_of(group, groups=()).to(torch.float64)
    return weights / weights.sum()


def set_partitions(items: Sequence[int]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """All ways to part the items into blocks.

    >>> [len(list(set_partitions(range(n)))) for n in range(5)]
    [1, 1, 2, 5, 15]
    """
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for blocks in set_partitions(rest):
        yield ((first,), *blocks)
        for i, block in enumerate(blocks):
            yield (*blocks[:i], (first, *block), *blocks[i + 1 :])


def _call(node: Module, args: list[Values], scope: Mapping[Symbol, Values]) -> Values:
    """The body once for every entry of the batch axes, which are aligned from the right."""
    ranks = [arg.ndim - symbol.ndim for arg, symbol in zip(node.args, node.bindings, strict=True)]
    batches = [arg.shape[:rank] for arg, rank in zip(node.args, ranks, strict=True)]
    batch = max(batches, key=len, default=())
    results: list[Values] = []
    for entry in itertools.product(*map(range, batch)):
        inner = dict(scope)
        for symbol, arg, rank in zip(node.bindings, args, ranks, strict=True):
            at = (slice(None),) * len(arg.groups) + entry[len(batch) - rank :] if rank else ()
            inner[symbol] = Values(arg.groups, arg.tensor[at], arg.dtype)
        results.append(_run(node.body, inner))
    if not results:
        return Values((), torch.zeros(node.shape, dtype=node.dtype or torch.float64), node.dtype)
    if not batch:
        return results[0]
    groups = _all_groups(results)
    stacked = torch.stack([result.over(groups) for result in results], dim=len(groups))
    sizes = [group.shape[0] for group in groups]
    return Values(groups, stacked.reshape(*sizes, *batch, *stacked.shape[len(groups) + 1 :]), results[0].dtype)
