"""`GeneralFunction`: a registered function applied to expressions."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Self, cast

import torch

from scrub.graph.array import Array
from scrub.graph.errors import BatchError, ConstructionError, DtypeError, ShapeError
from scrub.graph.expr import AxisMap, AxisUse, Expr, Shape
from scrub.graph.functions import ELEMENTWISE, FUNCTIONS, Function, FunctionShape
from scrub.graph.functions.base import function_name, is_same_code, require_free_name
from scrub.graph.functions.elementwise import Elementwise
from scrub.graph.functions.gen_index import GenIndex
from scrub.graph.functions.softmax import LogSoftmax, Softmax
from scrub.graph.rearrange import repeat_axes
from scrub.graph.registry import node


@node
class GeneralFunction(Expr):
    """`spec(*exprs)`, where `spec` is a registered `Function` with its parameters.

    >>> GeneralFunction(Array(torch.zeros(2)), spec=Softmax()).evaluate()
    tensor([0.5000, 0.5000])
    """

    __slots__ = ()

    def __new__(cls, *exprs: Expr, spec: Function, name: str | None = None) -> Self:
        if not isinstance(spec, Function):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConstructionError(
                f"GeneralFunction {name!r}: spec is a Function, not {spec!r}", hint=f"known: {sorted(FUNCTIONS)}"
            )
        if FUNCTIONS.get(function_name(type(spec))) is not type(spec):
            raise ConstructionError(
                f"GeneralFunction {name!r}: {type(spec).__qualname__} is not registered, so no file could name it",
                nodes=exprs,
                found=type(spec),
                hint="put @function above the class",
            )
        return cls.make(exprs, (spec,), name)

    @classmethod
    def gen_index(
        cls,
        x: Expr,
        index: Expr,
        index_dim: int,
        batch_x: bool = False,
        batch_index: bool = True,
        name: str | None = None,
    ) -> Self:
        """Gather from `x` at `index`; see `GenIndex`.

        >>> table = Array(torch.arange(10.0).reshape(5, 2))
        >>> GeneralFunction.gen_index(table, Array(torch.tensor([3, 0])), index_dim=0).evaluate()
        tensor([[6., 7.],
                [0., 1.]])
        """
        return cls(x, index, spec=GenIndex(operator.index(index_dim), batch_x, batch_index), name=name)

    @property
    def spec(self) -> Function:
        """The function."""
        return self.params[0]

    def function_shape(self) -> FunctionShape:
        """What the function makes of the children's shapes."""
        return self.spec.infer_shape([child.shape for child in self.children])

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        (spec,) = params
        _check_fields(spec, name)
        what = f"GeneralFunction {name!r}: {spec.label}"
        try:
            shape = spec.infer_shape([child.shape for child in children]).shape
        except ValueError as error:
            raise ShapeError(f"{what}: {error}", nodes=children, found=[c.shape for c in children]) from error
        try:
            return shape, spec.infer_dtype([child.dtype for child in children])
        except (ValueError, DtypeError) as error:
            problem = error.problem if isinstance(error, DtypeError) else f"{spec.label}: {error}"
            hint = error.hint if isinstance(error, DtypeError) else None
            raise DtypeError(
                f"GeneralFunction {name!r}: {problem}", nodes=children, found=[c.dtype for c in children], hint=hint
            ) from error

    def axis_map(self) -> AxisMap:
        shape = self.function_shape()
        num_free = len(shape.shape) - shape.num_opaque
        maps: list[tuple[int | AxisUse, ...]] = []
        for child, own in zip(self.children, shape.own_ndims, strict=True):
            free = child.ndim - own
            maps.append(tuple(k + num_free - free if k < free else AxisUse.MIXED for k in range(child.ndim)))
        return tuple(maps)

    def name_map(self) -> AxisMap:
        """A function of one argument that keeps its shape, such as softmax, keeps the names of all axes."""
        if len(self.children) == 1 and self.children[0].shape == self.shape:
            return (tuple(range(self.ndim)),)
        return self.axis_map()

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        shape = self.function_shape()
        aligned: list[Expr] = []
        for i, (child, rank) in enumerate(zip(children, ranks, strict=True)):
            if not shape.is_batchable[i]:
                if rank:
                    raise BatchError(
                        f"GeneralFunction {self.name!r}: argument {i} of {self.spec.label} takes no batch axes",
                        nodes=[self, child],
                        expected=self.children[i].shape,
                        found=child.shape,
                        hint="a table that is itself random needs gen_index(..., batch_x=True)",
                    )
                aligned.append(child)
            else:
                aligned.append(repeat_axes(child, batch[: len(batch) - rank]))
        return GeneralFunction(*aligned, spec=self.spec, name=self.name)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        result = self.spec.compute(*values)
        declared = self.spec.infer_shape([tuple(value.shape) for value in values]).shape
        if tuple(result.shape) != declared or (self.dtype is not None and result.dtype != self.dtype):
            raise ShapeError(
                f"GeneralFunction {self.name!r}: {self.spec.label} computed {list(result.shape)} {result.dtype}, "
                f"but declares {list(declared)} {self.dtype or result.dtype}",
                nodes=[self],
                expected=(declared, self.dtype),
                found=(tuple(result.shape), result.dtype),
                hint="scrub.graph.testing.check_function shows where its rules and its values disagree",
            )
        return result

    def flops(self) -> int:
        return self.spec.flops([child.shape for child in self.children])

    def param_text(self) -> str:
        return self.spec.label

    def derived_name(self, names: Sequence[str]) -> str:
        return f"{self.spec.label}({', '.join(names)})"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        for registered in FUNCTIONS.values():
            for spec, arguments in registered.examples():
                yield cls(*(Array(argument) for argument in arguments), spec=spec)


def _check_fields(spec: Function, name: str | None) -> None:
    """Digests and files hold the fields as text, which only these types survive."""
    for field in dataclasses.fields(spec):
        value: Any = getattr(spec, field.name)
        parts = cast("tuple[Any, ...]", value) if type(value) is tuple else (value,)
        if not all(part is None or type(part) in (bool, int, float, str) for part in parts):
            raise ConstructionError(
                f"GeneralFunction {name!r}: field {field.name!r} of {spec.label} is a {value.__class__.__name__}",
                expected="None, a bool, int, float or str, or a tuple of these",
                found=cast("object", value),
                hint="a tensor is an argument of a function, not a field",
            )


def register_elementwise(name: str, compute: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., GeneralFunction]:
    """Register a function of one number: from then on `elementwise(name, x)` applies it to every element.

    Args:
        name: what expressions and files call it.
        compute: from a floating tensor to one of the same shape and dtype; it must not write into its argument.
            `scrub.graph.testing.check_function(name)` tries whether it does so.

    Returns:
        `lambda x, name=None: elementwise(..., x, name)`.

    Raises:
        ConstructionError: another function has this name, or it is no identifier.

    >>> square = register_elementwise("square_of_it", torch.square)
    >>> square(Array(torch.tensor([3.0])), name="nine").evaluate()
    tensor([9.])
    """
    if not name.isidentifier():
        raise ConstructionError(f"register_elementwise: {name!r} is not an identifier", found=name)
    known = ELEMENTWISE.get(name)
    if known is None or not is_same_code(known, compute):
        require_free_name(name, by=f"{compute.__module__}.{getattr(compute, '__qualname__', name)}")
        ELEMENTWISE[name] = compute
    return partial(elementwise, name)


def elementwise(function: str, x: Expr, name: str | None = None) -> GeneralFunction:
    """`function(x)` for a function of one number: "exp", "relu", "rsqrt", ...

    >>> elementwise("exp", Array(torch.zeros(1))).evaluate()
    tensor([1.])
    """
    return GeneralFunction(x, spec=Elementwise(function), name=name)


def softmax(x: Expr, name: str | None = None) -> GeneralFunction:
    """Softmax over the last axis.

    >>> softmax(Array(torch.zeros(4))).evaluate()
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return GeneralFunction(x, spec=Softmax(), name=name)


def log_softmax(x: Expr, name: str | None = None) -> GeneralFunction:
    """Log-softmax over the last axis.

    >>> log_softmax(Array(torch.zeros(1, 3))).shape
    (1, 3)
    """
    return GeneralFunction(x, spec=LogSoftmax(), name=name)
