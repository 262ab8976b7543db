"""Conditional samplers: given a datum, which other datum may stand in for it (SPEC 9.3)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from scrub.graph import DatasetError, HypothesisError
from scrub.hypothesis.classes import Classes, check_sizes
from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.source import Source
from scrub.hypothesis.streams import Stream

Feature = Callable[[Dataset], torch.Tensor] | str
"""What rows agree in: a function of a dataset that gives a value per row [n] or [n, k], or the name of an array."""


class CondSampler(ABC):
    """Draws for each given row a row that may stand in for it. Subclass it for a condition of your own.

    Rows are numbers of rows of `source.data`; those that may be drawn are the first `source.size`. All that is random
    comes from the stream.
    """

    @abstractmethod
    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        """For rows given, int64 [n], those drawn, int64 [n]."""

    def probabilities(self, given: torch.Tensor, source: Source) -> torch.Tensor:
        """float64 [n, rows]: for each given row, how likely each row of `source.data` is drawn.

        Needed for exact results only.
        """
        raise HypothesisError(
            f"{self!r} does not say how likely each row is, so there is no exact result",
            found=self,
            hint="run it with n=... draws, or define `probabilities` in the sampler",
        )

    def allows(self, given: torch.Tensor, rows: torch.Tensor, source: Source) -> torch.Tensor:
        """bool [n]: whether each of the rows could be drawn for the given one."""
        chances = self.probabilities(given, source)
        return chances.gather(1, rows[:, None])[:, 0] > 0

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """Datasets of its own that it draws from."""
        return ()

    def check(self, source: Source, node: str) -> None:  # noqa: B027 - most have nothing to check
        """Raise, or warn, if it cannot do its work on this source."""


@dataclass(frozen=True)
class ExactSampler(CondSampler):
    """The same input."""

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        return given

    def probabilities(self, given: torch.Tensor, source: Source) -> torch.Tensor:
        return torch.nn.functional.one_hot(given, source.data.num_rows).to(torch.float64)

    def allows(self, given: torch.Tensor, rows: torch.Tensor, source: Source) -> torch.Tensor:
        return given == rows


@dataclass(frozen=True)
class UncondSampler(CondSampler):
    """Any input: uniform over the source, with replacement, whatever is given.

    Args:
        pool: most different rows drawn in a run; None for no limit. The pool is chosen by the seed, so figures of the
            run are conditional on it.
    """

    pool: int | None = None

    def __post_init__(self) -> None:
        _check_pool(self.pool)

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        return source.memo(UncondSampler, lambda: Classes.single(source)).draw(given, stream, self.pool)

    def probabilities(self, given: torch.Tensor, source: Source) -> torch.Tensor:
        _require_no_pool(self, self.pool)
        chances = torch.zeros(len(given), source.data.num_rows, dtype=torch.float64)
        chances[:, : source.size] = 1 / source.size
        return chances

    def allows(self, given: torch.Tensor, rows: torch.Tensor, source: Source) -> torch.Tensor:
        return rows < source.size


@dataclass(frozen=True)
class UncondTogetherSampler(CondSampler):
    """Any input, but one draw that all references share."""

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        (number,) = stream.shared(1)
        return torch.full_like(given, min(math.floor(number * source.size), source.size - 1))

    def allows(self, given: torch.Tensor, rows: torch.Tensor, source: Source) -> torch.Tensor:
        return rows < source.size


@dataclass(frozen=True)
class FixedOtherSampler(CondSampler):
    """Any row of another dataset: uniform, with replacement, whatever is given.

    Args:
        dataset: with the same inputs as that of the experiment.
    """

    dataset: Dataset

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        return source.offset(self.dataset) + stream.below(torch.full(given.shape, self.dataset.num_rows))

    def probabilities(self, given: torch.Tensor, source: Source) -> torch.Tensor:
        chances = torch.zeros(len(given), source.data.num_rows, dtype=torch.float64)
        at, n = source.offset(self.dataset), self.dataset.num_rows
        chances[:, at : at + n] = 1 / n
        return chances

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (self.dataset,)


@dataclass(frozen=True)
class FuncSampler(CondSampler):
    """A row on which a function has the same value: uniform among those of the source, with replacement.

    Args:
        func: from a dataset to a value per row [n] or [n, k] that is compared exactly; or the name of an array of the
            dataset. Values that are mathematically equal must be equal: use integers, or fractions in lowest terms.
        name: of the condition, for printing and files; that of the function or array unless given.
        pool: most different rows drawn in a run for each value; None for no limit.
        few: warn if more than one row in a hundred has a value that fewer rows than this have.

    Raises:
        HypothesisError: when drawing, if no row of the source has the value of a given row.

    >>> data = Dataset({"x": torch.arange(6)})
    >>> parity = FuncSampler(lambda rows: rows["x"] % 2, name="parity", few=1)
    >>> drawn = parity.draw(torch.tensor([0, 1, 2, 3]), Source(data), Stream(0, "a", 0, 4))
    >>> data["x"][drawn] % 2
    tensor([0, 1, 0, 1])
    """

    func: Feature
    name: str | None = None
    pool: int | None = None
    few: int = 10

    def __post_init__(self) -> None:
        _check_pool(self.pool)
        if self.name is None:
            given = self.func if isinstance(self.func, str) else getattr(self.func, "__name__", repr(self.func))
            object.__setattr__(self, "name", given)

    def classes(self, source: Source) -> Classes:
        """Which rows of the source have equal values."""
        return source.memo((FuncSampler, self.func), lambda: Classes.of(self._values(source.data), source, self.name))

    def _values(self, data: Dataset) -> torch.Tensor:
        if isinstance(self.func, str):
            return data[self.func]
        values = torch.as_tensor(self.func(data))
        if values.ndim < 1 or len(values) != data.num_rows:
            raise DatasetError(
                f"the condition {self.name!r} gave a value of shape {list(values.shape)} for {data.num_rows} rows",
                expected=f"[{data.num_rows}] or [{data.num_rows}, k]",
                found=tuple(values.shape),
                hint="it gets a whole dataset, and gives one value for each of its rows",
            )
        return values

    def draw(self, given: torch.Tensor, source: Source, stream: Stream) -> torch.Tensor:
        return self.classes(source).draw(given, stream, self.pool)

    def probabilities(self, given: torch.Tensor, source: Source) -> torch.Tensor:
        _require_no_pool(self, self.pool)
        return self.classes(source).probabilities(given)

    def allows(self, given: torch.Tensor, rows: torch.Tensor, source: Source) -> torch.Tensor:
        of_row = self.classes(source).of_row
        return (of_row[given] == of_row[rows]) & (rows < source.size)

    def check(self, source: Source, node: str) -> None:
        check_sizes(self.classes(source), node=node, few=self.few)

    def __repr__(self) -> str:
        pool = "" if self.pool is None else f", pool={self.pool}"
        return f"FuncSampler({self.name!r}{pool})"


def _check_pool(pool: int | None) -> None:
    if pool is not None and (isinstance(pool, bool) or not isinstance(pool, int) or pool < 1):  # pyright: ignore
        raise HypothesisError(f"a pool of {pool!r} rows cannot be drawn from", expected="at least 1", found=pool)


def _require_no_pool(sampler: CondSampler, pool: int | None) -> None:
    if pool is not None:
        raise HypothesisError(
            f"{sampler!r} draws from a pool that the seed chooses, so there is no exact result",
            expected="pool=None",
            found=pool,
            hint="leave pool= out, or run it with n=... draws",
        )
