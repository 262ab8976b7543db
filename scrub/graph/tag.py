"""`Tag`: an expression with a uuid, so that equal expressions can be told apart."""

from __future__ import annotations

import uuid as uuid_module
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch

from scrub.graph.array import Array
from scrub.graph.expr import AxisMap, Expr, Shape
from scrub.graph.registry import node
from scrub.graph.rules import uuid_from_name


@node
class Tag(Expr):
    """The value of `node`, under an identity of its own.

    >>> x = Array(torch.ones(2))
    >>> Tag.new_with_random_uuid(x) == Tag.new_with_random_uuid(x)
    False
    """

    __slots__ = ()

    def __new__(cls, node: Expr, uuid: str, name: str | None = None) -> Self:
        return cls.make((node,), (uuid,), name)

    @classmethod
    def new_with_random_uuid(cls, node: Expr, name: str | None = None) -> Self:
        """A tag that equals no other."""
        return cls(node, str(uuid_module.uuid4()), name)

    @classmethod
    def new_from_name(cls, node: Expr, name: str) -> Self:
        """The tag of that name: the same one in every process, so that draws made for it can be repeated."""
        return cls(node, uuid_from_name(f"tag {name}"), name)

    @property
    def node(self) -> Expr:
        """What is tagged."""
        return self.children[0]

    @property
    def uuid(self) -> str:
        """The identity."""
        return self.params[0]

    @classmethod
    def infer(
        cls, children: tuple[Expr, ...], params: tuple[Any, ...], name: str | None
    ) -> tuple[Shape, torch.dtype | None]:
        return children[0].shape, children[0].dtype

    def axis_map(self) -> AxisMap:
        return (tuple(range(self.ndim)),)

    def batched(self, children: tuple[Expr, ...], ranks: tuple[int, ...], batch: Shape) -> Expr:
        return self.with_children(children)

    def compute(self, *values: torch.Tensor) -> torch.Tensor:
        return values[0]

    def param_text(self) -> str:
        return self.uuid[:8]

    def derived_name(self, names: Sequence[str]) -> str:
        return f"tag({names[0]})"

    @classmethod
    def examples(cls) -> Iterator[Expr]:
        yield cls.new_from_name(Array(torch.arange(3.0), "x"), "tagged")
