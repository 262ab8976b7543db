"""`Symbol`: a named, shaped placeholder; the parameter of a module."""

from __future__ import annotations

import uuid as uuid_module
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch

from scrub.graph.axis_names import as_axis_names
from scrub.graph.expr import AxisMap, Expr, Shape
from scrub.graph.registry import node
from scrub.graph.rules import uuid_from_name
from scrub.graph.sizes import Size, as_shape


@node
class Symbol(Expr):
    """A placeholder of known shape. Two symbols are the same only if uuid, name and shape are.

    >>> a = Symbol.new_with_random_uuid((2,), "a")
    >>> a == Symbol.new_with_random_uuid((2,), "a")
    False
    """

    __slots__ = ()
    axis_names_at = 2
    sizes_at = (0,)

    def __new__(
        cls,
        shape: Sequence[Size],
        uuid: str,
        name: str | None = None,
        *,
        axis_names: Sequence[str | None] | None = None,
    ) -> Self:
        names = as_axis_names(f"Symbol {name!r}", axis_names, len(shape)) if axis_names is not None else ()
        return cls.make((), (as_shape(shape), uuid, *names), name)

    @classmethod
    def new_with_random_uuid(
        cls, shape: Sequence[Size], name: str | None = None, *, axis_names: Sequence[str | None] | None = None
    ) -> Self:
        """A symbol that equals no other."""
        return cls(shape, str(uuid_module.uuid4()), name, axis_names=axis_names)

    @classmethod
    def new_from_name(cls, shape: Sequence[Size], name: str, *, axis_names: Sequence[str | None] | None = None) -> Self:
        """The symbol of that name and shape: the same one in every process."""
        return cls(shape, uuid_from_name(f"symbol {name} {as_shape(shape)}"), name, axis_names=axis_names)

    @property
    def uuid(self) -> str:
        """What tells it from other symbols of the same name."""
        return self.params[1]

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        return params[0], None

    @property
    def free_symbols(self) -> tuple[Symbol, ...]:
        return (self,)

    def axis_map(self) -> AxisMap:
        return ()

    def param_text(self) -> str:
        return self.uuid[:8]

    def derived_name(self, names: object) -> str:
        return f"Symbol {self.uuid[:8]}"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        yield cls.new_from_name((2, 3), "x")
