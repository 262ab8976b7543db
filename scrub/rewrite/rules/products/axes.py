"""What rules of products share: sizes of axes, axes that no operand gives any more, terms that broadcast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scrub.graph import Einsum, Expr, Scalar

Operand = tuple[Expr, Sequence[int]]


def sizes_of(einsum: Einsum) -> dict[int, int]:
    """The size of each axis.

    >>> sizes_of(Einsum.from_string("ab,bc->ac", Scalar(1.0, (2, 3)), Scalar(1.0, (3, 4))))
    {0: 2, 1: 3, 2: 4}
    """
    return {axis: size for child, axes in einsum.operands for axis, size in zip(axes, child.shape, strict=True)}


def unused_axis(einsum: Einsum) -> int:
    """A number from which on numbers stand for no axis."""
    return 1 + max((axis for axes in einsum.in_axes for axis in axes), default=-1)


def is_known(size: object) -> bool:
    """Whether a size is a number."""
    return isinstance(size, int)


def einsum_over(operands: Sequence[Operand], out_axes: Sequence[int], sizes: Mapping[int, int]) -> Einsum:
    """The einsum over all axes in `sizes`: a scalar 1 gives those that no operand gives, where that matters.

    Args:
        operands, out_axes: as of `Einsum`.
        sizes: of the axes that have to be there.

    >>> einsum_over([(Scalar(2.0), ())], (0,), {0: 3, 1: 1, 2: 5}).evaluate()
    tensor([10., 10., 10.], dtype=torch.float64)
    """
    given = {axis for _, axes in operands for axis in axes}
    missing = [axis for axis, size in sizes.items() if axis not in given and (axis in out_axes or size != 1)]
    if missing:
        operands = [*operands, (Scalar(1.0, tuple(sizes[axis] for axis in missing)), missing)]
    return Einsum(*operands, out_axes=out_axes)


def with_operands(einsum: Einsum, replaced: Mapping[int, Expr]) -> Einsum:
    """The einsum with other operands, which broadcast to the shapes of those that they replace.

    Args:
        einsum: the einsum.
        replaced: position -> new operand.

    >>> product = Einsum.from_string("ab->a", Scalar(1.0, (2, 3)))
    >>> with_operands(product, {0: Scalar(2.0, (3,))}).evaluate()
    tensor([6., 6.], dtype=torch.float64)
    """
    fresh = unused_axis(einsum)
    operands: list[Operand] = []
    for position, (child, axes) in enumerate(einsum.operands):
        new = replaced.get(position, child)
        own: list[int] = []
        offset = child.ndim - new.ndim
        for axis, size in enumerate(new.shape, start=offset):
            is_broadcast = size != child.shape[axis]
            own.append(fresh if is_broadcast else axes[axis])  # its only position is taken by a sum over one entry
            fresh += is_broadcast
        operands.append((new, own))
    return einsum_over(operands, einsum.out_axes, sizes_of(einsum))
