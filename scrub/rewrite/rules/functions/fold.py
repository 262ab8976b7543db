"""Expressions that depend on nothing as the values they have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from scrub.graph import Add, Array, Concat, Expr, Module, Scalar, ScrubError, Tag, postorder
from scrub.rewrite.rule import NoMatch, Options, rewrite

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _case(maker: Maker) -> Expr:
    shape = maker.shape(max_ndim=2)
    if maker.random.random() < 0.2:
        scalars = maker.scalar(shape), maker.scalar(shape if maker.random.random() < 0.5 else maker.some(shape))
        return Concat.stack(*scalars, axis=0) if scalars[1].shape == shape else Add(*scalars)
    return maker.expr(shape, 2)


def _choices(node: Any) -> Iterator[Options]:
    yield {"max_elements": 200}


@rewrite(keeps="value", cases=_case, choices=_choices, simplifies=True, idempotent=True)
def fold_constants(expr: Expr, *, max_elements: int) -> Expr | NoMatch:
    """An expression without symbols and random variables becomes the array of its value.

    What is made of scalars alone, and has the same value everywhere, becomes a scalar: it has no dtype, and an array
    would. Tags are left alone, since they keep expressions apart that are equal.

    Args:
        expr: what to compute.
        max_elements: most elements that it, or anything below it that has to be computed, may have.

    >>> from scrub.graph import Add
    >>> fold_constants(Add(Array(torch.ones(2)), Scalar(0.5), name="s"), max_elements=10).cast(Array).value
    tensor([1.5000, 1.5000])
    """
    if not expr.children and isinstance(expr, Array | Scalar):
        return NoMatch("it is a value already")
    if not expr.is_explicitly_computable:
        return NoMatch("it depends on a symbol or a random variable")
    nodes = list(postorder([expr]))
    for node in nodes:
        if isinstance(node, Module | Tag):
            return NoMatch(f"{node!r} is below, and is no plain value")
        if isinstance(node, Array) and node.value.is_meta:
            return NoMatch(f"{node!r} has no data")
        if not isinstance(node, Array | Scalar) and node.numel > max_elements:
            return NoMatch(f"{node!r} has more than {max_elements} elements")
    values: dict[Expr, torch.Tensor] = {}
    try:
        for node in nodes:
            values[node] = node.compute(*(values[child] for child in node.children))
    except ScrubError as error:
        return NoMatch(f"it has no value: {error.problem}")
    value = values[expr]
    if expr.dtype is not None:
        # the value may be a view of a larger one
        return Array(value.clone(), expr.name, axis_names=expr.axis_names)
    if not value.numel():
        return Scalar(0.0, expr.shape)
    first = value.reshape(-1)[0]
    if not bool((value == first).all()):
        return NoMatch("it has no dtype, and values that differ")
    return Scalar(first.item(), expr.shape)
