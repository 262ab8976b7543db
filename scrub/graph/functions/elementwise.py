"""Functions of one number, applied to every element. `register_elementwise` registers one more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from scrub.graph.errors import ConstructionError
from scrub.graph.expr import Shape
from scrub.graph.functions.base import ELEMENTWISE, Function, FunctionShape, function, require_floating

_BUILTIN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sin": torch.sin,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "step": lambda x: (x > 0).to(x.dtype),
    "exp": torch.exp,
    "log": torch.log,
    "abs": torch.abs,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "logit": torch.logit,
    "gaussian_pdf": lambda x: torch.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "gaussian_cdf": torch.special.ndtr,
    "log_exp_p_1": F.softplus,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "expm1": torch.expm1,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "log10": torch.log10,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "asinh": torch.asinh,
    "atanh": torch.atanh,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "trunc": torch.trunc,
    "sign": torch.sign,
}
ELEMENTWISE.update(_BUILTIN)


@function
@dataclass(frozen=True)
class Elementwise(Function):
    """One of `ELEMENTWISE`, on a floating tensor of any shape."""

    function: str

    def __post_init__(self) -> None:
        if self.function not in ELEMENTWISE:
            raise ConstructionError(
                f"{self.function!r} is not an elementwise function",
                expected=sorted(ELEMENTWISE),
                found=self.function,
                hint=f"one of {', '.join(sorted(ELEMENTWISE))}; a new one is registered by register_elementwise",
            )

    @property
    def label(self) -> str:
        return self.function

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        (shape,) = shapes
        return FunctionShape(shape, 0, (True,), (0,))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        return require_floating(self.function, dtypes[0])

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return ELEMENTWISE[self.function](values[0])

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        for name in ELEMENTWISE:
            yield cls(name), (torch.linspace(0.1, 0.9, 6).reshape(2, 3),)
