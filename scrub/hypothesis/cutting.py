"""Where a scrubbed model is cut into stages, so that what is read by many draws is computed once for a row.

A cut is worth it if it saves a fifth or more of the operations, judged by how often draws of a first batch coincide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from scrub.graph import Expr, Symbol, postorder
from scrub.graph.rules import uuid_from_name
from scrub.graph.walk import rebuild
from scrub.hypothesis.distinct import distinct, distinct_tuples
from scrub.hypothesis.scrubbed import Read, Scrubbed
from scrub.hypothesis.slots import Slot
from scrub.hypothesis.stages import Cut, Rows, Stage
from scrub.rewrite import bind, substitute_all_modules

_WORTH_IT = 0.8
"""A stage is cut out if it is computed at most this share of the times that it is read."""


def cut_into_stages(scrubbed: Scrubbed, rows: Rows, *, num_rows: int, num_references: int) -> tuple[list[Stage], Cut]:
    """The stages, lower ones first, and where the output is found.

    Args:
        scrubbed: the model.
        rows: draws of a first batch.
        num_rows: rows that there are to draw.
        num_references: how many there will be in all; draws are expected to coincide as in the first batch.
    """
    expr = substitute_all_modules(scrubbed.expr)
    order = list(postorder([expr]))
    slots_of = _SlotsOf(scrubbed.reads)
    single = _single_cuts(expr, order, slots_of)
    clusters = _clusters(single, scrubbed.reads, rows, num_references, num_rows)
    cutting = _Cutting(scrubbed, slots_of)
    for cluster in clusters:
        cutting.add_single(cluster)
    chosen = {slots for slots in _tuples(expr, order, slots_of) if _share(slots, rows) <= _WORTH_IT}
    return cutting.finish(expr, order, chosen)


class _SlotsOf:
    """The draws that an expression reads, in a fixed order."""

    def __init__(self, reads: Mapping[Symbol, Read]) -> None:
        self._reads = reads
        self._memo: dict[tuple[Symbol, ...], tuple[Slot, ...]] = {}

    def __call__(self, node: Expr) -> tuple[Slot, ...]:
        free = node.free_symbols
        if free not in self._memo:
            self._memo[free] = tuple(sorted({self._reads[symbol].slot for symbol in free}))
        return self._memo[free]


def _frontier(expr: Expr, order: Sequence[Expr], slots_of: _SlotsOf) -> dict[Expr, tuple[Slot, ...]]:
    """Nodes that read fewer draws than something above them, and the whole; with the draws."""
    found = {expr: slots_of(expr)}
    for node in order:
        above = slots_of(node)
        for child in node.children:
            if child.children and (slots := slots_of(child)) and slots != above:
                found[child] = slots
    return found


def _single_cuts(expr: Expr, order: Sequence[Expr], slots_of: _SlotsOf) -> dict[Slot, list[Expr]]:
    cuts: dict[Slot, list[Expr]] = {}
    for node, slots in _frontier(expr, order, slots_of).items():
        if len(slots) == 1:
            cuts.setdefault(slots[0], []).append(node)
    return cuts


def _tuples(expr: Expr, order: Sequence[Expr], slots_of: _SlotsOf) -> list[tuple[Slot, ...]]:
    return [s for s in dict.fromkeys(_frontier(expr, order, slots_of).values()) if len(s) > 1]


def _share(slots: tuple[Slot, ...], rows: Rows) -> float:
    """How many different tuples of rows there are, as a share of the references."""
    tuples = distinct_tuples([rows[slot] for slot in slots])
    return len(tuples.first) / max(1, len(tuples.inverse))


@dataclass
class Cluster:
    """Draws for which the same expressions are computed, on the rows of all of them.

    Attributes:
        slots: the draws.
        templates: the expressions, about a draw that stands for any.
        rows: distinct rows, as far as is known.
        cost: operations for one row.
    """

    slots: list[Slot]
    templates: dict[Expr, None]
    rows: torch.Tensor
    cost: int


def _clusters(
    cuts: Mapping[Slot, Sequence[Expr]], reads: Mapping[Symbol, Read], rows: Rows, num_references: int, num_rows: int
) -> list[Cluster]:
    """Which draws to compute together: those that need much the same, on much the same rows."""
    costs = _Costs()
    clusters: list[Cluster] = []
    direct: dict[Slot, float] = {}
    for slot, nodes in cuts.items():
        templates = dict.fromkeys(template_of(node, reads) for node in nodes)
        mine = Cluster([slot], templates, distinct(rows[slot]).values, costs(templates))
        direct[slot] = float(num_references) * mine.cost
        for other in clusters:
            joined = _joined(mine, other, costs)
            apart = [_expected(c, rows, num_references, num_rows) * c.cost for c in (mine, other)]
            if _expected(joined, rows, num_references, num_rows) * joined.cost <= sum(apart):
                other.slots, other.templates = joined.slots, joined.templates
                other.rows, other.cost = joined.rows, joined.cost
                break
        else:
            clusters.append(mine)
    return [
        cluster
        for cluster in clusters
        if _expected(cluster, rows, num_references, num_rows) * cluster.cost
        <= _WORTH_IT * sum(direct[slot] for slot in cluster.slots)
    ]


def _joined(a: Cluster, b: Cluster, costs: _Costs) -> Cluster:
    templates = {**b.templates, **a.templates}
    return Cluster([*b.slots, *a.slots], templates, distinct(torch.cat([a.rows, b.rows])).values, costs(templates))


def _expected(cluster: Cluster, rows: Rows, num_references: int, num_rows: int) -> float:
    """Distinct rows in the whole run: as many more as there are more references, but no more than there are rows."""
    seen = len(next(iter(rows.values())))
    return min(float(num_rows), len(cluster.rows) * max(1.0, num_references / max(1, seen)))


class _Costs:
    """Operations to compute expressions once."""

    def __init__(self) -> None:
        self._of: dict[Expr, int] = {}

    def __call__(self, exprs: Mapping[Expr, None]) -> int:
        return sum(self._cost(node) for node in postorder(exprs) if node.free_symbols)

    def _cost(self, node: Expr) -> int:
        if node not in self._of:
            self._of[node] = int(node.flops()) + int(node.numel)
        return self._of[node]


_ANY = "any row"


def template_of(node: Expr, reads: Mapping[Symbol, Read]) -> Expr:
    """An expression that reads one draw, about any draw: equal for all draws for which the same is computed."""
    return bind(node, {s: _symbol_of_any(s, reads[s].name) for s in node.free_symbols})


def _symbol_of_any(symbol: Symbol, name: str) -> Symbol:
    return Symbol(symbol.shape, uuid_from_name(f"{name} of {_ANY}"), symbol.name)


class _Cutting:
    """Cuts a model into stages, lower ones first."""

    def __init__(self, scrubbed: Scrubbed, slots_of: _SlotsOf) -> None:
        self.reads = dict(scrubbed.reads)
        self.slots_of = slots_of
        self.stages: list[Stage] = []
        self.cuts: dict[Symbol, Cut] = {}
        self._clusters: dict[Slot, tuple[Stage, list[Expr]]] = {}

    def add_single(self, cluster: Cluster) -> None:
        """A stage for a cluster of draws."""
        templates = list(cluster.templates)
        names = {symbol: _symbol_of_any(symbol, read.name) for symbol, read in self.reads.items()}
        about = {any_: Read(self.reads[s].name, cluster.slots[0]) for s, any_ in names.items()}
        label = ", ".join(slot.label for slot in cluster.slots[:3]) + (", ..." if len(cluster.slots) > 3 else "")
        stage = Stage(label, templates, [(slot,) for slot in cluster.slots], about, {})
        self.stages.append(stage)
        for slot in cluster.slots:
            self._clusters[slot] = (stage, templates)

    def finish(self, expr: Expr, order: Sequence[Expr], chosen: set[tuple[Slot, ...]]) -> tuple[list[Stage], Cut]:
        """The stages, and where the result is found."""
        frontier = _frontier(expr, order, self.slots_of)

        def cut(node: Expr, children: tuple[Expr, ...]) -> Expr:
            slots = frontier.get(node, ())
            if len(slots) == 1 and slots[0] in self._clusters:
                stage, templates = self._clusters[slots[0]]
                return self._symbol(node, Cut(stage, templates.index(template_of(node, self.reads)), slots))
            rebuilt = node.with_children(children)
            if node is not expr and len(slots) > 1 and slots in chosen:
                return self._symbol(node, self._stage(rebuilt, slots))
            return rebuilt

        last = rebuild([expr], cut)[expr]
        if isinstance(last, Symbol) and last in self.cuts:
            return self.stages, self.cuts[last]
        result = self._stage(last, self.slots_of(expr))
        return self.stages, result

    def _stage(self, rebuilt: Expr, slots: tuple[Slot, ...]) -> Cut:
        label = " and ".join(slot.label for slot in slots[:3]) + (", ..." if len(slots) > 3 else "")
        stage = Stage(label, [rebuilt], [slots], self.reads, self.cuts)
        self.stages.append(stage)
        return Cut(stage, 0, slots)

    def _symbol(self, node: Expr, cut: Cut) -> Symbol:
        symbol = Symbol(node.shape, uuid_from_name(f"value of {node.digest}"), node.name)
        self.cuts[symbol] = cut
        return symbol
