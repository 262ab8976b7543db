"""Distinct numbers and tuples of numbers, which of them each position holds, and what is taken at positions.

In numpy: torch wakes several threads, which for the few thousand numbers at a time that are met here costs more than it
saves, by a factor of ten and more where other programs run too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

_LARGEST_KEY = 2**62
_FEW = 2**16
_OF_NUMPY = (torch.float64, torch.float32, torch.int64, torch.int32, torch.bool)


class Distinct(NamedTuple):
    """What is distinct.

    Attributes:
        values: distinct values, ascending, int64.
        inverse: for each position which of them it holds, int64.
        first: of each value, the first position that holds it.
    """

    values: torch.Tensor
    inverse: torch.Tensor
    first: torch.Tensor


def distinct(numbers: torch.Tensor) -> Distinct:
    """Of integers, int64 [n].

    >>> distinct(torch.tensor([5, 3, 5]))
    Distinct(values=tensor([3, 5]), inverse=tensor([1, 0, 1]), first=tensor([1, 0]))
    """
    found = _distinct(numbers.numpy())
    return Distinct(*(torch.from_numpy(part) for part in found))


def distinct_tuples(columns: Sequence[torch.Tensor]) -> Distinct:
    """Of the tuples (columns[0][i], columns[1][i], ...) of row numbers; `values` numbers them.

    >>> distinct_tuples([torch.tensor([1, 1, 1]), torch.tensor([7, 8, 7])]).inverse
    tensor([0, 1, 0])
    """
    key: np.ndarray = columns[0].numpy()
    below = _below(key)
    for column in columns[1:]:
        numbers: np.ndarray = column.numpy()
        size = _below(numbers)
        if below * size > _LARGEST_KEY:
            values, key, _ = _distinct(key)
            below = len(values)
        key, below = key * size + numbers, below * size
    values, inverse, first = _distinct(key)
    return Distinct(*(torch.from_numpy(part) for part in (np.arange(len(values)), inverse, first)))


def taken(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """`values[index]`, of values [rows, ...] and an index [n] on the CPU.

    >>> taken(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 1, 0]))
    tensor([[2.],
            [2.],
            [1.]])
    """
    row_size = values[0].numel() if len(values) else 0
    if values.device.type != "cpu" or row_size * len(index) > _FEW or values.dtype not in _OF_NUMPY:
        return values[index.to(values.device)]
    return torch.from_numpy(values.detach().numpy()[index.numpy()])


def _below(numbers: np.ndarray) -> int:
    return int(numbers.max(initial=0)) + 1


def _distinct(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    below = _below(numbers)
    if below > 8 * len(numbers) or numbers.min(initial=0) < 0:
        values, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
        return values, inverse, first
    is_there = np.zeros(below, dtype=bool)
    is_there[numbers] = True
    values = np.flatnonzero(is_there)
    inverse = (np.cumsum(is_there) - 1)[numbers]
    first = np.empty(len(values), dtype=np.int64)
    first[inverse[::-1]] = np.arange(len(numbers) - 1, -1, -1)  # of equal indices the last one stays
    return values, inverse, first
