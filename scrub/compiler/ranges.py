"""Checks that what is bound as an index is one, before a program runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from scrub.compiler.emit import emit
from scrub.compiler.ops import Gather, Input
from scrub.compiler.values import Value, values_below
from scrub.graph.functions.gen_index import GenIndex


class Ranges:
    """The indices that a program does not check itself; those that are constant are checked at once.

    Args:
        inputs: of the program.
        outputs: of the program, as they were lowered.
    """

    def __init__(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
        wanted: dict[tuple[Value, int], GenIndex] = {}
        for value in values_below(outputs):
            if isinstance(value.op, Gather) and not value.op.is_checked:
                wanted[value.args[1], value.op.size(value)] = value.op.gen_index
        bound = {at: spec for at, spec in wanted.items() if any(isinstance(v.op, Input) for v in values_below([at[0]]))}
        constant = {at: spec for at, spec in wanted.items() if at not in bound}
        _check(constant, emit([index for index, _ in constant], [])())
        self._bound = bound
        self._indices = emit([index for index, _ in bound], inputs) if bound else None

    def check(self, tensors: Sequence[torch.Tensor]) -> None:
        """Raise a `ShapeError` that names the first index out of range, if there is one.

        Args:
            tensors: one for each input.
        """
        if self._indices is not None:
            _check(self._bound, self._indices(*tensors))


def _check(wanted: dict[tuple[Value, int], GenIndex], indices: Sequence[torch.Tensor]) -> None:
    for ((_, size), spec), index in zip(wanted.items(), indices, strict=True):
        spec.check_range(index, size)
