"""The heads in what a layer writes: a call with batch axes whose results are summed over these."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from scrub.discovery.derive.walks import depending, opened_once, outside_bodies
from scrub.graph import Einsum, Expr, Module


@dataclass(frozen=True)
class Heads:
    """Where the heads are.

    Attributes:
        whole: what the layer writes, with the calls opened that hid its heads.
        summed: the sum over heads.
        call: the call of one head for all of them, [*axes, *stream].
        axes: the batch axes of the call.
    """

    whole: Expr
    summed: Expr
    call: Module
    axes: tuple[int, ...]


def find_heads(whole: Expr, states: Collection[Expr]) -> Heads | None:
    """The heads of what a layer computes from states of the stream; None if it has none."""
    current = whole
    while True:
        live = depending(current, states)
        for node in outside_bodies([current], states):
            call = _summed_call(node) if node in live else None
            if call is not None:
                axes = tuple(int(size) for size in call.shape[: call.ndim - node.ndim])
                return Heads(_opened_above(current, node), node, call, axes)
        closed = {n for n in live if isinstance(n, Module) and n not in states and n.ndim == n.body.ndim}
        if not closed:
            return None
        current = opened_once(current, closed, states)


def _opened_above(whole: Expr, summed: Expr) -> Expr:
    """The expression with every call inlined that the sum is given to, norms of what is written for one."""
    current = whole
    while True:
        above = depending(current, {summed})
        calls = {node for node in above if isinstance(node, Module) and node is not summed}
        if not calls:
            return current
        current = opened_once(current, calls, {summed})


def _summed_call(node: Expr) -> Module | None:
    """The call whose batch axes a node sums over, and nothing else."""
    if not isinstance(node, Einsum) or len(node.children) != 1:
        return None
    call = node.children[0]
    if not isinstance(call, Module) or call.body.ndim != node.ndim or call.ndim == node.ndim:
        return None
    letters = node.in_axes[0]
    n_axes = call.ndim - node.ndim
    return call if tuple(letters[n_axes:]) == tuple(node.out_axes) else None
