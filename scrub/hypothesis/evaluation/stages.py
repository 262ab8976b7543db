"""Stages of a scrubbed model: expressions computed once for every distinct row, or tuple of rows, that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from scrub.compiler import Program
from scrub.compiler import compile as compile_exprs
from scrub.graph import Expr, Symbol, postorder
from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.evaluation.distinct import distinct, distinct_tuples, taken
from scrub.hypothesis.scrubbed import Read
from scrub.hypothesis.slots import Slot

Rows = Mapping[Slot, torch.Tensor]


@dataclass
class Work:
    """How much was computed.

    Attributes:
        references: how many.
        pairs: pairs of a stage and distinct rows that were computed, by stage.
        reads: how often these were read.
    """

    references: int = 0
    pairs: dict[str, int] = field(default_factory=dict[str, int])
    reads: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class Cut:
    """Where a stage's value is looked up: which of its expressions, read by which draws."""

    stage: Stage
    index: int
    slots: tuple[Slot, ...]


class Stage:
    """Expressions computed together, on distinct tuples of rows.

    Args:
        name: for counts.
        exprs: with a symbol for each input and each value of an earlier stage.
        readers: the tuples of slots that it is computed for; the symbols are about the first.
        reads: what the symbols for inputs are.
        cuts: what the others are.
        skip_equal: whether tuples of rows that are equal are computed once. One row always is.

    Attributes:
        nbytes: of the values of one pair that are kept.
        nbytes_inside: of all values that are computed for one pair.
    """

    def __init__(
        self,
        name: str,
        exprs: Sequence[Expr],
        readers: Sequence[tuple[Slot, ...]],
        reads: Mapping[Symbol, Read],
        cuts: Mapping[Symbol, Cut],
        *,
        skip_equal: bool = True,
    ) -> None:
        self.name, self.exprs, self.readers = name, tuple(exprs), tuple(readers)
        symbols = dict.fromkeys(symbol for expr in exprs for symbol in expr.free_symbols)
        self.reads = {symbol: reads[symbol] for symbol in symbols if symbol in reads}
        self.cuts = {symbol: cuts[symbol] for symbol in symbols if symbol not in reads}
        self.nbytes = sum(map(_nbytes, self.exprs))
        self.nbytes_inside = sum(_nbytes(node) for node in postorder(self.exprs) if node.free_symbols)
        self._skip_equal = skip_equal
        self._program: Program = compile_exprs(self.exprs, batched=list(symbols))
        self._device = next((expr.device for expr in self.exprs if expr.device is not None), None)
        self._lookup: dict[tuple[Slot, ...], torch.Tensor] = {}
        self._values: list[list[torch.Tensor]]
        self._joined: list[torch.Tensor] | None
        self._forget(0)

    def prepare(self, rows: Rows, data: Dataset, work: Work, *, batch_size: int, most_kept: int) -> None:
        """Compute what these references need and is not known, and where each finds it."""
        num_rows = data.num_rows
        n = len(next(iter(rows.values())))
        if not self._is_single:
            self._prepare_tuples(rows, data, work, batch_size=batch_size)
            return
        read = np.concatenate([rows[slots[0]].numpy() for slots in self.readers])
        wanted = distinct(torch.from_numpy(read)).values.numpy()
        if self._num_kept + len(wanted) > most_kept or len(self._of_row) != num_rows:
            self._forget(num_rows)
        new = wanted[self._of_row[wanted] < 0]
        slot = self.readers[0][0]
        for at in range(0, len(new), batch_size):
            part = torch.from_numpy(new[at : at + batch_size])
            self._append(self._run({slot: part}, torch.arange(len(part)), data))
        self._of_row[new] = np.arange(self._num_kept, self._num_kept + len(new))
        self._num_kept += len(new)
        at_row = torch.from_numpy(self._of_row[read])
        self._lookup = {slots: at_row[i * n : (i + 1) * n] for i, slots in enumerate(self.readers)}
        self._count(work, len(new), len(read))

    def _prepare_tuples(self, rows: Rows, data: Dataset, work: Work, *, batch_size: int) -> None:
        (slots,) = self.readers
        n = len(rows[slots[0]])
        first = inverse = torch.arange(n)
        if self._skip_equal:
            _, inverse, first = distinct_tuples([rows[slot] for slot in slots])
        self._forget(0)
        for at in range(0, len(first), batch_size):
            self._append(self._run(rows, first[at : at + batch_size], data))
        self._lookup = {slots: inverse}
        self._count(work, len(first), n)

    @property
    def _is_single(self) -> bool:
        return len(self.readers[0]) == 1

    def _forget(self, num_rows: int) -> None:
        self._of_row = np.full(num_rows, -1, dtype=np.int64)
        self._num_kept = 0
        self._values = [[] for _ in self.exprs]
        self._joined = None

    def _append(self, values: Sequence[torch.Tensor]) -> None:
        for known, value in zip(self._values, values, strict=True):
            known.append(value)
        self._joined = None

    def _count(self, work: Work, computed: int, read: int) -> None:
        work.pairs[self.name] = work.pairs.get(self.name, 0) + computed
        work.reads[self.name] = work.reads.get(self.name, 0) + read

    def _run(self, rows: Rows, references: torch.Tensor, data: Dataset) -> list[torch.Tensor]:
        """The values for these of the references that `rows` is about."""
        bound: dict[Symbol, torch.Tensor] = {}
        for symbol, read in self.reads.items():
            values = taken(data[read.name], taken(rows[read.slot], references))
            bound[symbol] = values if self._device is None else values.to(self._device)
        for symbol, cut in self.cuts.items():
            bound[symbol] = cut.stage.look_up(cut, references)
        results = self._program.run(bound)
        return [
            value if value.ndim > expr.ndim else value.expand(len(references), *value.shape)
            for value, expr in zip(results, self.exprs, strict=True)
        ]

    def look_up(self, cut: Cut, references: torch.Tensor) -> torch.Tensor:
        """The values of one of its expressions for these references."""
        if self._joined is None:
            self._values = [[torch.cat(parts)] if len(parts) > 1 else parts for parts in self._values]
            self._joined = [parts[0] for parts in self._values]
        return taken(self._joined[cut.index], taken(self._lookup[cut.slots], references))


def _nbytes(expr: Expr) -> int:
    return int(expr.numel) * (expr.dtype or torch.float64).itemsize
