"""What the passes that recognise kernels have in common: values seen through factors, products, and constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import fx

from scrub.compiler.ops import Apply, ApplyEach, Constant, Contract, Picked, Rearranged, Sibling, Sum, ToBatch, ToCore
from scrub.compiler.values import Axis, Graph, Value, Writer

Letters = tuple[int, ...]


class Factor(NamedTuple):
    """An argument of a `Contract`, and a letter for each of its core axes."""

    value: Value
    letters: Letters


class Product(NamedTuple):
    """A `Contract` taken apart: factors times `scale`, summed over all letters but `out` and over `reduced`."""

    factors: tuple[Factor, ...]
    out: Letters
    scale: float
    reduced: tuple[Axis, ...]

    @classmethod
    def of(cls, op: Contract, args: Sequence[Value]) -> Product:
        factors = tuple(Factor(arg, letters) for arg, letters in zip(args, op.ins, strict=True))
        return cls(factors, op.out, op.scale, op.reduced)

    def replaced(self, removed: Sequence[int], *added: Factor, factor: float = 1.0) -> Product:
        """With other factors instead of some: those at positions `removed`."""
        kept = [own for i, own in enumerate(self.factors) if i not in removed]
        return self._replace(factors=(*added, *kept), scale=self.scale * factor)

    def build(self, graph: Graph, name: str | None = None) -> Value:
        """The value; the factor itself if there is one and nothing is done with it."""
        (value, letters), *others = self.factors
        if not others and letters == self.out and self.scale == 1.0 and not self.reduced:
            return value
        op = Contract(tuple(factor.letters for factor in self.factors), self.out, self.scale, self.reduced)
        return graph.value(op, *(factor.value for factor in self.factors), name=name)

    def opened(self, at: int) -> Product | None:
        """With the factors of the factor at a position in its place; None if that is no product without a sum."""
        inner, letters = self.factors[at]
        if not isinstance(inner.op, Contract) or not is_elementwise(inner.op):
            return None
        renamed = dict(zip(inner.op.out, letters, strict=True))
        factors = [
            Factor(arg, tuple(renamed[letter] for letter in own))
            for arg, own in zip(inner.args, inner.op.ins, strict=True)
        ]
        return self.replaced([at], *factors, factor=inner.op.scale)


def is_elementwise(op: Contract) -> bool:
    """Whether a product is summed over nothing."""
    return not op.reduced and set(op.out).issuperset(letter for letters in op.ins for letter in letters)


def is_floating(value: Value) -> bool:
    """Whether a value has a floating dtype, and is not made of numbers alone."""
    return value.dtype is not None and value.dtype.is_floating_point


def without_factor(value: Value, *, may_open: Callable[[Value], bool] = lambda _: True) -> tuple[Value, float]:
    """What a value is a number times of, and the number; looks through values for which `may_open` is True."""
    factor = 1.0
    while may_open(value):
        op = value.op
        if isinstance(op, Contract) and len(op.ins) == 1 and op.ins[0] == op.out and not op.reduced:
            factor *= op.scale
        elif isinstance(op, Sum) and len(op.coefficients) == 1 and op.offset == 0.0:
            factor *= op.coefficients[0]
        else:
            break
        value = value.args[0]
    return value, factor


def applied(value: Value) -> object:
    """The registered function that a value is the result of, if it is."""
    return value.op.spec if isinstance(value.op, Apply) and not isinstance(value.op, ApplyEach) else None


def permuted(graph: Graph, value: Value, order: Sequence[int]) -> Value:
    """The value with its core axes in another order, a view."""
    if list(order) == sorted(order):
        return value
    left = tuple((i,) for i in range(len(value.shape)))
    return graph.value(Rearranged(left, tuple((i,) for i in order), value.shape), value)


class Immediate(Writer):
    """A writer that computes instead of writing: `nodes` are tensors."""

    def call(self, function: Callable[..., object], *args: object, **kwargs: object) -> fx.Node:
        return function(*args, **kwargs)  # pyright: ignore[reportReturnType]

    def tensor(self, tensor: torch.Tensor) -> fx.Node:
        return tensor  # pyright: ignore[reportReturnType]


_MOVES = (ToBatch, ToCore, Rearranged, Picked, Sibling)
MAX_STEPS = 12
"""Operations between a constant and what is made of it, that `constant_below` looks through."""


def constant_below(value: Value, *, views_only: bool = False) -> torch.Tensor | None:
    """The tensor of a value that is a constant, moved, scaled and shifted; None if it is anything else.

    With `views_only`, what is moved without scaling and shifting, and keeps its memory.
    """
    chain: list[Value] = []
    while not isinstance(value.op, Constant):
        op = value.op
        is_affine = isinstance(op, Sum | Contract) and len(value.args) == 1 and not views_only
        if not (is_affine or (isinstance(op, _MOVES) and (op.is_view or not views_only))) or len(chain) == MAX_STEPS:
            return None
        chain.append(value)
        value = value.args[0]
    write = Immediate()
    write.nodes[value] = write.tensor(value.op.tensor)
    for step in reversed(chain):
        write.nodes[step] = step.op.emit(step, write)
    return write.nodes[chain[0] if chain else value]  # pyright: ignore[reportReturnType]
