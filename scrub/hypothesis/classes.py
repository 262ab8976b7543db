"""`Classes`: rows told apart by a value, and draws within a class."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import cast

import numpy as np
import torch

from scrub.graph import DatasetError, HypothesisError
from scrub.hypothesis.source import Source
from scrub.hypothesis.streams import Stream


class FewRowsWarning(UserWarning):
    """Few rows have the value that a condition asks for, so a draw is often the given row itself.

    Attributes:
        node, values, counts: the node of the hypothesis, the values, and how many rows of the source have each.
    """

    def __init__(self, node: str, name: str, values: list[object], counts: list[int], share: float) -> None:
        self.node, self.values, self.counts = node, values, counts
        shown = ", ".join(f"{value} ({count})" for value, count in list(zip(values, counts, strict=True))[:4])
        more = "" if len(values) <= 4 else f" and {len(values) - 4} more values"
        super().__init__(
            f"node {node!r}: few rows agree in {name!r}: {shown}{more}; {share:.1%} of the rows have such a value\n"
            "hint: a larger dataset or a coarser condition; few= says how many rows are few"
        )


@dataclass(frozen=True, eq=False)
class Classes:
    """Rows of a source by the value of a function.

    Attributes:
        name: of the function.
        of_row: int64 [rows], the class of every row, drawable or not.
        values: of each class.
        counts: int64 [classes], drawable rows in each class.
        size: number of drawable rows.
    """

    name: str
    of_row: torch.Tensor
    values: torch.Tensor
    counts: torch.Tensor
    size: int

    @classmethod
    def of(cls, values: torch.Tensor, source: Source, name: str | None) -> Classes:
        """By values [rows] or [rows, k], compared exactly."""
        values = values.detach().cpu()
        if values.is_floating_point() and bool(values.isnan().any()):
            raise DatasetError(f"the condition {name!r} is NaN on some rows, which equals nothing", found="NaN")
        unique = cast(Callable[..., tuple[torch.Tensor, torch.Tensor]], torch.unique)
        options = {"dim": 0} if values.ndim > 1 else {}
        found, of_row = unique(values, return_inverse=True, **options)
        counts = torch.bincount(of_row[: source.size], minlength=len(found))
        return cls(str(name), of_row, found, counts, source.size)

    @classmethod
    def single(cls, source: Source) -> Classes:
        """All rows in one class."""
        return cls.of(torch.zeros(source.data.num_rows, dtype=torch.int64), source, "any")

    def draw(self, given: torch.Tensor, stream: Stream, pool: int | None) -> torch.Tensor:
        """For each given row one of its class, uniform with replacement; from at most `pool` rows of each class."""
        of_given = self.of_row.numpy()[given.numpy()]
        counts: np.ndarray = self.counts.numpy()[of_given]
        if not counts.all():
            value = _plain(self.values[int(of_given[counts == 0][0])])
            raise HypothesisError(
                f"no row of the dataset has {self.name!r} equal to {value}, as a reference has",
                expected=value,
                found=0,
                hint="draw references and rows from one dataset, or choose a coarser condition",
            )
        if pool is None:
            order, starts = self._ordered
        else:
            order, starts = _pools(self, Stream(stream.seed, stream.key, 0, 0), pool)
            counts = counts.clip(max=pool)
        return torch.from_numpy(order[starts[of_given] + stream.below(torch.from_numpy(counts)).numpy()])

    @cached_property
    def _ordered(self) -> tuple[np.ndarray, np.ndarray]:
        """Drawable rows, those of a class side by side, and where each class starts."""
        order = np.argsort(self.of_row[: self.size].numpy(), kind="stable")
        return order, np.cumsum(self.counts.numpy()) - self.counts.numpy()

    def probabilities(self, given: torch.Tensor) -> torch.Tensor:
        """float64 [n, rows]: uniform over the drawable rows of the class of each given row."""
        same = self.of_row[given][:, None] == self.of_row[None, :]
        same[:, self.size :] = False
        return same.double() / same.sum(1, keepdim=True).clamp_min(1)


@lru_cache(maxsize=256)
def _pools(classes: Classes, stream: Stream, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Some drawable rows of each class, at most `size`, side by side, and where each class starts."""
    of_row = classes.of_row[: classes.size].numpy()
    order = np.lexsort((stream.constants("pool", classes.size), of_row))
    counts = classes.counts.numpy()
    starts = np.cumsum(counts) - counts
    is_kept = np.arange(classes.size) - starts[of_row[order]] < size
    kept = counts.clip(max=size)
    return order[is_kept], np.cumsum(kept) - kept


def check_sizes(classes: Classes, *, node: str, few: int) -> None:
    """Warn if more than one row in a hundred is in a class of few rows."""
    small = classes.counts < few
    num_rows = int(classes.counts[small].sum())
    if num_rows > classes.size / 100:
        values = [_plain(value) for value in classes.values[small]]
        counts = [int(count) for count in classes.counts[small]]
        warning = FewRowsWarning(node, classes.name, values, counts, num_rows / classes.size)
        warnings.warn(warning, stacklevel=4)


def _plain(value: torch.Tensor) -> object:
    """A tensor as a number or a list of numbers."""
    return cast(object, value.tolist())
