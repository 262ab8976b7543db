"""Sizes as values: expressions for how many there are along an axis, also where that is not known yet."""

from __future__ import annotations

from scrub.graph.expr import Expr
from scrub.graph.functions.last_dim_size import LastDimSize
from scrub.graph.general_function import GeneralFunction, elementwise
from scrub.graph.scalar import Scalar
from scrub.graph.sizes import Size


def size_value(size: Size, name: str | None = None) -> Expr:
    """The scalar whose value is that size; like `Scalar`, without a dtype of its own.

    >>> from scrub.graph.sizes import symbolic_sizes
    >>> (d_head,) = symbolic_sizes("d_head")
    >>> size_value(4), size_value(d_head).free_sizes
    (4 [] Scalar 4, (d_head,))
    """
    if type(size) is int:
        return Scalar(size, name=name)
    # a row of that length: sizes of axes are replaced when they become known, numbers are not
    return GeneralFunction(Scalar(1.0, (size,)), spec=LastDimSize(), name=name)


def reciprocal_of_size(size: Size, name: str | None = None) -> Expr:
    """The scalar 1 / size: what turns a sum over an axis into its mean; nan for an empty axis.

    >>> reciprocal_of_size(4).evaluate()
    tensor(0.2500, dtype=torch.float64)
    """
    if type(size) is int:
        return Scalar(1.0 / size if size else float("nan"), name=name)
    return elementwise("reciprocal", size_value(size), name)
