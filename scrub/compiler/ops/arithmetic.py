"""Sums of products, and sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from scrub.compiler.ops.matrices import Operand, elementwise, product_of_two, total
from scrub.compiler.values import Axis, Op, Sizes, Value, Writer, union_of_axes
from scrub.graph import DtypeError
from scrub.graph.contract import contract, contraction_flops, place_on_diagonal

Letters = tuple[int, ...]

_SOME_DRAWS = 16  # for what is smaller than what, where the number of draws is not known


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
        is_scaled = self.scale == 1.0
        sizes = [arg.numel * (_SOME_DRAWS if arg.is_drawn else 1) for arg in (*value.args, value)]
        is_narrow = dtype == torch.float16 and abs(self.scale) < 1.0  # the sum without the number may be out of range
        if not is_scaled and (is_narrow or (len(nodes) > 1 and min(sizes) < sizes[-1])):
            at = sizes.index(min(sizes[:-1]))
            nodes[at], is_scaled = write.call(torch.mul, nodes[at], self.scale), True
        operands = [Operand(node, letters) for node, letters in zip(nodes, ins, strict=True)]
        if not dtype.is_floating_point or any(len(set(letters)) < len(letters) for letters in ins):
            node = write.call(contracted, tuple(ins), out, *nodes)
        elif not set().union(*ins) - set(out):
            node = elementwise(write, operands, out)
        elif len(operands) == 1:
            node = total(write, operands[0], out)
        elif len(operands) == 2:
            node = product_of_two(write, operands[0], operands[1], out, dtype)
        else:
            node = write.call(contracted, tuple(ins), out, *nodes)
        return node if is_scaled else write.call(torch.mul, node, self.scale)

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
        ndim, dtype = len(value.shape), value.dtype or torch.float64
        nodes = [write.aligned(arg, value.axes, ndim=ndim, dtype=dtype) for arg in value.args]
        if dtype == torch.bool:
            node = nodes[0]
            for other in nodes[1:]:
                node = write.call(torch.logical_or, node, other)
            return node
        sizes = [arg.numel * (_SOME_DRAWS if arg.is_drawn else 1) for arg in value.args]
        # small terms first, so that partial sums are small; of the first two, one that needs no factor
        order = sorted(range(len(nodes)), key=lambda i: sizes[i])
        order[:2] = sorted(order[:2], key=lambda i: self.coefficients[i] != 1.0)
        coefficients, nodes = tuple(self.coefficients[i] for i in order), [nodes[i] for i in order]
        if len(nodes) > 2:
            return write.call(weighted_sum, coefficients, self.offset, *nodes)
        node = nodes[0] if coefficients[0] == 1.0 else write.call(torch.mul, nodes[0], coefficients[0])
        for other, alpha in zip(nodes[1:], coefficients[1:], strict=True):
            node = write.call(torch.add, node, other, **({} if alpha == 1.0 else {"alpha": alpha}))
        return node if self.offset == 0.0 else write.call(torch.add, node, self.offset)

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
        factor = 1 if alpha == 1.0 else alpha  # of integers, which take no other
        if is_own and total.shape == shape:
            total.add_(term, alpha=factor)
        else:
            total, is_own = torch.add(total, term, alpha=factor), True
    return total if offset == 0.0 else total + offset


def common_dtype(args: Sequence[Value]) -> torch.dtype | None:
    """What values combine to.

    Raises:
        DtypeError: two different floating dtypes meet, which only inputs can bring about: what is bound to symbols.
    """
    result: torch.dtype | None = None
    for arg in args:
        dtype = arg.dtype
        if dtype is None or dtype == result:
            continue
        if result is not None and result.is_floating_point and dtype.is_floating_point:
            raise DtypeError(
                f"compile: {result} meets {dtype} in {arg!r}",
                expected=result,
                found=dtype,
                hint="bind tensors of one floating dtype, or convert with rc.cast_to(expr, dtype)",
            )
        result = dtype if result is None else torch.promote_types(result, dtype)
    return result


def broadcast(shapes: Sequence[Sizes]) -> Sizes:
    """The shape that shapes broadcast to; they were checked to. (torch.broadcast_shapes takes ten times as long.)

    >>> broadcast([(3,), (2, 1), ()])
    (2, 3)
    """
    largest: Sizes = ()
    for shape in shapes:  # torch's compiler does not know max(shapes, key=len)
        largest = shape if len(shape) > len(largest) else largest
    if all(shape == largest for shape in shapes):
        return largest
    result = list(largest)
    for shape in shapes:
        for position, size in enumerate(shape, start=len(largest) - len(shape)):
            if size != 1:
                result[position] = size
    return tuple(result)


def value_size(shape: Sizes) -> int:
    """Elements of a core."""
    return math.prod(shape)


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else chr(ord("A") + number - 26)
