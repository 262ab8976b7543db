"""Powers, broadcast like numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.errors import DtypeError
from scrub.graph.expr import Shape
from scrub.graph.functions.base import Function, FunctionShape, function
from scrub.graph.rules import to_common_dtype


@function
@dataclass(frozen=True)
class Pow(Function):
    """`base ** exponent`, elementwise. The one with fewer axes takes no batch axes.

    Integers have no negative powers: that is an error at evaluation.
    """

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        base, exponent = shapes
        longer, shorter = (base, exponent) if len(base) >= len(exponent) else (exponent, base)
        offset = len(longer) - len(shorter)
        shape = list(longer)
        for axis, size in enumerate(shorter, start=offset):
            if shape[axis] == 1:
                shape[axis] = size
            elif size != 1 and size != shape[axis]:
                raise ValueError(f"base {base} and exponent {exponent} do not broadcast")
        overlap = list(zip(longer[offset:], shorter, strict=True))
        own = len(overlap)  # trailing axes from the first along which one of the two is broadcast
        while own and overlap[len(overlap) - own][0] == overlap[len(overlap) - own][1]:
            own -= 1
        is_batchable = (len(base) == len(shape), len(exponent) == len(shape))
        return FunctionShape(tuple(shape), own, is_batchable, (own, own))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        known = {dtype for dtype in dtypes if dtype is not None}
        if len(known) > 1:
            raise ValueError(f"base and exponent have different dtypes: {dtypes[0]} and {dtypes[1]}")
        if torch.bool in known:
            raise ValueError("booleans have no powers")
        return known.pop() if known else None

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        base, exponent = values
        if base.dtype != exponent.dtype:  # then one is made of scalars alone, which take the dtype of the other
            dtype = exponent.dtype if base.dtype == torch.float64 else base.dtype
            base, exponent = to_common_dtype("pow", values, dtype)
        if not exponent.is_floating_point() and bool((exponent < 0).any()):
            raise DtypeError(
                "pow: a negative power of integers",
                expected="an exponent of 0 or more",
                found=int(exponent.min()),
                hint="cast the base to a floating dtype with rc.cast_to(expr, torch.float32)",
            )
        return torch.pow(base, exponent)

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        yield cls(), (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor(-0.5))
        yield cls(), (torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0, 3.0]]))
