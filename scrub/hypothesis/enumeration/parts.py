"""The parts of a scrubbed model, for exact results: a draw with everything drawn given it, and what is read of them.

A part depends on the rest of the draws through the row that its own draw is given, and on nothing else; the rest of the
model depends on it through its *frontier*, the topmost expressions that read nothing but draws of the part. So all that
matters is the law of the frontier given that row. Rows of a draw that read alike, and give alike laws to the parts
below, form a *group*.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from scrub.compiler import compile as compile_exprs
from scrub.graph import Expr, Symbol, postorder
from scrub.graph.rules import uuid_from_name
from scrub.graph.walk import rebuild
from scrub.hypothesis.enumeration.laws import Laws, distinct_values
from scrub.hypothesis.scrubbed import Scrubbed
from scrub.hypothesis.slots import Slot
from scrub.rewrite import substitute_all_modules

_NUMBERS_AT_A_TIME = 2**25
_MOST_AT_A_TIME = 2**17

Tables = Mapping[Slot, Mapping[Expr, torch.Tensor]]
"""For each draw, expressions and their values by number: of its outcome, or of its group."""


class Level(NamedTuple):
    """One step of going through the outcomes of a part.

    Attributes:
        given, slot: the numbers of `slot` follow from those of `given`.
        law_of: for each number of `given` its law.
        laws: over numbers of `slot`.
        sizes: how many outcomes each number of `slot` stands for.
    """

    given: Slot
    slot: Slot
    law_of: torch.Tensor
    laws: Laws
    sizes: torch.Tensor


@dataclass(frozen=True, eq=False)
class Part:
    """A draw, and everything drawn given it.

    Attributes:
        slot: the draw.
        laws: over outcomes of the frontier if the part is closed; over groups of rows if it is open.
        law_of_row: which of them belongs to each row that the draw may be given; -1 for other rows.
        tables: values of the frontier by outcome; or, if open, what its levels need, by the numbers of each.
        levels: if it is open, how to get from a group to the outcomes of the draws given it.
        sizes: how many outcomes each number of the law stands for, float64.
    """

    slot: Slot
    laws: Laws
    law_of_row: torch.Tensor
    tables: Tables
    levels: tuple[Level, ...]
    sizes: torch.Tensor

    @classmethod
    def closed(cls, slot: Slot, laws: Laws, law_of_row: torch.Tensor, values: Mapping[Expr, torch.Tensor]) -> Part:
        """From laws over outcomes, and the values that are read of each."""
        num_outcomes = len(next(iter(values.values())))
        return cls(slot, laws, law_of_row, {slot: values}, (), torch.ones(num_outcomes, dtype=torch.float64))

    @property
    def totals(self) -> torch.Tensor:
        """How many outcomes each law has."""
        return self.laws.sums(self.sizes)


class Model:
    """A scrubbed model, without modules, and which draws its expressions read."""

    def __init__(self, scrubbed: Scrubbed) -> None:
        self.expr = substitute_all_modules(scrubbed.expr)
        self.reads = scrubbed.reads
        self._order = list(postorder([self.expr]))
        self._slots: dict[tuple[Symbol, ...], frozenset[Slot]] = {}

    def slots_of(self, node: Expr) -> frozenset[Slot]:
        """The draws that an expression reads."""
        free = node.free_symbols
        if free not in self._slots:
            self._slots[free] = frozenset(self.reads[symbol].slot for symbol in free)
        return self._slots[free]

    def frontier(self, slots: frozenset[Slot]) -> tuple[Expr, ...]:
        """The topmost expressions that read some of these draws and no others."""

        def is_inside(node: Expr) -> bool:
            return bool(node.free_symbols) and self.slots_of(node) <= slots

        found = dict.fromkeys(
            child for node in self._order if not is_inside(node) for child in node.children if is_inside(child)
        )
        return (self.expr,) if is_inside(self.expr) else tuple(found)


class Computation:
    """Computes expressions from the values of others, looked up by numbers of draws.

    Args:
        exprs: what to compute.
        tables: values that are known.

    Attributes:
        at_a_time: of how many outcomes to compute the values at once.
    """

    def __init__(self, exprs: Sequence[Expr], tables: Tables) -> None:
        known: dict[Expr, Symbol] = {}
        self._values: dict[Expr, tuple[Slot, torch.Tensor]] = {}
        for slot, table in tables.items():
            for expr, values in table.items():
                known[expr] = Symbol(expr.shape, uuid_from_name(f"value of {expr.digest}"), expr.name)
                self._values[known[expr]] = slot, values

        def cut(node: Expr, children: tuple[Expr, ...]) -> Expr:
            return known[node] if node in known else node.with_children(children)

        rebuilt = rebuild(exprs, cut)
        self._exprs = [rebuilt[expr] for expr in exprs]
        self._new = [expr for expr in self._exprs if expr not in self._values]  # what is known is not compiled
        self._symbols = list(dict.fromkeys(symbol for expr in self._new for symbol in expr.free_symbols))
        self._program = compile_exprs(self._new, batched=self._symbols) if self._new else None
        numbers = sum(int(node.numel) for node in postorder(self._exprs) if node.free_symbols)
        self.at_a_time = max(1, min(_MOST_AT_A_TIME, _NUMBERS_AT_A_TIME // max(1, numbers)))

    def run(self, numbers: Mapping[Slot, torch.Tensor]) -> list[torch.Tensor]:
        """The values for outcomes that are given by the numbers of draws, int64 [n] each."""
        n = len(next(iter(numbers.values())))
        results: dict[Expr, torch.Tensor] = {}
        if self._program is not None:
            bound = {symbol: self._look_up(symbol, numbers) for symbol in self._symbols}
            for expr, value in zip(self._new, self._program.run(bound), strict=True):
                results[expr] = value if value.ndim > expr.ndim else value.expand(n, *value.shape)
        return [results[expr] if expr in results else self._look_up(expr, numbers) for expr in self._exprs]

    def _look_up(self, symbol: Expr, numbers: Mapping[Slot, torch.Tensor]) -> torch.Tensor:
        slot, values = self._values[symbol]
        return values[numbers[slot].to(values.device)]


@dataclass(frozen=True, eq=False)
class Groups:
    """The rows of a draw in groups, and how to get from a group to the outcomes of everything drawn given it.

    Attributes:
        of_row: the group of each row that may be drawn, -1 for other rows.
        rows: of each group, one row.
        tables, levels: see `Part`.
        sizes: how many outcomes each group has.
        slot: the draw.
    """

    slot: Slot
    of_row: torch.Tensor
    rows: torch.Tensor
    tables: Tables
    levels: tuple[Level, ...]
    sizes: torch.Tensor

    @classmethod
    def of(
        cls,
        slot: Slot,
        rows: torch.Tensor,
        num_rows: int,
        own: Mapping[Expr, torch.Tensor],
        parts: Sequence[Part],
        told_apart: Sequence[torch.Tensor] = (),
    ) -> Groups:
        """Rows in groups.

        Args:
            slot: the draw.
            rows: that it may come to.
            num_rows: of the source.
            own: values by row of what reads no other draw.
            parts: what is drawn given it.
            told_apart: further values by row in which the rows of a group agree.
        """
        laws = [part.law_of_row[rows] for part in parts]
        found = distinct_values([torch.zeros_like(rows), *own.values(), *laws, *told_apart])
        of_row = torch.full((num_rows,), -1, dtype=torch.int64)
        of_row[rows] = found.inverse
        tables: dict[Slot, Mapping[Expr, torch.Tensor]] = {
            slot: {expr: values[found.first.to(values.device)] for expr, values in own.items()}
        }
        levels: list[Level] = []
        sizes = torch.ones(len(found.first), dtype=torch.float64)
        for part, law in zip(parts, laws, strict=True):
            tables |= part.tables
            law_of = law[found.first]
            levels += [Level(slot, part.slot, law_of, part.laws, part.sizes), *part.levels]
            sizes = sizes * part.totals[law_of]
        return cls(slot, of_row, rows[found.first], tables, tuple(levels), sizes)

    def of_part(self, part: Part) -> Groups:
        """The same groups, with one closed part alone."""
        law_of = part.law_of_row[self.rows]
        level = Level(self.slot, part.slot, law_of, part.laws, part.sizes)
        tables = {self.slot: self.tables[self.slot], **part.tables}
        return Groups(self.slot, self.of_row, self.rows, tables, (level,), part.totals[law_of])

    def outcomes(
        self, weights: torch.Tensor, *, at_a_time: int
    ) -> Iterator[tuple[dict[Slot, torch.Tensor], torch.Tensor]]:
        """All outcomes of the groups, in portions: the numbers of all draws of the part, and how likely they are.

        Args:
            weights: of the groups, which the weights of their outcomes are multiplied by.
            at_a_time: most outcomes in a portion.
        """
        stack = [({self.slot: torch.arange(len(weights))}, weights, 0, 0)]
        while stack:
            numbers, weights, depth, start = stack.pop()
            if depth == len(self.levels):
                yield numbers, weights
                continue
            level = self.levels[depth]
            laws = level.law_of[numbers[level.given]]
            if start + at_a_time < int(level.laws.lengths[laws].sum()):
                stack.append((numbers, weights, depth, start + at_a_time))
            at, entry = level.laws.expand(laws, start, start + at_a_time)
            expanded = {slot: number[at] for slot, number in numbers.items()}
            expanded[level.slot] = level.laws.outcomes[entry]
            stack.append((expanded, weights[at] * level.laws.weights[entry], depth + 1, 0))

    def largest(self) -> list[tuple[str, int]]:
        """For a group with most outcomes: the draws, and how many values, or groups of rows, each may come to."""
        at = {self.slot: int(self.sizes.argmax())}
        factors: list[tuple[str, int]] = []
        for level in self.levels:
            law = int(level.law_of[at[level.given]])
            start, stop = int(level.laws.starts[law]), int(level.laws.starts[law + 1])
            possible = level.laws.outcomes[start:stop]
            at[level.slot] = int(possible[level.sizes[possible].argmax()])
            factors.append((level.slot.label, stop - start))
        return sorted(factors, key=lambda factor: -factor[1])
