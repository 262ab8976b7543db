"""Functions of two numbers, element by element on two values of one shape: comparisons, extremes, remainders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from scrub.graph.errors import ConstructionError
from scrub.graph.expr import Shape
from scrub.graph.functions.base import Function, FunctionShape, function
from scrub.graph.rules import to_common_dtype


@dataclass(frozen=True)
class _Rule:
    compute: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    takes: str  # "any", "numbers" (not bool), "floats", "bits" (not floating)
    gives_bool: bool = False


BINARY: dict[str, _Rule] = {
    "lt": _Rule(torch.lt, "any", gives_bool=True),
    "le": _Rule(torch.le, "any", gives_bool=True),
    "gt": _Rule(torch.gt, "any", gives_bool=True),
    "ge": _Rule(torch.ge, "any", gives_bool=True),
    "eq": _Rule(torch.eq, "any", gives_bool=True),
    "ne": _Rule(torch.ne, "any", gives_bool=True),
    "minimum": _Rule(torch.minimum, "any"),
    "maximum": _Rule(torch.maximum, "any"),
    "divide": _Rule(torch.true_divide, "floats"),
    "divide_floor": _Rule(lambda x, y: torch.div(x, y, rounding_mode="floor"), "numbers"),
    "divide_trunc": _Rule(lambda x, y: torch.div(x, y, rounding_mode="trunc"), "numbers"),
    "remainder": _Rule(torch.remainder, "numbers"),
    "fmod": _Rule(torch.fmod, "numbers"),
    "atan2": _Rule(torch.atan2, "floats"),
    "bitwise_and": _Rule(torch.bitwise_and, "bits"),
    "bitwise_or": _Rule(torch.bitwise_or, "bits"),
    "bitwise_xor": _Rule(torch.bitwise_xor, "bits"),
}
"""The functions that `Binary` applies, by name. On booleans `bitwise_and` is "and", `bitwise_or` is "or"."""


@function
@dataclass(frozen=True)
class Binary(Function):
    """One of `BINARY` on two values of the same shape and dtype. Nothing is broadcast: `Rearrange` repeats."""

    function: str

    def __post_init__(self) -> None:
        if self.function not in BINARY:
            raise ConstructionError(
                f"{self.function!r} is not a function of two numbers",
                expected=sorted(BINARY),
                found=self.function,
                hint=f"one of {', '.join(sorted(BINARY))}",
            )

    @property
    def label(self) -> str:
        return self.function

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        x, y = shapes
        if x != y:
            raise ValueError(f"both arguments need the same shape, not {x} and {y}")
        return FunctionShape(x, 0, (True, True), (0, 0))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        rule = BINARY[self.function]
        known = {dtype for dtype in dtypes if dtype is not None}
        if len(known) > 1:
            raise ValueError(f"the arguments have different dtypes: {dtypes[0]} and {dtypes[1]}")
        for dtype in known:
            if rule.takes == "floats" and not dtype.is_floating_point:
                raise ValueError(f"needs a floating dtype, not {dtype}")
            if rule.takes == "bits" and dtype.is_floating_point:
                raise ValueError(f"needs integers or booleans, not {dtype}")
            if rule.takes == "numbers" and dtype == torch.bool:
                raise ValueError("needs numbers, not booleans")
        if rule.gives_bool:
            return torch.bool
        return known.pop() if known else None

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        x, y = values
        if x.dtype != y.dtype:  # then one is made of scalars alone, which take the dtype of the other
            x, y = to_common_dtype(self.function, values, y.dtype if x.dtype == torch.float64 else x.dtype)
        rule = BINARY[self.function]
        if rule.takes == "bits" and x.is_floating_point():  # both are made of scalars alone
            whole = to_common_dtype(self.function, (x, y), torch.int64)
            return rule.compute(*whole).to(x.dtype)
        return rule.compute(x, y)

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        for name, rule in BINARY.items():
            x, y = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[2, 2, 2], [7, 1, 6]])
            yield cls(name), (x, y) if rule.takes == "bits" else (x.float(), y.float())
