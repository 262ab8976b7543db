"""Where tensors are in memory: which are views of others, and which are one view together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch


def is_view_of(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same memory."""
    return tensor.untyped_storage()._cdata == other.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


def place_in_memory(tensor: torch.Tensor) -> tuple[object, ...] | None:
    """What two tensors share if they are the same numbers in the same place; None for those that are in no place."""
    if tensor.is_meta or not tensor.numel() or tensor.is_conj() or tensor.is_neg():
        return None
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def one_view(tensors: Sequence[torch.Tensor], dim: int, *, is_new: bool) -> torch.Tensor | None:
    """Tensors side by side as one view of their memory; None if they do not lie so.

    Args:
        tensors: what is to be side by side.
        dim: the axis along which.
        is_new: whether they are stacked along an axis that they do not have, or joined along one of theirs.

    >>> rows = torch.arange(6.0).reshape(3, 2)
    >>> one_view([rows[0], rows[2]], 0, is_new=True)
    tensor([[0., 1.],
            [4., 5.]])
    >>> one_view([rows[2], rows[1], rows[0]], 0, is_new=True) is None
    True
    """
    first = tensors[0]
    if (
        len(tensors) < 2
        or any(not is_view_of(other, first) for other in tensors)
        or any(t.numel() == 0 for t in tensors)
    ):
        return None
    offsets = [tensor.storage_offset() for tensor in tensors]
    strides: list[int] = list(first.stride())
    if is_new:
        step = int(offsets[1] - offsets[0])
        sizes, steps = [len(tensors)], [step] * (len(tensors) - 1)
        is_alike = all(tensor.shape == first.shape and tensor.stride() == first.stride() for tensor in tensors)
        strides.insert(dim, step)
        shape = [*first.shape[:dim], *sizes, *first.shape[dim:]]
    else:
        step = strides[dim]
        steps = [tensor.shape[dim] * step for tensor in tensors[:-1]]
        is_alike = all(
            _without(tensor, dim) == _without(first, dim) and tensor.stride(dim) == step for tensor in tensors
        )
        shape = [*first.shape[:dim], sum(tensor.shape[dim] for tensor in tensors), *first.shape[dim + 1 :]]
    found = [after - before for before, after in pairwise(offsets)]
    if not is_alike or step < 0 or found != steps:
        return None
    return torch.as_strided(first, shape, strides, offsets[0])


def _without(tensor: torch.Tensor, dim: int) -> tuple[tuple[int, int], ...]:
    """Sizes and strides of the other axes."""
    return tuple((tensor.shape[i], tensor.stride(i)) for i in range(tensor.ndim) if i != dim)
