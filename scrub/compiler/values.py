"""The compiler's intermediate form: values, each an operation on values, with batch axes apart from its own.

An operation is defined on the trailing axes of its arguments, their *core*. In front of them a value may have *batch
axes*, which are told by identity, not by position: the draws of the random variables, the heads that a module is called
with, the siblings that are computed together. An operation works along any batch axes of its arguments; the result has
their union. So batching a subgraph is giving some of its arguments an axis more, and nothing else changes.

Values are interned per `Graph`: the same operation on the same arguments is the same value, which is all there is to
common subexpressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import fx

Sizes = tuple[int, ...]


class Axis(NamedTuple):
    """A batch axis. Values have theirs in ascending order; axes with the same order never meet in one value.

    Attributes:
        order: where it comes among the axes of a value, and what tells it from others.
        size: None for the axis of draws, which is as long as what is bound at run time.
    """

    order: int
    size: int | None


DRAWS = Axis(0, None)
"""The axis of draws, first in every value that depends on what is bound draw by draw."""


class Op:
    """What is done with the arguments: frozen, compared by its fields. Subclass as a frozen dataclass.

    Attributes:
        is_view: whether the result shares memory with its first argument, so that it takes none of its own.
    """

    __slots__ = ()
    is_view: bool = False

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        """Core shape and dtype of the result, from those of the arguments."""
        raise NotImplementedError(type(self).__name__)

    def axes(self, args: Sequence[Value]) -> tuple[Axis, ...]:
        """Batch axes of the result: all that an argument has, unless the operation is about batch axes."""
        return union_of_axes(args)

    def emit(self, value: Value, write: Writer) -> fx.Node:
        """Write the torch calls that compute `value`, of which this is the operation."""
        raise NotImplementedError(type(self).__name__)

    def flops(self, value: Value) -> int:
        """Arithmetic operations for one position of the batch axes, in the conventions of `scrub.graph.cost`."""
        return 0

    def scratch(self, value: Value) -> int:
        """Bytes that it needs only while it runs, for one draw if the value is drawn."""
        return 0

    @property
    def label(self) -> str:
        """What a plan shows."""
        return type(self).__name__.lower()


class Value:
    """The result of an operation. Made by `Graph.value`.

    Attributes:
        op, args: what computes it.
        axes, shape: batch axes and core shape. The tensor has the sizes of the batch axes in front of the core.
        dtype: None for what is made of scalars alone: computed in float64, takes the dtype of what it meets.
        device: None where nothing decides it.
        name: of the first named expression it came from, for plans and messages.
    """

    __slots__ = ("args", "axes", "device", "dtype", "name", "op", "shape")

    def __init__(
        self,
        op: Op,
        args: tuple[Value, ...],
        axes: tuple[Axis, ...],
        shape: Sizes,
        dtype: torch.dtype | None,
        device: torch.device | None,
    ) -> None:
        self.op, self.args, self.axes, self.shape, self.dtype, self.device = op, args, axes, shape, dtype, device
        self.name: str | None = None

    @property
    def is_drawn(self) -> bool:
        """Whether there is one for every draw."""
        return bool(self.axes) and self.axes[0] == DRAWS

    @property
    def numel(self) -> int:
        """Elements, for one draw if there is one for each."""
        count = 1
        for size in self.shape:
            count *= size
        for axis in self.axes:
            count *= 1 if axis.size is None else axis.size
        return count

    @property
    def nbytes(self) -> int:
        """Bytes, for one draw if there is one for each."""
        return self.numel * (self.dtype or torch.float64).itemsize

    def __repr__(self) -> str:
        axes = [f"{'draws' if axis == DRAWS else f'{axis.order}'}:{axis.size or 'n'}" for axis in self.axes]
        name = f"{self.name!r} " if self.name else ""
        return f"{name}[{', '.join(axes)}; {', '.join(map(str, self.shape))}] {self.op.label}"


class Graph:
    """Values by what they are computed from.

    Args:
        assumed_draws: how many draws passes count with where it matters how large values are.

    >>> from scrub.compiler.ops import Fill, Sum
    >>> graph = Graph()
    >>> two = graph.value(Fill(2.0, ()))
    >>> graph.value(Fill(2.0, ())) is two
    True
    """

    def __init__(self, *, assumed_draws: int = 16) -> None:
        self.assumed_draws = assumed_draws
        self._values: dict[tuple[Op, tuple[Value, ...]], Value] = {}
        self._next_order = 1_000_000

    def value(self, op: Op, *args: Value, name: str | None = None) -> Value:
        """The value of an operation on arguments: the one there is, or a new one."""
        key = (op, args)
        known = self._values.get(key)
        if known is None:
            shape, dtype = op.infer(args)
            device = next((arg.device for arg in args if arg.device is not None), getattr(op, "device", None))
            known = self._values[key] = Value(op, args, op.axes(args), shape, dtype, device)
        if known.name is None:
            known.name = name
        return known

    def nbytes(self, value: Value) -> int:
        """Bytes of a value, at the assumed number of draws."""
        return value.nbytes * (self.assumed_draws if value.is_drawn else 1)

    def axis(self, size: int) -> Axis:
        """A batch axis that no value has yet."""
        self._next_order += 1
        return Axis(self._next_order, size)

    def again(self, value: Value, args: Sequence[Value]) -> Value:
        """The operation of a value on other arguments; the value itself if they are the same."""
        args = tuple(args)
        return value if args == value.args else self.value(value.op, *args, name=value.name)


class Writer:
    """Writes torch calls into an fx graph; knows the node of every value written so far."""

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.nodes: dict[Value, fx.Node] = {}
        self.tensors: dict[str, torch.Tensor] = {}

    def call(self, function: Callable[..., object], *args: object, **kwargs: object) -> fx.Node:
        """A call of a function on nodes and constants."""
        return self.graph.call_function(function, args, kwargs)  # pyright: ignore[reportArgumentType]

    def tensor(self, tensor: torch.Tensor) -> fx.Node:
        """A tensor that the program holds."""
        name = f"tensor_{len(self.tensors)}"
        self.tensors[name] = tensor
        return self.graph.get_attr(name)

    def node(self, value: Value, dtype: torch.dtype | None = None) -> fx.Node:
        """The node of an argument, in a dtype if one is given."""
        node = self.nodes[value]
        if dtype is None or (value.dtype or torch.float64) == dtype:
            return node
        return self.call(as_dtype, node, dtype)

    def aligned(
        self, value: Value, axes: Sequence[Axis], *, ndim: int | None = None, dtype: torch.dtype | None = None
    ) -> fx.Node:
        """The node of an argument with an axis of size 1 for each of `axes` it lacks, so that it broadcasts.

        Args:
            value: the argument.
            axes: batch axes of the result, of which the argument has some.
            ndim: number of core axes of the result; the argument gets axes of size 1 in front of its own.
            dtype: of the result.
        """
        node = self.node(value, dtype)
        missing = [position for position, axis in enumerate(axes) if axis not in value.axes]
        inserted = (ndim or 0) - len(value.shape) if ndim is not None else 0
        first_own = next((i for i, axis in enumerate(axes) if axis in value.axes), len(axes))
        needed = [position for position in missing if position > first_own]  # those in front broadcast by themselves
        if value.axes and inserted > 0:
            needed += range(len(axes), len(axes) + inserted)
        if not needed:
            return node
        offset = first_own
        for position in needed:
            node = self.call(torch.unsqueeze, node, position - offset)
        return node

    def expanded(self, values: Sequence[Value], dtype: torch.dtype | None = None) -> list[fx.Node]:
        """The nodes of arguments, each repeated along the batch axes that it lacks of their union."""
        axes = union_of_axes(values)
        drawn = next((value for value in values if value.is_drawn), None)
        nodes: list[fx.Node] = []
        for value in values:
            node = self.node(value, dtype)
            for position, axis in enumerate(axes):
                if axis in value.axes:
                    continue
                if axis.size is not None:
                    node = self.call(repeated, node, position, axis.size)
                elif drawn is not None:
                    node = self.call(repeated_for_draws, node, self.nodes[drawn])
            nodes.append(node)
        return nodes


def as_dtype(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The tensor in a dtype; a scalar that an integer dtype cannot hold is an error."""
    from scrub.graph.rules import to_common_dtype

    if dtype.is_floating_point or not tensor.is_floating_point():
        return tensor.to(dtype)
    return to_common_dtype("compile", [tensor], dtype)[0]


def repeated(tensor: torch.Tensor, position: int, size: int) -> torch.Tensor:
    """The tensor with a new axis of that size, without copying."""
    shape = list(tensor.shape)
    shape.insert(position, size)
    return tensor.unsqueeze(position).expand(shape)


def repeated_for_draws(tensor: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """The tensor repeated for every draw of another, without copying."""
    return tensor.expand(drawn.shape[0], *tensor.shape)


def union_of_axes(args: Sequence[Value]) -> tuple[Axis, ...]:
    """All batch axes of the arguments, in order."""
    largest: tuple[Axis, ...] = ()
    for arg in args:
        if arg.axes and arg.axes != largest:
            largest = arg.axes if not largest else tuple(sorted({*largest, *arg.axes}, key=_order))
    return largest


def _order(axis: Axis) -> int:
    return axis.order


def values_below(outputs: Iterable[Value]) -> Iterator[Value]:
    """Every distinct value once, arguments first."""
    seen: set[Value] = set()
    done: set[Value] = set()
    stack = list(outputs)[::-1]
    while stack:
        value = stack[-1]
        if value not in seen:
            seen.add(value)
            stack.extend([arg for arg in reversed(value.args) if arg not in seen])
            continue
        stack.pop()
        if value not in done:
            done.add(value)
            yield value


def rewritten(
    outputs: Sequence[Value], transform: Callable[[Value, tuple[Value, ...]], Value]
) -> tuple[list[Value], dict[Value, Value]]:
    """Outputs with every value transformed, arguments first: `transform(value, new arguments) -> new value`."""
    new: dict[Value, Value] = {}
    for value in values_below(outputs):
        new[value] = transform(value, tuple(new[arg] for arg in value.args))
    return [new[output] for output in outputs], new


def count_uses(outputs: Sequence[Value]) -> dict[Value, int]:
    """How many arguments, and outputs, each value is."""
    uses: dict[Value, int] = {}
    for value in values_below(outputs):
        for arg in value.args:
            uses[arg] = uses.get(arg, 0) + 1
    for output in outputs:
        uses[output] = uses.get(output, 0) + 1
    return uses
