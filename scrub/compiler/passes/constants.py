"""`constants`: what depends on constants alone is computed once and for all, where that costs little memory.

Views of constants always are: they take no memory, weights stay where the user has them, and side by side they become
one view again where they lie so in memory. Other results must be small, next to what they are made of and to all
constants together: never a product of two weights that is larger than the two.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
import xxhash

from scrub.compiler.ops import (
    Apply,
    Constant,
    Contract,
    Fill,
    Joined,
    OnDiagonal,
    Picked,
    Rearranged,
    Sibling,
    Stacked,
    Sum,
    ToBatch,
    ToCore,
)
from scrub.compiler.passes.stored import is_view_of, one_view, place_in_memory
from scrub.compiler.values import Graph, Value, Writer, count_uses, rewritten

logger = logging.getLogger(__name__)

MOVES = (Rearranged, Picked, ToBatch, ToCore, Sibling)
FOLDABLE = (*MOVES, Joined, Stacked, Contract, Sum, OnDiagonal, Apply)

SMALL_BYTES = 64 << 10
"""Results up to this are kept even if they are larger than what they are made of."""
MOST_WORK = 1 << 22
"""Operations and numbers for one result: more is not done before the program runs."""
_LITTLE_WORK = 1 << 14  # that may be done again for every result that needs it


def fold_constants(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs, with constants in place of what is computed from constants.

    >>> graph = Graph()
    >>> weight = torch.arange(6.0).reshape(2, 3)
    >>> constant = graph.value(Constant("w", weight.device, weight))
    >>> (row,) = fold_constants(graph, [graph.value(Picked((0, None)), constant)])
    >>> row.op.tensor, row.op.tensor.data_ptr() == weight.data_ptr()
    (tensor([0., 1., 2.]), True)
    """
    folding = _Folding(graph, outputs)
    with torch.inference_mode(mode=False), torch.no_grad():
        folded = rewritten(outputs, folding.transformed)[0]
    if folding.added_bytes:
        logger.info("%d results of constants are kept, which takes %d bytes", folding.num_kept, folding.added_bytes)
    return folded


class _Now(Writer):
    """Computes at once what other writers write down."""

    def call(self, function: Callable[..., object], *args: object, **kwargs: object) -> Any:
        return function(*args, **kwargs)

    def tensor(self, tensor: torch.Tensor) -> Any:
        return tensor


class _Folding:
    """One pass over one graph.

    Attributes:
        tensors: of values that are constants, or batch axes of constants.
        pending: other values of constants alone, and the work to compute each.
        digests: tell all these apart.
        sources: bytes of the constants that they are made of.
        places: digests of tensors by where they are in memory.
        added_bytes, num_kept: of results that are no views.
    """

    def __init__(self, graph: Graph, outputs: Sequence[Value]) -> None:
        self.graph, self.write = graph, _Now()
        self.tensors: dict[Value, torch.Tensor] = {}
        self.pending: dict[Value, int] = {}
        self.digests: dict[Value, str] = {}
        self.sources: dict[Value, int] = {}
        self.places: dict[tuple[object, ...], str] = {}
        self.uses = count_uses(outputs)
        self.outputs = set(outputs)
        constant_bytes = sum(value.nbytes for value in self.uses if isinstance(value.op, Constant))
        self.most_bytes = max(SMALL_BYTES, constant_bytes // 100)
        self.room = max(1 << 20, constant_bytes // 20)
        self.room_for_picked = constant_bytes // 4
        self.added_bytes, self.num_kept = 0, 0

    def transformed(self, value: Value, args: tuple[Value, ...]) -> Value:
        """A value on new arguments, or the constant that it is."""
        new = self.graph.again(value, args)
        op = new.op
        if isinstance(op, Constant):
            self._note(new, op.tensor, op.digest, new.nbytes)
        elif isinstance(op, Fill):
            self.pending[new], self.digests[new], self.sources[new] = 0, repr(op), 0
        elif args and isinstance(op, FOLDABLE) and all(arg in self.digests for arg in args):
            return self._folded(value, new)
        return new

    def _folded(self, value: Value, new: Value) -> Value:
        told_by = "\n".join((repr(new.op), *(self.digests[arg] for arg in new.args)))
        digest = xxhash.xxh3_128(told_by.encode()).hexdigest()
        sources = sum(self.sources[arg] for arg in dict.fromkeys(new.args))
        viewed = self._viewed(new)
        if viewed is not None:
            return self._held(new, viewed, digest, sources)
        work = self._work(new)
        if value not in self.outputs and new.dtype is not None and self._pays(new, sources) and work <= MOST_WORK:
            self.added_bytes += new.nbytes
            self.num_kept += 1
            return self._held(new, self._computed(new), digest, sources)
        if work <= (MOST_WORK if self.uses.get(value, 1) == 1 else _LITTLE_WORK):
            self.pending[new], self.digests[new], self.sources[new] = work, digest, sources
        return new

    def _viewed(self, new: Value) -> torch.Tensor | None:
        """The value as a view of memory that constants have already; None if it is none."""
        if not all(arg in self.tensors for arg in new.args):
            return None
        tensors = [self.tensors[arg] for arg in new.args]
        if isinstance(new.op, MOVES):
            stand_in = torch.empty_strided(tensors[0].shape, tensors[0].stride(), device="meta", dtype=new.dtype)
            if isinstance(new.op, Picked) and not new.op.is_view:
                return None
            is_view = is_view_of(self._emitted(new, {new.args[0]: stand_in}), stand_in)
            return self._emitted(new, self.tensors) if is_view else None
        if isinstance(new.op, Joined) and len({(arg.axes, arg.dtype) for arg in new.args}) == 1:
            return one_view(tensors, len(new.axes) + new.op.axis, is_new=False)
        if isinstance(new.op, Stacked) and all(arg.dtype == new.dtype for arg in new.args):
            parts: list[torch.Tensor] = []
            for arg, run, tensor in zip(new.args, new.op.runs, tensors, strict=True):
                of_run = range(run.start, run.start + run.length)
                parts += [tensor] if run.axis is None else [tensor.select(arg.axes.index(run.axis), i) for i in of_run]
            return one_view(parts, new.axes.index(new.op.axis), is_new=True)
        return None

    def _pays(self, new: Value, sources: int) -> bool:
        if isinstance(new.op, Picked) and new.nbytes <= sources and new.nbytes <= self.room_for_picked:
            self.room_for_picked -= new.nbytes  # some heads of a layer, say, which every run would pick again
            return True
        is_small = new.nbytes <= SMALL_BYTES or new.nbytes <= min(sources, self.most_bytes)
        return is_small and self.added_bytes + new.nbytes <= self.room

    def _work(self, new: Value) -> int:
        positions = new.numel // max(1, torch.Size(new.shape).numel())
        own = new.op.flops(new) * max(positions, 1) + new.numel
        return own + sum(self.pending.get(arg, 0) for arg in dict.fromkeys(new.args))

    def _computed(self, new: Value) -> torch.Tensor:
        known: dict[Value, torch.Tensor] = {}
        stack = [new]
        while stack:
            value = stack[-1]
            waiting = [arg for arg in value.args if arg not in known]
            known |= {arg: self.tensors[arg] for arg in waiting if arg in self.tensors}
            stack += [arg for arg in waiting if arg not in known]
            if stack[-1] is value:
                known[stack.pop()] = self._emitted(value, known)
        found = known[new]
        return found.clone() if found.untyped_storage().nbytes() > 2 * new.nbytes else found

    def _emitted(self, value: Value, known: dict[Value, torch.Tensor]) -> torch.Tensor:
        """The tensor of a value, from those of its arguments."""
        write: Any = self.write
        write.nodes = known
        emitted: Any = value.op.emit(value, write)
        return emitted

    def _held(self, new: Value, tensor: torch.Tensor, digest: str, sources: int) -> Value:
        """The tensor as a constant, with the batch axes of the value."""
        place = place_in_memory(tensor)
        digest = self.places.setdefault(place, digest) if place else digest
        result = self.graph.value(Constant(digest, tensor.device, tensor))
        self._note(result, tensor, digest, sources)
        for axis in new.axes:
            result = self.graph.value(ToBatch(axis), result)
            self._note(result, tensor, f"{digest} {axis}", sources)
        result.name = result.name or new.name
        return result

    def _note(self, value: Value, tensor: torch.Tensor, digest: str, sources: int) -> None:
        self.tensors[value], self.digests[value], self.sources[value] = tensor, digest, sources
        if isinstance(value.op, Constant) and (place := place_in_memory(tensor)):
            self.places.setdefault(place, digest)
