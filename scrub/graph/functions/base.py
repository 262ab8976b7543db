"""What a function declares to be applied by `GeneralFunction`, and the registry of all functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from scrub.graph.errors import DtypeError
from scrub.graph.expr import Shape

T = TypeVar("T", bound="type[Function]")


@dataclass(frozen=True)
class FunctionShape:
    """What a function makes of shapes (SPEC 2.6).

    Attributes:
        shape: of the result.
        num_opaque: number of trailing axes of the result whose values are computed together (softmax: 1). All axes
            before them are carried over one to one from every batchable input, aligned from the right.
        is_batchable: for each input, whether it may gain leading axes.
        own_ndims: for each input, how many of its trailing axes belong to the function itself.
    """

    shape: Shape
    num_opaque: int
    is_batchable: tuple[bool, ...]
    own_ndims: tuple[int, ...]


@dataclass(frozen=True)
class Function:
    """A function with its parameters as dataclass fields (ints, floats, bools, strings). Subclass and register it."""

    @property
    def label(self) -> str:
        """What to display."""
        return function_name(type(self))

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        """Shape of the result; raises `ValueError` with what does not fit (the node is added to the message)."""
        raise NotImplementedError

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        """Dtype of the result; raises `ValueError` for one that is not accepted."""
        raise NotImplementedError

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        """The result."""
        raise NotImplementedError

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        """Instances with arguments they accept, for the conformance suite."""
        raise NotImplementedError


FUNCTIONS: dict[str, type[Function]] = {}


def function(cls: T) -> T:
    """Class decorator that registers a function under its name in snake case."""
    name = function_name(cls)
    if name in FUNCTIONS:
        raise TypeError(f"a function named {name!r} is registered already")
    FUNCTIONS[name] = cls
    return cls


def function_name(cls: type[Function]) -> str:
    """`GenIndex` is registered as `gen_index`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("_")


def require_floating(what: str, dtype: torch.dtype | None) -> torch.dtype | None:
    """The dtype if it is floating or undecided."""
    if dtype is not None and not dtype.is_floating_point:
        raise DtypeError(
            f"{what} needs a floating dtype",
            expected="floating point",
            found=dtype,
            hint="convert with rc.cast_to(expr, torch.float32)",
        )
    return dtype
