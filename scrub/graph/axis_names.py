"""Names of axes: what leaves call their axes, and what follows for the nodes above.

An axis of a result has the name of the child axes that become it. Where two of these have different names it has none,
and where only some have one it has that. Batch axes and axes that nothing was carried to have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scrub.graph.errors import ConstructionError, ShapeError
from scrub.graph.sizes import Shape, parse_size, size_text

if TYPE_CHECKING:
    from scrub.graph.expr import Expr

AxisNames = tuple[str | None, ...]


def as_axis_names(what: str, names: Sequence[str | None] | None, ndim: int) -> tuple[AxisNames, ...]:
    """The parameter that holds the names of a node's axes: none, or one tuple; so unnamed nodes pay nothing.

    Raises:
        ConstructionError: there are not as many names as axes, or one is not an identifier.

    >>> as_axis_names("x", ("pos", None), 2), as_axis_names("x", None, 2), as_axis_names("x", (None, None), 2)
    ((('pos', None),), (), ())
    """
    if names is None:
        return ()
    if isinstance(names, str) or len(names) != ndim:
        raise ConstructionError(
            f"{what}: {names!r} names {1 if isinstance(names, str) else len(names)} axes, there are {ndim}",
            expected=ndim,
            found=names,
            hint="one name an axis, None for an axis without",
        )
    for name in names:
        if name is not None and not (isinstance(name, str) and name.isidentifier()):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConstructionError(
                f"{what}: {name!r} cannot name an axis", found=name, hint="use letters, digits and underscores, or None"
            )
    return (tuple(names),) if any(name is not None for name in names) else ()


def carried_names(node: Expr) -> AxisNames | None:
    """Names that a node's axes get from its children's; None if none has one."""
    names: list[str | None] = [None] * node.ndim
    clashing: set[int] = set()
    for child, uses in zip(node.children, node.name_map(), strict=True):
        for name, use in zip(child.axis_names, uses, strict=True):
            if name is None or not isinstance(use, int):
                continue
            if names[use] not in (None, name):
                clashing.add(use)
            names[use] = name
    for axis in clashing:
        names[axis] = None
    return tuple(names) if any(name is not None for name in names) else None


def axis_text(expr: Expr, axis: int) -> str:
    """An axis as errors call it: by its name if it has one, else by its number.

    >>> import scrub as rc
    >>> x = rc.Scalar(1.0, (2, 3), axis_names=("pos", None))
    >>> axis_text(x, 0), axis_text(x, 1)
    ("axis 'pos'", 'axis 1')
    """
    name = expr.axis_names[axis]
    return f"axis {axis}" if name is None else f"axis {name!r}"


def shape_text(node: Expr) -> str:
    """The shape of a node as it is printed; `parse_shape` reads it.

    >>> import scrub as rc
    >>> from scrub.graph.sizes import symbolic_sizes
    >>> shape_text(rc.Scalar(1.0, (8, *symbolic_sizes("d_model")), axis_names=("pos", None)))
    '[pos:8, d_model]'
    """
    sizes = map(size_text, node.shape)
    names = node.axis_names
    return "[" + ", ".join(s if n is None else f"{n}:{s}" for n, s in zip(names, sizes, strict=True)) + "]"


def parse_shape(text: str) -> tuple[Shape, AxisNames]:
    """Sizes and names of axes from the text of a shape.

    Raises:
        ShapeError: the text is none.

    >>> parse_shape("[pos:8, 2*d_model + 1]")
    ((8, 2*d_model + 1), ('pos', None))
    """
    inside = re.fullmatch(r"\s*\[(.*)\]\s*", text)
    if inside is None:
        raise ShapeError(f"{text[:80]!r} is not a shape", found=text, hint="for example [pos:8, d_model]")
    parts = inside[1].split(",") if inside[1].strip() else []
    pairs = [part.rpartition(":") for part in parts]
    names = tuple(name.strip() or None if colon else None for name, colon, _ in pairs)
    as_axis_names(f"shape {text[:80]!r}", names, len(names))
    return tuple(parse_size(size) for _, _, size in pairs), names
