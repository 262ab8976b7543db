"""Indices of module calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Add, Expr, Index, Module, ModuleSpec, Symbol, elementwise
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import random_index
from scrub.rewrite.rules.indexing.descent import plan_by_axis_map, plans, push

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

plans(Module)(plan_by_axis_map)


def _cases(maker: Maker) -> Expr:
    """Calls of two parameters, each with all, some or none of two batch axes, used in the body or not."""
    batch, inner = maker.shape(max_ndim=2), maker.shape(max_ndim=2)
    names = ("p", "q")
    symbols = [Symbol.new_from_name(maker.some(inner), name) for name in names]
    used = [symbol for symbol in symbols if maker.random.random() < 0.8]
    body: Expr = elementwise("tanh", Add(*used, maker.expr(inner, 1)))
    ranks = [maker.random.randint(0, len(batch)) for _ in symbols]
    args = [
        maker.expr(batch[len(batch) - rank :] + symbol.shape, 1) for rank, symbol in zip(ranks, symbols, strict=True)
    ]
    spec = ModuleSpec(body, symbols, allow_unused=True)
    return random_index(maker, Module(spec, "call", **dict(zip(names, args, strict=True))))


@rewrite(keeps="value", cases=_cases)
def push_index_through_module(index: Index, *, partial: bool = False, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An index of a call becomes a call with an indexed body on indexed arguments.

        f(x)[i, j]  ->  (f[j])(x[i])   where i is on batch axes and j on the body's

    Args:
        index: of a `Module`.
        partial: let those entries pass that can, where others cannot. All entries of a call can.
        dissolve: whether the call may be taken apart.

    >>> from scrub.graph import I, Scalar
    >>> s = Symbol.new_from_name((3,), "s")
    >>> call = Module(ModuleSpec(s.add(s, name="double"), [s]), "call", s=Scalar(1.0, (2, 3), name="a"))
    >>> pushed = push_index_through_module(Index(call, I[0, 1:3], name="i"))
    >>> pushed.children
    (double[1:3] [2] Index [1:3], a[0, :] [3] Index [0, :])
    """
    return push(index, Module, partial=partial, dissolve=dissolve)
