"""Sums of products, and sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from scrub.compile.values import Axis, Op, Sizes, Value, Writer, union_of_axes
from scrub.graph.contract import contract, contraction_flops, place_on_diagonal

Letters = tuple[int, ...]


@dataclass(frozen=True)
class Contract(Op):
    """Product of the arguments times `scale`, summed over the core axes not in `out` and the batch axes `reduced`.

    Attributes:
        ins: a letter for each core axis of each argument; twice in one takes the diagonal.
        out: letters of the result's core, each once.
        scale: a number.
        reduced: batch axes that are summed over.
    """

    ins: tuple[Letters, ...]
    out: Letters
    scale: float = 1.0
    reduced: tuple[Axis, ...] = ()

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        size = {
            letter: n
            for letters, arg in zip(self.ins, args, strict=True)
            for letter, n in zip(letters, arg.shape, strict=True)
        }
        return tuple(size[letter] for letter in self.out), common_dtype(args)

    def axes(self, args: Sequence[Value]) -> tuple[Axis, ...]:
        return tuple(axis for axis in union_of_axes(args) if axis not in self.reduced)

    def letters(self, value: Value) -> tuple[list[Letters], Letters]:
        """Letters of all axes of the arguments and of the result, batch axes first."""
        return letters_of(self, value.args, value.axes)

    def emit(self, value: Value, write: Writer) -> fx.Node:
        ins, out = self.letters(value)
        dtype = value.dtype or torch.float64
        nodes = [write.node(arg, dtype) for arg in value.args]
        if not dtype.is_floating_point or any(len(set(letters)) < len(letters) for letters in ins) or len(ins) > 2:
            return self._scaled(write, write.call(contracted, tuple(ins), out, *nodes))
        if not set().union(*ins) - set(out):
            return self._scaled(write, _product(write, nodes, ins, out))
        if len(ins) == 1:
            return self._scaled(write, _summed(write, nodes[0], ins[0], out))
        number = {letter: i for i, letter in enumerate(dict.fromkeys((*ins[0], *ins[1])))}
        if len(number) > 52:
            return self._scaled(write, write.call(contracted, tuple(ins), out, *nodes))
        if self.scale != 1.0:  # on the smallest of the three
            sizes = [arg.numel for arg in value.args]
            if min(sizes) < value.numel:
                at = sizes.index(min(sizes))
                nodes[at] = write.call(torch.mul, nodes[at], self.scale)
                return write.call(torch.einsum, _equation(ins, out, number), *nodes)
        return self._scaled(write, write.call(torch.einsum, _equation(ins, out, number), *nodes))

    def _scaled(self, write: Writer, node: fx.Node) -> fx.Node:
        return node if self.scale == 1.0 else write.call(torch.mul, node, self.scale)

    def flops(self, value: Value) -> int:
        shapes = [arg.shape for arg in value.args]
        count = contraction_flops(shapes, self.ins, self.out) + (value_size(value.shape) if self.scale != 1.0 else 0)
        return count * math.prod(axis.size or 1 for axis in self.reduced)

    @property
    def label(self) -> str:
        text = ",".join("".join(map(_letter, letters)) for letters in self.ins) + "->" + "".join(map(_letter, self.out))
        text += f" over {len(self.reduced)} batch axes" if self.reduced else ""
        return f"contract {text}" + (f" * {self.scale:g}" if self.scale != 1.0 else "")


@dataclass(frozen=True)
class OnDiagonal(Op):
    """The core axes `letters` placed on the axes `out`, where letters repeat: zero off the diagonal."""

    letters: Letters
    out: Letters

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        size = dict(zip(self.letters, args[0].shape, strict=True))
        return tuple(size[letter] for letter in self.out), args[0].dtype

    def emit(self, value: Value, write: Writer) -> fx.Node:
        batch = tuple(-1 - i for i in range(len(value.axes)))
        return write.call(place_on_diagonal, write.node(value.args[0]), batch + self.letters, batch + self.out)


@dataclass(frozen=True)
class Sum(Op):
    """`offset` plus the arguments, each times its coefficient, broadcast as numpy does."""

    coefficients: tuple[float, ...]
    offset: float = 0.0

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        return broadcast([arg.shape for arg in args]), common_dtype(args)

    def emit(self, value: Value, write: Writer) -> fx.Node:
        ndim = len(value.shape)
        dtype = value.dtype or torch.float64
        nodes = [write.aligned(arg, value.axes, ndim=ndim, dtype=dtype) for arg in value.args]
        if dtype == torch.bool:
            node = nodes[0]
            for other in nodes[1:]:
                node = write.call(torch.logical_or, node, other)
        elif len(nodes) == 2 and self.coefficients[0] == 1.0 and self.offset == 0.0:
            alpha = self.coefficients[1]
            node = write.call(torch.add, *nodes) if alpha == 1.0 else write.call(torch.add, *nodes, alpha=alpha)
        elif len(nodes) == 1:
            node = nodes[0]
            node = node if self.coefficients[0] == 1.0 else write.call(torch.mul, node, self.coefficients[0])
            node = node if self.offset == 0.0 else write.call(torch.add, node, self.offset)
        else:
            node = write.call(weighted_sum, self.coefficients, self.offset, *nodes)
        return node

    def flops(self, value: Value) -> int:
        return value_size(value.shape) * (len(value.args) - 1 + (self.offset != 0.0))

    @property
    def label(self) -> str:
        return f"sum of {len(self.coefficients)}"


def letters_of(op: Contract, args: Sequence[Value], axes: Sequence[Axis]) -> tuple[list[Letters], Letters]:
    """Letters of all axes of the arguments and of the result, batch axes first; those of batch axes are negative."""
    ins = [tuple(-1 - axis.order for axis in arg.axes) + letters for arg, letters in zip(args, op.ins, strict=True)]
    return ins, tuple(-1 - axis.order for axis in axes) + op.out


def contracted(ins: tuple[Letters, ...], out: Letters, *tensors: torch.Tensor) -> torch.Tensor:
    """The contraction of any number of tensors, in opt_einsum's order."""
    return contract(tensors, ins, out)


def weighted_sum(coefficients: tuple[float, ...], offset: float, *terms: torch.Tensor) -> torch.Tensor:
    """Sum of coefficients times terms; writes into its own partial sum where that has the final shape already."""
    total, alpha, is_own = terms[0], coefficients[0], False
    if alpha != 1.0:
        total, is_own = total * alpha, True
    shape = broadcast([tuple(term.shape) for term in terms])
    for term, alpha in zip(terms[1:], coefficients[1:], strict=True):
        if is_own and total.shape == shape:
            total.add_(term, alpha=alpha)
        else:
            total, is_own = torch.add(total, term, alpha=alpha), True
    return total if offset == 0.0 else total + offset


def common_dtype(args: Sequence[Value]) -> torch.dtype | None:
    """What values combine to; the expressions were checked, so that floating dtypes agree."""
    result: torch.dtype | None = None
    for arg in args:
        if arg.dtype is not None:
            result = arg.dtype if result is None else torch.promote_types(result, arg.dtype)
    return result


def broadcast(shapes: Sequence[Sizes]) -> Sizes:
    """The shape that shapes broadcast to."""
    return tuple(int(size) for size in torch.broadcast_shapes(*shapes))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def value_size(shape: Sizes) -> int:
    """Elements of a core."""
    return math.prod(shape)


def _product(write: Writer, nodes: list[fx.Node], ins: Sequence[Letters], out: Letters) -> fx.Node:
    """Elementwise: every operand permuted to the order of the result, with axes of size 1 where it lacks one."""
    factors: list[fx.Node] = []
    for operand, letters in zip(nodes, ins, strict=True):
        node = operand
        order = sorted(range(len(letters)), key=lambda i, letters=letters: out.index(letters[i]))
        if order != list(range(len(letters))):
            node = write.call(torch.permute, node, tuple(order))
        first = min((out.index(letter) for letter in letters), default=len(out))
        for position in range(first, len(out)):
            if out[position] not in letters:
                node = write.call(torch.unsqueeze, node, position - first)
        factors.append(node)
    result = factors[0]
    for factor in factors[1:]:
        result = write.call(torch.mul, result, factor)
    return result


def _summed(write: Writer, node: fx.Node, letters: Letters, out: Letters) -> fx.Node:
    summed = tuple(i for i, letter in enumerate(letters) if letter not in out)
    node = write.call(torch.sum, node, dim=summed)
    rest = [letter for letter in letters if letter in out]
    order = tuple(rest.index(letter) for letter in out)
    return node if order == tuple(range(len(order))) else write.call(torch.permute, node, order)


def _equation(ins: Sequence[Letters], out: Letters, number: dict[int, int]) -> str:
    def text(letters: Letters) -> str:
        return "".join(_letter(number[letter]) for letter in letters)

    return ",".join(map(text, ins)) + "->" + text(out)


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else chr(ord("A") + number - 26)
