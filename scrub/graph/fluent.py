"""Operations offered as methods of every expression, though they live in packages above this one.

`expr.update(...)` reads better than `update(expr, ...)`, but `scrub.graph` must not import `scrub.rewrite`. So the
methods are declared here with their types, and each package provides the ones it implements when it is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

    from scrub.graph.array import Array
    from scrub.graph.cost import Cost
    from scrub.graph.expr import Expr
    from scrub.graph.module import Module
    from scrub.graph.tag import Tag

F = TypeVar("F", bound=Callable[..., Any])

_OPERATIONS: dict[str, Callable[..., Any]] = {}


def provide(operation: F) -> F:
    """Make a function `f(expr, ...)` available as the method of the same name declared in `Fluent`."""
    if operation.__name__ not in Fluent.__dict__:
        raise TypeError(f"Fluent declares no method {operation.__name__!r}")
    _OPERATIONS[operation.__name__] = operation
    return operation


class Fluent:
    """Mixin of `Expr`. Each method is documented at the function that implements it."""

    __slots__ = ()

    # scrub.graph.sugar
    def index(self, idx: Sequence[Any], name: str | None = None) -> Expr:
        """`Index(self, idx)`."""
        return _OPERATIONS["index"](self, idx, name)

    def add(self, *others: Expr, name: str | None = None) -> Expr:
        """`Add(self, *others)`."""
        return _OPERATIONS["add"](self, *others, name=name)

    def sub(self, other: Expr, name: str | None = None) -> Expr:
        """`self - other`."""
        return _OPERATIONS["sub"](self, other, name)

    def mul(self, other: Expr, name: str | None = None) -> Expr:
        """Elementwise product; `other` may be a scalar."""
        return _OPERATIONS["mul"](self, other, name)

    def scale(self, factor: float, name: str | None = None) -> Expr:
        """`factor * self`."""
        return _OPERATIONS["scale"](self, factor, name)

    def sum(self, axis: int | Sequence[int] | None = None, name: str | None = None) -> Expr:
        """Sum over the given axes, or all."""
        return _OPERATIONS["sum"](self, axis, name)

    def mean(
        self, axis: int | Sequence[int] | None = None, name: str | None = None, scalar_name: str | None = None
    ) -> Expr:
        """Mean over the given axes, or all; `scalar_name` names the factor 1/n."""
        return _OPERATIONS["mean"](self, axis, name, scalar_name)

    def with_axis_names(self, axis_names: Sequence[str | None]) -> Expr:
        """Itself with names for its axes; see `scrub.graph.set_symbolic_shape.with_axis_names`."""
        return _OPERATIONS["with_axis_names"](self, axis_names)

    def cast_array(self) -> Array:
        """Itself, known to the type checker as an `Array`; an error if it is none."""
        return _OPERATIONS["cast_array"](self)

    def cast_module(self) -> Module:
        """Itself, known to the type checker as a `Module`; an error if it is none."""
        return _OPERATIONS["cast_module"](self)

    def cast_tag(self) -> Tag:
        """Itself, known to the type checker as a `Tag`; an error if it is none."""
        return _OPERATIONS["cast_tag"](self)

    # scrub.graph.cost
    def cost(self) -> Cost:
        """Operations, bytes and parameters, by node and in total; see `scrub.graph.cost`."""
        return _OPERATIONS["cost"](self)

    # scrub.graph.text
    def print(self, **options: Any) -> None:
        """Print as an indented tree; see `scrub.graph.text.to_text` for the options."""
        _OPERATIONS["print"](self, **options)

    def _repr_html_(self) -> str:
        """The beginning of the tree, in color; notebooks show it for an expression on the last line of a cell."""
        return _OPERATIONS["_repr_html_"](self)

    # scrub.view
    def print_html(self, **options: Any) -> Any:
        """A page with one collapsible tree, shown in a notebook; see `scrub.view.print_html` for the options."""
        return _OPERATIONS["print_html"](self, **options)

    # scrub.rewrite
    def get(self, matcher: Any, *, see_through: bool = False) -> tuple[Expr, ...]:
        """All nodes that the matcher finds, in order of first visit; see `scrub.rewrite.get`."""
        return _OPERATIONS["get"](self, matcher, see_through=see_through)

    def get_unique(self, matcher: Any, *, see_through: bool = False) -> Expr:
        """The only node that the matcher finds; see `scrub.rewrite.get_unique`."""
        return _OPERATIONS["get_unique"](self, matcher, see_through=see_through)

    def get_paths(self, matcher: Any, *, see_through: bool = False) -> dict[Expr, tuple[Expr, ...]]:
        """One path to each node that the matcher finds; see `scrub.rewrite.get_paths`."""
        return _OPERATIONS["get_paths"](self, matcher, see_through=see_through)

    def get_all_paths(
        self, matcher: Any, *, limit: int = 1000, see_through: bool = False
    ) -> dict[Expr, list[tuple[Expr, ...]]]:
        """All paths to each node that the matcher finds; see `scrub.rewrite.get_all_paths`."""
        return _OPERATIONS["get_all_paths"](self, matcher, limit=limit, see_through=see_through)

    def iter_paths(
        self, matcher: Any, *, limit: int | None = None, see_through: bool = False
    ) -> Iterator[tuple[Expr, ...]]:
        """The paths on which the matcher finds something, one by one; see `scrub.rewrite.iter_paths`."""
        return _OPERATIONS["iter_paths"](self, matcher, limit=limit, see_through=see_through)

    def count_paths(self, matcher: Any, *, see_through: bool = False) -> int:
        """On how many paths the matcher finds something; see `scrub.rewrite.count_paths`."""
        return _OPERATIONS["count_paths"](self, matcher, see_through=see_through)

    def explain(self, matcher: Any, *, see_through: bool = False, max_lines: int = 10) -> Any:
        """Why the matcher finds what it finds, or nothing; prints itself; see `scrub.rewrite.explain`."""
        return _OPERATIONS["explain"](self, matcher, see_through=see_through, max_lines=max_lines)

    def are_any_found(self, matcher: Any, *, see_through: bool = False) -> bool:
        """Whether the matcher finds anything; see `scrub.rewrite.are_any_found`."""
        return _OPERATIONS["are_any_found"](self, matcher, see_through=see_through)

    def update(
        self,
        matcher: Any,
        transform: Callable[[Expr], Expr],
        *,
        see_through: bool = False,
        assert_any_found: bool = True,
    ) -> Expr:
        """Transform what the matcher finds; see `scrub.rewrite.update`."""
        return _OPERATIONS["update"](
            self, matcher, transform, see_through=see_through, assert_any_found=assert_any_found
        )

    def substitute(self) -> Expr:
        """Inline this module; see `scrub.rewrite.substitute`."""
        return _OPERATIONS["substitute"](self)

    # scrub.compiler
    def evaluate(self) -> torch.Tensor:
        """The value; see `scrub.compiler.evaluate`."""
        return _OPERATIONS["evaluate"](self)
