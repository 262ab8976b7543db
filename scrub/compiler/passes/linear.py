"""Recognises linear layers: products of something computed with a weight, summed over all that the two share.

The weight is read as a matrix where it is, so nothing is added to memory. One that is no matrix in its memory layout is
copied once, up to a share of all weights; beyond that it is left to the contraction, which copies it in every run. A
bias that is added next goes in. Layers of one input whose weights lie next to each other in memory, as those of
queries, keys and values often do, become one product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from scrub.compiler.ops import Constant, Contract, Picked, Rearranged, Sum, ToBatch
from scrub.compiler.passes.layers import Copies, Layer, column_sizes, layer_of, take_bias
from scrub.compiler.values import Axis, Graph, Value, count_uses, values_below

MOST_COPIED = 0.25
"""How much of the bytes of all constants may be added by weights laid out anew."""


def recognise_linear(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs with one matrix product for every linear layer, or for several of one input.

    >>> from scrub.compiler.ops import Input
    >>> graph, cpu = Graph(), torch.device("cpu")
    >>> x = graph.value(Input("x", (3, 2), torch.float32, cpu, False))
    >>> w = graph.value(Constant("w", cpu, torch.ones(2, 4)))
    >>> recognise_linear(graph, [graph.value(Contract(((0, 1), (1, 2)), (0, 2)), x, w)])
    [[; 3, 4] linear]
    """
    order = list(values_below(outputs))
    held = {
        value.op.tensor.untyped_storage().data_ptr(): value.op.tensor
        for value in order
        if isinstance(value.op, Constant)
    }
    copies = Copies(int(MOST_COPIED * sum(tensor.untyped_storage().nbytes() for tensor in held.values())))
    layers = {value: layer for value in order if (layer := layer_of(value, copies)) is not None}
    if not layers:
        return list(outputs)
    uses = count_uses(outputs)
    biased = {value: layer for value in order if (layer := take_bias(value, layers, uses)) is not None}
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


def _runs(layers: Iterable[Layer]) -> list[list[Layer]]:
    """Layers in runs of one input and weights that lie next to each other."""
    groups: dict[object, list[Layer]] = {}
    for layer in layers:
        weight = layer.weight
        place = (weight.untyped_storage().data_ptr(), weight.stride(), weight.shape[0], weight.device)
        groups.setdefault((layer.x, layer.op, place), []).append(layer)
    runs: list[list[Layer]] = []
    for group in groups.values():
        group.sort(key=lambda layer: layer.weight.storage_offset())
        end = None
        for layer in group:
            start, (_, along) = layer.weight.storage_offset(), layer.weight.stride()
            if start == end:
                runs[-1].append(layer)
            else:
                runs.append([layer])
            end = start + layer.weight.shape[1] * along
    return runs


def _built(graph: Graph, layer: Layer, run: Sequence[Layer], new: Mapping[Value, Value]) -> Value:
    """What stands for the product: a part of the product of its run."""
    weight, bias = layer.weight, layer.bias
    if len(run) > 1:
        first = run[0].weight
        sizes = (first.shape[0], sum(other.weight.shape[1] for other in run))
        weight = first.as_strided(sizes, first.stride(), first.storage_offset())
        bias = _joined([other.bias for other in run], run)
    constants = _constants(graph, run, weight, bias)
    result = graph.value(layer.op, new[layer.x], *constants, name=layer.product.name)
    if len(run) > 1:
        start = sum(other.weight.shape[1] for other in run[: run.index(layer)])
        cut = (start, start + layer.weight.shape[1])
        result = graph.value(Picked((*(None for _ in result.shape[1:]), cut)), result)
    return _arranged(graph, layer, result)


def constants_of(graph: Graph, layer: Layer) -> list[Value]:
    """The weight of a layer as a matrix, and its bias if it has one."""
    return _constants(graph, [layer], layer.weight, layer.bias)


def _constants(graph: Graph, run: Sequence[Layer], weight: torch.Tensor, bias: torch.Tensor | None) -> list[Value]:
    key = " and ".join(layer.key for layer in run)
    found = [graph.value(Constant(f"matrix {key}", weight.device, weight))]
    if bias is not None:
        bias_key = " and ".join(layer.bias_key for layer in run)
        found.append(graph.value(Constant(f"bias {bias_key} of {key}", bias.device, bias)))
    return found


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
    sizes = (*result.shape[:-1], *column_sizes(layer))
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
    rest = [(new[term], 1.0 if term is layer.product else c) for i, (term, c) in enumerate(terms) if i != removed]
    if len(rest) == 1 and op.offset == 0.0:
        return rest[0][0]
    return graph.value(Sum(tuple(c for _, c in rest), op.offset), *(term for term, _ in rest), name=value.name)
