"""Recognises log-probabilities of labels: a gather from a log-softmax that nothing else reads.

Where the logits are a linear layer that nothing else reads either, they are never there all at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scrub.compiler.ops import Contract, Picked, Sibling, ToBatch, ToCore
from scrub.compiler.ops.cross_entropy import LinearLogProbability, LogProbability
from scrub.compiler.passes.layers import Layer, layer_of, take_bias
from scrub.compiler.passes.linear import constants_of
from scrub.compiler.passes.recognising import applied, is_floating
from scrub.compiler.values import Graph, Value, count_uses, values_below
from scrub.graph.functions.gen_index import GenIndex
from scrub.graph.functions.softmax import LogSoftmax


def recognise_cross_entropy(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs with log-probabilities of labels computed without those of all words.

    >>> import torch
    >>> from scrub.compiler.ops import Apply, Input
    >>> graph, cpu = Graph(), torch.device("cpu")
    >>> logits = graph.value(Input("logits", (3, 9), torch.float32, cpu, False))
    >>> labels = graph.value(Input("labels", (3,), torch.int64, cpu, False))
    >>> every = graph.value(Apply(LogSoftmax()), logits)
    >>> recognise_cross_entropy(graph, [graph.value(Apply(GenIndex(0, True, True)), every, labels)])
    [[; 3] log probability]
    """
    order = list(values_below(outputs))
    if not any(isinstance(applied(value), LogSoftmax) for value in order):
        return list(outputs)
    uses = count_uses(outputs)
    new: dict[Value, Value] = {}
    for value in order:
        picked = _picked(value, uses)
        if picked is None:
            new[value] = graph.again(value, [new[arg] for arg in value.args])
        else:
            new[value] = _log_probability(graph, value, *picked, uses, new)
    return [new[output] for output in outputs]


def _picked(value: Value, uses: Mapping[Value, int]) -> tuple[Value, Value] | None:
    """Logits and labels, if the value is the log-probabilities of labels."""
    gather = applied(value)
    if not isinstance(gather, GenIndex) or not (gather.batch_x and gather.batch_index):
        return None
    log_probabilities, labels = value.args
    if not isinstance(applied(log_probabilities), LogSoftmax) or uses[log_probabilities] != 1:
        return None
    (logits,) = log_probabilities.args
    is_last = labels.shape == logits.shape[:-1] and is_floating(logits)
    return (logits, labels) if is_last and set(labels.axes).issubset(logits.axes) else None


def _log_probability(
    graph: Graph, value: Value, logits: Value, labels: Value, uses: Mapping[Value, int], new: Mapping[Value, Value]
) -> Value:
    found = _unembedding(logits, uses)
    if found is None:
        return graph.value(LogProbability(), new[logits], new[labels], name=value.name)
    layer, moves = found
    x = new[layer.x]
    for move in reversed(moves):
        x = graph.value(move.op, x)
    weight = constants_of(graph, layer)
    return graph.value(LinearLogProbability(layer.op.scale), x, new[labels], *weight, name=value.name)


def _unembedding(logits: Value, uses: Mapping[Value, int]) -> tuple[Layer, list[Value]] | None:
    """The linear layer that logits are, and what moves its rows, the last move first; if nothing else reads them."""
    moves: list[Value] = []
    value = logits
    while uses[value] == 1 and _moves_rows(value):
        moves.append(value)
        value = value.args[0]
    if uses[value] != 1:
        return None
    layer = layer_of(value)
    if layer is None:
        found = [(term, own) for term in value.args if (own := layer_of(term)) is not None and uses[term] == 1]
        if len(value.args) != 2 or not found:
            return None
        term, layer = found[0]
        if take_bias(value, {term: layer}, uses) is None or getattr(value.op, "offset", 0.0) != 0.0:
            return None
    op = layer.product.op
    assert isinstance(op, Contract)
    own = op.ins[0] if layer.product.args[0] is layer.x else op.ins[1]
    is_plain = layer.op.summed == (len(own) - 1,) and op.out == (*own[:-1], *layer.columns) and len(layer.columns) == 1
    return (layer, moves) if is_plain else None


def _moves_rows(value: Value) -> bool:
    """Whether the value is another one with rows moved or picked, the last axis left alone."""
    match value.op:
        case ToBatch():
            return bool(value.shape)
        case ToCore() | Sibling():
            return True
        case Picked(entries):
            return entries[-1] is None
        case _:
            return False
