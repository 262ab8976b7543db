"""Picking by an index: `gen_index` where table and index may both have batch axes.

An index that is an input, or a constant, or only moved from there, is checked before the program runs (see
`scrub.compiler.ranges`), since a check is a decision that depends on data: it would take a graph apart for torch's
compiler, and time. One that is computed is checked when it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from scrub.compiler.ops.apply import Apply
from scrub.compiler.ops.batch_axes import ToBatch, ToCore
from scrub.compiler.ops.leaves import Constant, Input
from scrub.compiler.ops.moving import Picked, Rearranged
from scrub.compiler.values import Sizes, Value, Writer
from scrub.graph import DtypeError
from scrub.graph.functions.gen_index import GenIndex

Letters = tuple[int, ...]


@dataclass(frozen=True)
class Gather(Apply):
    """`gen_index`.

    Attributes:
        is_checked: whether the index is checked here.
    """

    is_checked: bool = True

    @classmethod
    def of(cls, spec: GenIndex, index: Value) -> Gather:
        """The operation, which checks the index if it is computed."""
        return cls(spec, not is_given(index))

    @property
    def gen_index(self) -> GenIndex:
        """The function, of which this is the operation."""
        assert isinstance(self.spec, GenIndex)
        return self.spec

    def infer(self, args: Sequence[Value]) -> tuple[Sizes, torch.dtype | None]:
        if args[1].dtype != torch.int64:
            found = args[1].dtype
            raise DtypeError(
                f"{self.label}: the index must be int64, not {found or 'a number without a dtype'}",
                expected=torch.int64,
                found=found,
                hint="an index is an Array of positions; a Scalar has no dtype of its own",
            )
        return super().infer(args)

    def size(self, value: Value) -> int:
        """How many positions there are to pick from."""
        table, index = value.args
        return table.shape[self._letters(table.shape, index.shape)[0]]

    def _letters(self, table: Sizes, index: Sizes) -> tuple[int, Letters, Letters]:
        """The letter picked from, those of the index and of the result, where the table has 0, 1, ..."""
        spec, all_letters = self.gen_index, tuple(range(len(table)))
        shared = len(index) if spec.batch_x and spec.batch_index else 0
        own = len(table) - shared
        dim = shared + spec.index_dim % own
        rest = (*all_letters[:dim], *all_letters[dim + 1 :])
        if shared:
            return dim, all_letters[:shared], rest
        new = tuple(len(table) + i for i in range(len(index)))
        return dim, new, (*new, *rest) if spec.batch_index else (*rest[:dim], *new, *rest[dim:])

    def emit(self, value: Value, write: Writer) -> fx.Node:
        table, index = value.args
        dim, of_index, out = self._letters(table.shape, index.shape)
        node = write.node(index)
        if self.is_checked:
            spec, size = self.gen_index, self.size(value)

            def checked(index: torch.Tensor) -> torch.Tensor:
                spec.check_range(index, size)
                return index

            node = write.call(checked, node)
        of_table = tuple(range(len(table.shape)))
        letters = [tuple(-1 - axis.order for axis in axes) for axes in (table.axes, index.axes, value.axes)]
        return write.call(
            gathered, write.node(table), node, letters[0] + of_table, letters[1] + of_index, letters[2] + out, dim
        )


def gathered(
    table: torch.Tensor, index: torch.Tensor, of_table: Letters, of_index: Letters, out: Letters, dim: int
) -> torch.Tensor:
    """The table at the index along letter `dim`, axis by axis along the letters that both have."""
    at = of_table.index(dim)
    if set(of_table).isdisjoint(of_index):
        flat = table.index_select(at, index.reshape(-1))
        picked = flat.reshape((*table.shape[:at], *index.shape, *table.shape[at + 1 :]))
        found = (*of_table[:at], *of_index, *of_table[at + 1 :])
    else:
        missing = [letter for letter in of_index if letter not in of_table]
        if missing:
            sizes = [index.shape[of_index.index(letter)] for letter in missing]
            table, of_table = table.expand((*sizes, *table.shape)), (*missing, *of_table)
            at += len(missing)
        order = sorted(range(len(of_index)), key=lambda i: of_table.index(of_index[i]))
        wanted = index.permute(order)
        for position, letter in enumerate(of_table):
            if letter not in of_index:
                wanted = wanted.unsqueeze(position)
        sizes = [1 if position == at else size for position, size in enumerate(table.shape)]
        picked = table.gather(at, wanted.expand(sizes)).squeeze(at)
        found = (*of_table[:at], *of_table[at + 1 :])
    order = [found.index(letter) for letter in out]
    return picked if order == sorted(order) else picked.permute(order)


def is_given(index: Value) -> bool:
    """Whether an index is there before the program runs: bound or constant, and at most moved."""
    while isinstance(index.op, Picked | Rearranged | ToBatch | ToCore):
        index = index.args[0]
    return isinstance(index.op, Input | Constant)
