"""Finds linear layers: products with a weight that is a matrix where it lies, and the biases that are added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from scrub.compiler.ops import Constant, Contract, Sum
from scrub.compiler.ops.arithmetic import letters_of
from scrub.compiler.ops.linear import Linear
from scrub.compiler.passes.recognising import constant_below, is_floating
from scrub.compiler.values import Value


@dataclass(eq=False)
class Layer:
    """A product that is a linear layer, and the sum that its bias is added in.

    Attributes:
        product: the value of the `Contract`.
        x: what it is of.
        op: the operation.
        columns: letters that the columns of the weight are made of, batch axes negative.
        weight, bias: the tensors.
        key, bias_key: tell them from others.
        biased: the term that the bias was.
    """

    product: Value
    x: Value
    op: Linear
    columns: tuple[int, ...]
    weight: torch.Tensor
    key: str
    bias: torch.Tensor | None = None
    bias_key: str = ""
    biased: Value | None = None


class Copies:
    """Weights that are no matrix where they lie, laid out as one: as many as fit into a number of bytes.

    Otherwise each product would copy its weight in every run.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._made: dict[str, torch.Tensor] = {}

    def matrix(self, key: str, tensor: torch.Tensor, num_rows: int) -> torch.Tensor | None:
        """The tensor as a matrix of its first axes and the others; None if there is no room for one more."""
        if key not in self._made and 0 < tensor.nbytes <= self._room:
            self._room -= tensor.nbytes
            self._made[key] = tensor.reshape(tensor.shape[:num_rows].numel(), -1).contiguous()
        return self._made.get(key)


def layer_of(value: Value, copies: Copies | None = None) -> Layer | None:
    """The linear layer that a value is, if it is one whose weight is a matrix, or is worth being made one."""
    op = value.op
    if not isinstance(op, Contract) or len(op.ins) != 2 or not is_floating(value):
        return None
    for at in (1, 0):
        weight, x = value.args[at], value.args[1 - at]
        tensor = constant_below(weight, views_only=True)
        if tensor is not None and tensor.dtype == x.dtype and constant_below(x, views_only=True) is None:
            return _layer(value, op, x, weight, tensor, at, copies)
    return None


def _layer(
    value: Value, op: Contract, x: Value, weight: Value, tensor: torch.Tensor, at: int, copies: Copies | None
) -> Layer | None:
    ins, out = letters_of(op, value.args, value.axes)
    of_weight, of_x = ins[at], ins[1 - at]
    if len(set(of_weight)) < len(of_weight) or len(set(of_x)) < len(of_x):
        return None
    shared = {letter for letter in of_weight if letter in of_x}
    columns = [letter for letter in of_weight if letter not in shared]
    is_summed_alike = shared.isdisjoint(out) and set(out) == (set(of_x) | set(of_weight)) - shared
    if not shared or not columns or not is_summed_alike:
        return None
    strides = dict(zip(of_weight, tensor.stride(), strict=True))

    def outermost_first(letters: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted(letters, key=lambda letter: -strides[letter]))

    rows, columns = outermost_first([letter for letter in of_weight if letter in shared]), outermost_first(columns)
    key = f"{_key(weight)} {rows} {columns} {of_weight}"
    arranged = tensor.permute([of_weight.index(letter) for letter in (*rows, *columns)])
    matrix = _as_matrix(arranged, len(rows))
    if matrix is None and copies is not None:
        matrix = copies.matrix(key, arranged, len(rows))
    if matrix is None:
        return None
    axis_of = {-1 - axis.order: axis for axis in x.axes}
    own = op.ins[1 - at]
    summed = tuple(axis_of[letter] if letter < 0 and letter in axis_of else own.index(letter) for letter in rows)
    return Layer(value, x, Linear(summed, op.scale), columns, matrix, key)


def _key(weight: Value) -> str:
    """Tells a constant, moved."""
    text: list[str] = []
    while not isinstance(weight.op, Constant):
        text.append(repr(weight.op))
        weight = weight.args[0]
    return " of ".join((*text, weight.op.digest))


def _as_matrix(tensor: torch.Tensor, num_rows: int) -> torch.Tensor | None:
    """The tensor as a matrix of its first axes and the others; None if it would have to be copied, now or when used."""
    rows, columns = tensor.shape[:num_rows].numel(), tensor.shape[num_rows:].numel()
    if not rows or not columns:
        return None
    try:
        matrix = tensor.view(rows, columns)
    except RuntimeError:  # torch's answer to whether it is a view
        return None
    across, along = matrix.stride()
    fits = (along == 1 and across >= columns) or (across == 1 and along >= rows) or 1 in matrix.shape
    return matrix if fits else None


def take_bias(value: Value, layers: Mapping[Value, Layer], uses: Mapping[Value, int]) -> Layer | None:
    """The layer among the terms of a sum that took another term as its bias."""
    op = value.op
    if not isinstance(op, Sum):
        return None
    for term, coefficient in zip(value.args, op.coefficients, strict=True):
        layer = layers.get(term)
        if layer is None or uses[term] != 1 or term.shape != value.shape or term.axes != value.axes:
            continue
        for other, factor in zip(value.args, op.coefficients, strict=True):
            bias = None if other is term else _bias(other, term, layer)
            if bias is not None:
                layer.bias, layer.biased = bias if factor == 1.0 else bias * factor, other
                layer.bias_key = f"{factor} * {_key(other)}"
                layer.op = Linear(layer.op.summed, layer.op.scale * coefficient)
                return layer
    return None


def _bias(bias: Value, term: Value, layer: Layer) -> torch.Tensor | None:
    """A constant term as a vector along the columns of the weight, if it varies along nothing else."""
    assert isinstance(term.op, Contract)
    ndim = len(bias.shape)
    letters = term.op.out[len(term.op.out) - ndim :] if ndim else ()
    labels = (*(-1 - axis.order for axis in bias.axes), *letters)
    sizes = (*(axis.size for axis in bias.axes), *bias.shape)
    if any(size != 1 and label not in layer.columns for size, label in zip(sizes, labels, strict=True)):
        return None
    tensor = constant_below(bias, views_only=True)
    if tensor is None or tensor.dtype != term.dtype:
        return None
    size_of = dict(zip(labels, tensor.shape, strict=True))
    own = [label for label in layer.columns if size_of.get(label, 1) > 1]
    at = [labels.index(label) for label in own]
    tensor = tensor.permute([*at, *(i for i in range(tensor.ndim) if i not in at)]).reshape([size_of[n] for n in own])
    for position, label in enumerate(layer.columns):
        if label not in own:
            tensor = tensor.unsqueeze(position)
    return tensor.expand(column_sizes(layer)).reshape(-1)


def column_sizes(layer: Layer) -> list[int]:
    term = layer.product
    assert isinstance(term.op, Contract)
    size_of = dict(zip(term.op.out, term.shape, strict=True)) | {-1 - axis.order: axis.size or 0 for axis in term.axes}
    return [size_of[label] for label in layer.columns]
