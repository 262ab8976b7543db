"""Distinct values and tuples, and which of them each position holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch


class Distinct(NamedTuple):
    """What is distinct.

    Attributes:
        values: distinct values, ascending.
        inverse: for each position which of them it holds, int64.
        first: of each value, the first position that holds it.
    """

    values: torch.Tensor
    inverse: torch.Tensor
    first: torch.Tensor


def distinct(values: torch.Tensor) -> Distinct:
    """Of values [n], or of rows [n, k].

    >>> distinct(torch.tensor([5, 3, 5]))
    Distinct(values=tensor([3, 5]), inverse=tensor([1, 0, 1]), first=tensor([1, 0]))
    """
    unique = cast(Callable[..., tuple[torch.Tensor, torch.Tensor]], torch.unique)
    options = {"dim": 0} if values.ndim > 1 else {}
    found, inverse = unique(values, return_inverse=True, **options)
    first = torch.full((len(found),), len(values), dtype=torch.int64)
    first.scatter_reduce_(0, inverse, torch.arange(len(values)), "amin")
    return Distinct(found, inverse, first)


def distinct_tuples(columns: Sequence[torch.Tensor]) -> Distinct:
    """Of the tuples (columns[0][i], columns[1][i], ...) of integers; `values` numbers them.

    >>> distinct_tuples([torch.tensor([1, 1, 1]), torch.tensor([7, 8, 7])]).inverse
    tensor([0, 1, 0])
    """
    key = columns[0]
    for column in columns[1:]:
        inner, outer = distinct(column), distinct(key)
        key = outer.inverse * len(inner.values) + inner.inverse
    return distinct(key)
