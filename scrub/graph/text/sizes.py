"""Shapes as the parser reads them: sizes and names of axes, with `ValueError` for what is none."""

from __future__ import annotations

from functools import lru_cache

from scrub.graph import axis_names, sizes
from scrub.graph.axis_names import AxisNames
from scrub.graph.errors import ConstructionError, ShapeError
from scrub.graph.sizes import Shape, Size


@lru_cache(maxsize=4096)
def parse_shape(text: str) -> tuple[Shape, AxisNames]:
    """The sizes between the brackets, and the names of axes. Raises `ValueError` for what is none.

    >>> parse_shape("pos:2, 3")
    ((2, 3), ('pos', None))
    """
    try:
        return axis_names.parse_shape(f"[{text}]")
    except (ShapeError, ConstructionError) as error:
        raise ValueError(error.problem) from error


def parse_size(text: str) -> Size:
    """Inverse of `size_text`. Raises `ValueError` for what is no size.

    >>> parse_size("3")
    3
    """
    try:
        return sizes.parse_size(text)
    except ShapeError as error:
        raise ValueError(error.problem) from error
