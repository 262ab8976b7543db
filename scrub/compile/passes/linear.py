"""Recognises linear layers: products of something computed with a weight, summed over all that the two share.

The weight is read as a matrix where it is, so nothing is added to memory; one that is no matrix in its memory layout is
left to the contraction. A bias that is added next goes in. Layers of one input whose weights lie next to each other in
memory, as queries, keys and values often do, become one product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from scrub.compile.ops import Constant, Contract, Picked, Rearranged, Sum, ToBatch
from scrub.compile.ops.arithmetic import letters_of
from scrub.compile.ops.linear import Linear
from scrub.compile.passes.recognising import constant_below, is_floating
from scrub.compile.values import Axis, Graph, Value, count_uses, values_below


@dataclass
class Layer:
    """A product that is a linear layer, and the sum that its bias is added in.

    Attributes:
        product: the value of the `Contract`.
        x: what it is of.
        op: the operation.
        rows, columns: letters of the weight [rows, columns], batch axes negative.
        weight, bias: the tensors.
        key: tells the weight.
    """

    product: Value
    x: Value
    op: Linear
    columns: tuple[int, ...]
    weight: torch.Tensor
    key: str
    bias: torch.Tensor | None = None
    biased: Value | None = None


def recognise_linear(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs with one matrix product for every linear layer, or for several of one input."""
    order = list(values_below(outputs))
    layers = {value: layer for value in order if (layer := layer_of(value)) is not None}
    if not layers:
        return list(outputs)
    uses = count_uses(outputs)
    biased = {value: layer for value in order if (layer := _take_bias(value, layers, uses)) is not None}
    run_of = {id(layer): run for run in _runs(layers.values()) for layer in run}
    new: dict[Value, Value] = {}
    for value in order:
        if value in biased:
            new[value] = _without_bias(graph, value, biased[value], new)
        elif value in layers:
            layer = layers[value]
            new[value] = _built(graph, layer, run_of[id(layer)], new)
        else:
            new[value] = graph.again(value, [new[arg] for arg in value.args])
    return [new[output] for output in outputs]


def layer_of(value: Value) -> Layer | None:
    """The linear layer that a value is, if it is one whose weight can be read as a matrix."""
    op = value.op
    if not isinstance(op, Contract) or len(op.ins) != 2 or not is_floating(value):
        return None
    for at in (1, 0):
        weight, x = value.args[at], value.args[1 - at]
        tensor = constant_below(weight, views_only=True)
        if tensor is not None and tensor.dtype == x.dtype and constant_below(x, views_only=True) is None:
            return _layer(value, op, x, weight, tensor, at)
    return None


def _layer(value: Value, op: Contract, x: Value, weight: Value, tensor: torch.Tensor, at: int) -> Layer | None:
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
    matrix = _as_matrix(tensor.permute([of_weight.index(letter) for letter in (*rows, *columns)]), len(rows))
    if matrix is None:
        return None
    axis_of = {-1 - axis.order: axis for axis in x.axes}
    own = op.ins[1 - at]
    summed = tuple(axis_of[letter] if letter < 0 and letter in axis_of else own.index(letter) for letter in rows)
    return Layer(value, x, Linear(summed, op.scale), columns, matrix, f"{_key(weight)} {rows} {columns} {of_weight}")


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


def _take_bias(value: Value, layers: Mapping[Value, Layer], uses: Mapping[Value, int]) -> Layer | None:
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
    tensor = tensor.permute(*at, *(i for i in range(tensor.ndim) if i not in at)).reshape([size_of[n] for n in own])
    for position, label in enumerate(layer.columns):
        if label not in own:
            tensor = tensor.unsqueeze(position)
    return tensor.expand(_column_sizes(layer)).reshape(-1)


def _column_sizes(layer: Layer) -> list[int]:
    term = layer.product
    assert isinstance(term.op, Contract)
    size_of = dict(zip(term.op.out, term.shape, strict=True)) | {-1 - axis.order: axis.size or 0 for axis in term.axes}
    return [size_of[label] for label in layer.columns]


def _runs(layers: Sequence[Layer] | Iterator[Layer]) -> list[list[Layer]]:
    """Layers in runs of one input and weights that lie next to each other."""
    groups: dict[object, list[Layer]] = {}
    for layer in layers:
        weight = layer.weight
        place = (weight.untyped_storage().data_ptr(), weight.stride(), weight.shape[0], weight.device)
        groups.setdefault((layer.x, layer.op, place), []).append(layer)
    runs: list[list[Layer]] = []
    for group in groups.values():
        group.sort(key=lambda layer: layer.weight.storage_offset())
        for layer in group:
            last = runs[-1][-1].weight if runs and layer is not group[0] else None
            if last is not None and last.storage_offset() + last.shape[1] * last.stride(1) == layer.weight.storage_offset():
                runs[-1].append(layer)
            else:
                runs.append([layer])
    return runs


def _built(graph: Graph, layer: Layer, run: Sequence[Layer], new: Mapping[Value, Value]) -> Value:
    """What stands for the product: a part of the product of its run."""
    weight, bias = layer.weight, layer.bias
    if len(run) > 1:
        first = run[0].weight
        sizes = (first.shape[0], sum(other.weight.shape[1] for other in run))
        weight = first.as_strided(sizes, first.stride(), first.storage_offset())
        bias = _joined([other.bias for other in run], run)
    key = " and ".join(other.key for other in run)
    args = [new[layer.x], _constant(graph, f"matrix {key}", weight)]
    if bias is not None:
        biases = [other.biased for other in run]
        args.append(_constant(graph, f"bias {[b and id(b) for b in biases]} {key}", bias))
    result = graph.value(layer.op, *args, name=layer.product.name)
    if len(run) > 1:
        start = sum(other.weight.shape[1] for other in run[: run.index(layer)])
        cut = (start, start + layer.weight.shape[1])
        result = graph.value(Picked((*(None for _ in result.shape[1:]), cut)), result)
    return _arranged(graph, layer, result)


def _constant(graph: Graph, key: str, tensor: torch.Tensor) -> Value:
    return graph.value(Constant(key, tensor.device, tensor))


def _joined(biases: Sequence[torch.Tensor | None], run: Sequence[Layer]) -> torch.Tensor | None:
    """One bias for a run: where they lie, if they lie next to each other."""
    if all(bias is None for bias in biases):
        return None
    found = [
        layer.weight.new_zeros(layer.weight.shape[1]) if bias is None else bias
        for bias, layer in zip(biases, run, strict=True)
    ]
    first, ends = found[0], 0
    is_together = all(bias.stride() == (1,) for bias in found)
    for bias in found:
        is_here = bias.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        is_together = is_together and is_here and bias.storage_offset() == first.storage_offset() + ends
        ends += len(bias)
    return first.as_strided((ends,), (1,), first.storage_offset()) if is_together else torch.cat(found)


def _arranged(graph: Graph, layer: Layer, result: Value) -> Value:
    """The product's own axes, from the kept axes of x and the columns together."""
    product = layer.product
    op = product.op
    assert isinstance(op, Contract)
    own = op.ins[0] if product.args[0] is layer.x else op.ins[1]
    kept = [letter for i, letter in enumerate(own) if i not in layer.op.summed]
    letters = [*kept, *layer.columns]
    number = {letter: i for i, letter in enumerate(letters)}
    sizes = (*result.shape[:-1], *_column_sizes(layer))
    axis_of: dict[int, Axis] = {-1 - axis.order: axis for axis in product.axes}
    batch = [letter for letter in layer.columns if letter < 0 and letter in axis_of]
    left = (*((number[letter],) for letter in kept), tuple(number[letter] for letter in layer.columns))
    right = tuple((number[letter],) for letter in (*batch, *op.out))
    if left != right:
        result = graph.value(Rearranged(left, right, sizes), result)
    for letter in batch:
        result = graph.value(ToBatch(axis_of[letter]), result)
    return result


def _without_bias(graph: Graph, value: Value, layer: Layer, new: Mapping[Value, Value]) -> Value:
    """A sum without the term that became the bias of a layer."""
    op = value.op
    assert isinstance(op, Sum)
    terms = list(zip(value.args, op.coefficients, strict=True))
    removed = next(i for i, (term, _) in enumerate(terms) if term is layer.biased)
    rest = [
        (new[term], 1.0 if term is layer.product else c) for i, (term, c) in enumerate(terms) if i != removed
    ]
    if len(rest) == 1 and op.offset == 0.0:
        return rest[0][0]
    return graph.value(Sum(tuple(c for _, c in rest), op.offset), *(term for term, _ in rest), name=value.name)
