"""What a function declares to be applied by `GeneralFunction`, and the registry of all functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType
from typing import TypeVar, dataclass_transform

import torch

from scrub.graph.errors import ConstructionError, DtypeError
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
    """A function with its parameters as dataclass fields (ints, floats, bools, strings). Subclass and register it.

    >>> @function
    ... class CumulativeSum(Function):
    ...     def infer_shape(self, shapes):
    ...         (shape,) = shapes
    ...         if not shape:
    ...             raise ValueError("needs at least one axis")
    ...         return FunctionShape(shape, num_opaque=1, is_batchable=(True,), own_ndims=(1,))
    ...     def infer_dtype(self, dtypes):
    ...         return require_floating(self.label, dtypes[0])
    ...     def compute(self, *values):
    ...         return values[0].cumsum(-1)
    ...     @classmethod
    ...     def examples(cls):
    ...         yield cls(), (torch.ones(2, 3),)
    >>> import scrub as rc
    >>> from scrub.graph.testing import check_function
    >>> bool(check_function(CumulativeSum).num_computed > 50)
    True
    >>> rc.GeneralFunction(rc.Array(torch.ones(3), "x"), spec=CumulativeSum()).evaluate()
    tensor([1., 2., 3.])
    >>> del FUNCTIONS["cumulative_sum"]
    """

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

    def flops(self, shapes: Sequence[Shape]) -> int:
        """Operations on arguments of these shapes; one for each element of the result unless overridden."""
        return math.prod(self.infer_shape(shapes).shape)

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        """Instances with arguments they accept, for the conformance suite."""
        raise NotImplementedError


@dataclass(frozen=True)
class AlongLastAxis(Function):
    """A function of one tensor that computes the values along its last axis together, and keeps its shape."""

    def infer_shape(self, shapes: Sequence[Shape]) -> FunctionShape:
        (shape,) = shapes
        if not shape:
            raise ValueError("needs at least one axis")
        return FunctionShape(shape, 1, (True,), (1,))


FUNCTIONS: dict[str, type[Function]] = {}
"""The registered functions, by name."""

ELEMENTWISE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
"""The functions of one number that `Elementwise` applies to every element, by name."""


@dataclass_transform(frozen_default=True)
def function(cls: T) -> T:
    """Class decorator that registers a function under its name in snake case, and makes the class a frozen dataclass.

    Registering is all it takes to print, save, load and match it. `scrub.graph.testing.check_function` tries whether
    it does what it declares. Defining the same function again, as running a notebook cell twice does, gives the class
    that is registered already.

    Raises:
        ConstructionError: another function has this name, or it is no subclass of `Function`.
    """
    if not (isinstance(cls, type) and issubclass(cls, Function)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConstructionError(
            f"@function registers subclasses of Function, not {cls!r}",
            found=cls,
            hint="register_elementwise(name, compute) registers a plain function of one tensor",
        )
    name = function_name(cls)
    if "__dataclass_fields__" not in cls.__dict__:
        cls = dataclass(frozen=True)(cls)
    cls.__repr__ = _canonical_repr  # pyright: ignore[reportAttributeAccessIssue]
    registered = FUNCTIONS.get(name)
    if registered is not None and _is_same_class(registered, cls):
        return registered  # type: ignore[return-value]
    require_free_name(name, by=f"{cls.__module__}.{cls.__qualname__}")
    FUNCTIONS[name] = cls
    return cls


def require_free_name(name: str, *, by: str) -> None:
    """Raise a `ConstructionError` if a function of this name is registered; files and texts name functions."""
    taken: object = FUNCTIONS.get(name) or ELEMENTWISE.get(name)
    if taken is not None:
        owner = f"{getattr(taken, '__module__', None)}.{getattr(taken, '__qualname__', name)}"
        raise ConstructionError(
            f"a function named {name!r} is registered already, by {owner}; {by} needs another name",
            expected=f"none of {sorted([*FUNCTIONS, *ELEMENTWISE])}",
            found=name,
            hint="rename it; to change a registered function, start a new process: expressions may hold the old one",
        )


@lru_cache(maxsize=4096)
def function_name(cls: type[Function]) -> str:
    """`GenIndex` is registered as `gen_index`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("_")


def is_same_code(old: object, new: object) -> bool:
    """Whether two functions (or values) are the same, or were defined by the same lines."""
    if isinstance(old, classmethod | staticmethod) and type(old) is type(new):  # pyright: ignore[reportUnknownArgumentType]
        return is_same_code(old.__func__, new.__func__)  # type: ignore[attr-defined]
    if isinstance(old, property) and isinstance(new, property):
        return is_same_code(old.fget, new.fget)
    if isinstance(old, FunctionType) and isinstance(new, FunctionType):
        return old.__code__ == new.__code__ and old.__module__ == new.__module__ and old.__closure__ == new.__closure__
    return old is new


def _is_same_class(old: type[Function], new: type[Function]) -> bool:
    if (old.__module__, old.__qualname__, old.__bases__) != (new.__module__, new.__qualname__, new.__bases__):
        return False
    if [repr(f) for f in dataclasses.fields(old)] != [repr(f) for f in dataclasses.fields(new)]:
        return False
    own = [{k: v for k, v in vars(c).items() if not k.startswith("__") or k == "__post_init__"} for c in (old, new)]
    return own[0].keys() == own[1].keys() and all(is_same_code(own[0][key], own[1][key]) for key in own[0])


def _canonical_repr(self: Function) -> str:
    """Part of the digests of expressions, so it holds every field and does not depend on where the class stands."""
    fields = [f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self)]
    return f"{type(self).__name__}({', '.join(fields)})"


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
