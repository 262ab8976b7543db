"""`Scalar`: one number, broadcast to a shape, without a dtype of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch

from scrub.graph.axis_names import as_axis_names
from scrub.graph.errors import ConstructionError
from scrub.graph.expr import AxisMap, Expr, Shape
from scrub.graph.registry import node
from scrub.graph.sizes import Size, as_shape


@node
class Scalar(Expr):
    """A number; takes the dtype of what it is combined with, float64 on its own.

    >>> Scalar(0.5, (2,)).evaluate()
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    __slots__ = ()
    axis_names_at = 2
    sizes_at = (1,)

    def __new__(
        cls,
        value: float,
        shape: Sequence[Size] = (),
        name: str | None = None,
        *,
        axis_names: Sequence[str | None] | None = None,
    ) -> Self:
        if not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConstructionError(
                f"Scalar {name!r}: expected an int or a float, found {type(value).__name__}",
                expected="int or float",
                found=type(value),
                hint="use Array for a tensor",
            )
        for kind in (bool, int, float):  # numpy's float64 is a float, but prints, and so hashes, differently
            if isinstance(value, kind):  # pyright: ignore[reportUnnecessaryIsInstance]
                value = kind(value)
                break
        names = as_axis_names(f"Scalar {name!r}", axis_names, len(shape)) if axis_names is not None else ()
        return cls.make((), (value, as_shape(shape), *names), name)

    @property
    def value(self) -> float:
        """The number."""
        return self.params[0]

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        return params[1], None

    def axis_map(self) -> AxisMap:
        return ()

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return torch.tensor(float(self.value), dtype=torch.float64).expand(self.shape)

    def param_text(self) -> str:
        return repr(self.value)

    def derived_name(self, names: object) -> str:
        return repr(self.value)

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        yield cls(2)
        yield cls(-0.5, (2, 3), name="half")
