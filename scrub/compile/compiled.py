"""What `compile` makes for inputs of one kind: torch modules, run on as many draws at a time as fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from scrub.compile.emit import emit, frontier
from scrub.compile.values import Value


class Kind(NamedTuple):
    """What a program must know of an input: everything but its content, and how many draws there are."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    is_drawn: bool

    @classmethod
    def of(cls, tensor: torch.Tensor, *, is_drawn: bool) -> Kind:
        """That of a tensor; with `is_drawn`, its first axis is the draws."""
        shape = tuple(tensor.shape[1:]) if is_drawn else tuple(tensor.shape)
        return cls(shape, tensor.dtype, tensor.device, is_drawn)


class Compiled:
    """Torch modules for inputs of one kind.

    What does not depend on draws is computed once for each run (`once`), the rest for one portion of the draws after
    another (`per_portion`).

    Args:
        inputs: in the order in which `run` takes their tensors.
        outputs: what is computed.
    """

    def __init__(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.kept = [value for value in frontier(outputs) if not value.is_drawn]
        undrawn = [value for value in inputs if not value.is_drawn]
        self.fixed = [output for output in dict.fromkeys(outputs) if not output.is_drawn]
        self.drawn = [output for output in dict.fromkeys(outputs) if output.is_drawn]
        once = list(dict.fromkeys([*self.kept, *self.fixed]))
        self.undrawn = undrawn
        self.computed_once = once
        self.once = emit(once, undrawn)
        self.per_portion = emit(self.drawn, [*inputs, *self.kept]) if self.drawn else None

    @torch.no_grad()
    def run(self, tensors: Sequence[torch.Tensor], *, portion: int | None = None) -> list[torch.Tensor]:
        """The values of the outputs.

        Args:
            tensors: one for each input.
            portion: draws computed at a time; all at once if None.
        """
        undrawn = [tensor for tensor, value in zip(tensors, self.inputs, strict=True) if not value.is_drawn]
        once = dict(zip(self.computed_once, self.once(*undrawn), strict=True))
        results = {value: once[value] for value in self.fixed}
        if self.per_portion is not None:
            kept = [once[value] for value in self.kept]
            n = next(len(tensor) for tensor, value in zip(tensors, self.inputs, strict=True) if value.is_drawn)
            size = n if portion is None else portion
            parts: list[tuple[torch.Tensor, ...]] = []
            for start in range(0, max(n, 1), max(size, 1)):
                cut = [
                    tensor[start : start + size] if value.is_drawn else tensor
                    for tensor, value in zip(tensors, self.inputs, strict=True)
                ]
                parts.append(self.per_portion(*cut, *kept))
            joined = parts[0] if len(parts) == 1 else [torch.cat(part) for part in zip(*parts, strict=True)]
            results |= dict(zip(self.drawn, joined, strict=True))
        return [results[output] for output in self.outputs]
