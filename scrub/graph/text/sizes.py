"""Shapes as text: the only place of the text form that says how a size is written and read."""

from __future__ import annotations

from functools import lru_cache

from scrub.graph.expr import Expr, Shape


def shape_text(node: Expr) -> str:
    """The shape in brackets.

    >>> from scrub.graph import Scalar
    >>> shape_text(Scalar(0.0, (2, 3)))
    '[2, 3]'
    """
    return _shape_text(node.shape)


@lru_cache(maxsize=4096)
def _shape_text(shape: Shape) -> str:
    return f"[{', '.join(map(size_text, shape))}]"


@lru_cache(maxsize=4096)
def parse_shape(text: str) -> Shape:
    """The sizes between the brackets. Raises `ValueError` for what is no size.

    >>> parse_shape("2, 3")
    (2, 3)
    """
    return tuple(parse_size(size) for size in text.split(",")) if text.strip() else ()


def size_text(size: object) -> str:
    """One size."""
    return str(size)


def parse_size(text: str) -> int:
    """Inverse of `size_text`."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a size")
    return int(text)


def is_symbolic(value: object) -> bool:
    """Whether a parameter is a size that is not a number."""
    return type(value).__module__.partition(".")[0] == "sympy"
