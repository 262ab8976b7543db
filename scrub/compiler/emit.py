"""Values become a `torch.fx.GraphModule`: one call after another, each result dropped after its last use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import fx

from scrub.compiler.ops import Constant, Fill, Input
from scrub.compiler.values import Value, Writer, values_below


def emit(outputs: Sequence[Value], given: Sequence[Value], order: Iterable[Value] | None = None) -> fx.GraphModule:
    """A module that computes `outputs` from `given`, its arguments in this order.

    Args:
        outputs: what it returns, as a tuple.
        given: inputs, and values that another module computed.
        order: all values below the outputs, arguments first; in order of first visit if None. What occurs again is
            computed again, and read from there on.

    The code that fx makes of the graph drops every result after its last use.
    """
    write = Writer()
    for i, value in enumerate(given):
        write.nodes[value] = write.graph.placeholder(f"given_{i}")
    stop = set(given)
    for value in values_until(outputs, given) if order is None else order:
        if value not in stop and not (value in write.nodes and not value.args):
            node = value.op.emit(value, write)
            node.meta.setdefault("value", value)  # an operation that changes nothing gives the node of its argument
            write.nodes[value] = node
    write.graph.output(tuple(write.nodes[value] for value in outputs))
    root = torch.nn.Module()
    for name, tensor in write.tensors.items():
        root.register_buffer(name, tensor, persistent=False)
    return fx.GraphModule(root, write.graph)


def values_until(outputs: Sequence[Value], given: Sequence[Value]) -> list[Value]:
    """Every distinct value below the outputs, arguments first, not going below `given`."""
    stop = set(given)
    needed: set[Value] = set()
    waiting = list(outputs)
    while waiting:
        value = waiting.pop()
        if value not in needed and value not in stop:
            needed.add(value)
            waiting.extend(value.args)
    return [value for value in values_below(outputs) if value in needed]


def frontier(outputs: Sequence[Value]) -> list[Value]:
    """What does not depend on draws and is computed, of that which is used by what does; and such outputs."""
    found: dict[Value, None] = {}
    for value in values_below(outputs):
        if value.is_drawn:
            found.update((arg, None) for arg in value.args if not arg.is_drawn)
    found.update((output, None) for output in outputs if not output.is_drawn)
    return [value for value in found if not isinstance(value.op, Constant | Fill | Input)]
