"""`Dataset`: named arrays of equal length, of which some are inputs of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import torch
import xxhash

from scrub.graph import DatasetError
from scrub.graph.frozen_tensor import FrozenTensor
from scrub.hypothesis.evaluation.distinct import taken


class Dataset:
    """Named arrays with one row per datum. A value: told from others by its content, never changed.

    Args:
        arrays: name -> tensor [n, ...]; all of one length.
        inputs: which of them the model reads, by the names of its input leaves; all unless given. The others are there
            for metrics (labels) and for conditions of samplers (features).
        name: for printing.

    Raises:
        DatasetError: lengths differ, there are no rows, or an input is not among the arrays.

    >>> data = Dataset({"x": torch.arange(4.0), "y": torch.tensor([0, 0, 1, 1])}, inputs=["x"])
    >>> data, len(data), data.inputs
    (Dataset of 4 rows: x [] float32 (input), y [] int64, 4, ('x',))
    >>> data.take([3, 0])["x"]
    tensor([3., 0.])
    """

    def __init__(
        self, arrays: Mapping[str, torch.Tensor], *, inputs: Sequence[str] | None = None, name: str | None = None
    ) -> None:
        if isinstance(inputs, str):
            inputs = [inputs]
        _check(arrays, inputs)
        self.name = name
        self.inputs: tuple[str, ...] = tuple(arrays if inputs is None else inputs)
        self._frozen = {key: FrozenTensor(value) for key, value in arrays.items()}
        self.names = tuple(arrays)
        self.num_rows = len(next(iter(arrays.values())))

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._frozen:
            raise DatasetError(
                f"the dataset has no array {name!r}",
                expected=list(self._frozen),
                found=name,
                hint=f"there are {', '.join(map(repr, self._frozen))}; dataset.with_arrays(...) adds one",
            )
        return self._frozen[name].value

    def __contains__(self, name: object) -> bool:
        return name in self._frozen

    @property
    def arrays(self) -> dict[str, torch.Tensor]:
        """All arrays by name."""
        return {name: frozen.value for name, frozen in self._frozen.items()}

    def __len__(self) -> int:
        """Number of rows."""
        return self.num_rows

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and (self.digest, self.inputs) == (other.digest, other.inputs)

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def digest(self) -> str:
        """128 bits over names and contents of the arrays: the same in every process, whichever are inputs."""
        parts = [f"{name} {frozen.digest}" for name, frozen in sorted(self._frozen.items())]
        return xxhash.xxh3_128("\n".join(parts).encode()).hexdigest()

    def take(self, rows: torch.Tensor | Sequence[int]) -> Dataset:
        """The dataset of these rows, in this order."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        outside = index[(index < 0) | (index >= self.num_rows)]
        if len(outside):
            raise DatasetError(
                f"row {int(outside[0])} is not in the dataset, which has {self.num_rows}",
                expected=f"0 to {self.num_rows - 1}",
                found=int(outside[0]),
            )
        arrays = {name: taken(value, index) for name, value in self.arrays.items()}
        return Dataset(arrays, inputs=self.inputs, name=self.name)

    def with_arrays(self, arrays: Mapping[str, torch.Tensor]) -> Dataset:
        """With further arrays, or others in place of those of the same name; inputs stay the same."""
        return Dataset({**self.arrays, **arrays}, inputs=self.inputs, name=self.name)

    def __repr__(self) -> str:
        named = "Dataset" if self.name is None else f"Dataset {self.name!r}"
        columns = [
            f"{key} {list(value.shape[1:])} {str(value.dtype).removeprefix('torch.')}"
            + (" (input)" if key in self.inputs else "")
            for key, value in self.arrays.items()
        ]
        return f"{named} of {self.num_rows} rows: {', '.join(columns)}"


def concatenated(datasets: Iterable[Dataset]) -> Dataset:
    """The rows of all datasets one after another, with the arrays that all of them have.

    Raises:
        DatasetError: an input of the first is missing in another, or rows of one name differ in shape or dtype.

    >>> a = Dataset({"x": torch.zeros(2), "only_here": torch.zeros(2)}, inputs=["x"])
    >>> concatenated([a, Dataset({"x": torch.ones(1)})])["x"]
    tensor([0., 0., 1.])
    """
    first, *others = datasets
    if not others:
        return first
    for other in others:
        for name in [name for name in first.names if name in other or name in first.inputs]:
            mine, theirs = first[name], other[name]
            if (mine.shape[1:], mine.dtype) != (theirs.shape[1:], theirs.dtype):
                raise DatasetError(
                    f"array {name!r} has rows of shape {list(mine.shape[1:])} {mine.dtype} in one dataset and of "
                    f"{list(theirs.shape[1:])} {theirs.dtype} in another",
                    expected=(tuple(mine.shape[1:]), mine.dtype),
                    found=(tuple(theirs.shape[1:]), theirs.dtype),
                )
    common = [name for name in first.names if all(name in other for other in others)]
    joined = {name: torch.cat([first[name], *(other[name] for other in others)]) for name in common}
    return Dataset(joined, inputs=first.inputs, name=first.name)


def _check(arrays: Mapping[str, torch.Tensor], inputs: Sequence[str] | None) -> None:
    if not arrays:
        raise DatasetError("a dataset needs at least one array", hint="Dataset({'tokens': tokens})")
    for name, value in arrays.items():
        if not isinstance(value, torch.Tensor) or value.ndim < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            found = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__  # pyright: ignore
            raise DatasetError(
                f"array {name!r} is no tensor with an axis of rows",
                expected="a torch.Tensor [n, ...]",
                found=found,
                hint="torch.as_tensor(value) makes one",
            )
    lengths = {name: len(value) for name, value in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DatasetError(f"the arrays have different lengths: {lengths}", expected="one length", found=lengths)
    if not next(iter(lengths.values())):
        raise DatasetError("the dataset has no rows", expected="at least one row", found=0)
    missing = [name for name in inputs or () if name not in arrays]
    if missing:
        raise DatasetError(
            f"input {missing[0]!r} is not among the arrays",
            expected=list(arrays),
            found=missing,
            hint="inputs= names those arrays that the model reads",
        )
