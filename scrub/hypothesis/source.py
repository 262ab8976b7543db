"""`Source`: the rows that samplers draw from, and with them all rows that they may be given."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from scrub.graph import DatasetError
from scrub.hypothesis.dataset import Dataset, concatenated

T = TypeVar("T")


class Source:
    """One numbering of rows: first those that may be drawn, then references and datasets of samplers' own.

    Args:
        dataset: what is drawn from.
        references: what the references come from, if another dataset.
        others: datasets that samplers hold.

    Attributes:
        data: all rows. It has the arrays that all of the datasets have.
        size: how many of them, the first ones, may be drawn.
        reference_rows: those that references are drawn from, as a range.

    >>> import torch
    >>> source = Source(Dataset({"x": torch.zeros(3)}), references=Dataset({"x": torch.ones(2)}))
    >>> source.size, source.reference_rows, source.data["x"]
    (3, range(3, 5), tensor([0., 0., 0., 1., 1.]))
    """

    def __init__(self, dataset: Dataset, *, references: Dataset | None = None, others: Iterable[Dataset] = ()) -> None:
        given: list[Dataset] = [dataset, *([] if references is None else [references]), *others]
        every = list(dict.fromkeys(given))
        self.dataset = dataset
        self.references = dataset if references is None else references
        self.data = concatenated(every)
        self.size = dataset.num_rows
        self._offsets: dict[Dataset, int] = {}
        at = 0
        for each in every:
            self._offsets[each] = at
            at += each.num_rows
        start = self._offsets[self.references]
        self.reference_rows = range(start, start + self.references.num_rows)
        self._memo: dict[Hashable, Any] = {}

    def offset(self, dataset: Dataset) -> int:
        """The number of the first row of a dataset."""
        if dataset not in self._offsets:
            raise DatasetError(
                f"the source does not hold the rows of {dataset!r}",
                found=dataset,
                hint="a sampler that draws from a dataset of its own names it in `datasets`",
            )
        return self._offsets[dataset]

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made under this key before, or made now."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]
