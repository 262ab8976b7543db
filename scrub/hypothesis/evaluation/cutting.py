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
from scrub.hypothesis.evaluation.distinct import distinct, distinct_tuples
from scrub.hypothesis.evaluation.stages import Cut, Rows, Stage
from scrub.hypothesis.scrubbed import Read, Scrubbed
from scrub.hypothesis.slots import Slot
from scrub.rewrite import substitute_all_modules

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
    frontier = _frontier(expr, order, slots_of)
    templates = _templates(expr, frontier, scrubbed.reads)
    clusters = _clusters(templates, frontier, rows, num_references, num_rows)
    cutting = _Cutting(scrubbed, slots_of, frontier, templates)
    for cluster in clusters:
        cutting.add_single(cluster)
    tuples = [slots for slots in dict.fromkeys(frontier.values()) if len(slots) > 1]
    return cutting.finish(expr, {slots for slots in tuples if _share(slots, rows) <= _WORTH_IT})


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


def _templates(expr: Expr, frontier: Mapping[Expr, tuple[Slot, ...]], reads: Mapping[Symbol, Read]) -> dict[Expr, Expr]:
    """The nodes of the frontier that read one draw, about any draw: equal where the same is computed for several."""
    about_any: dict[Expr, Expr] = {}
    for symbol, read in reads.items():
        about_any[symbol] = Symbol(symbol.shape, uuid_from_name(f"{read.name} of any row"), symbol.name)
    single = [node for node, slots in frontier.items() if len(slots) == 1]
    made = rebuild(single, lambda node, children: about_any.get(node) or node.with_children(children))
    return {node: made[node] for node in single}


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
        operations: of everything that is computed for one row, by node.
        cost: all of these.
    """

    slots: list[Slot]
    templates: dict[Expr, None]
    rows: torch.Tensor
    operations: dict[Expr, int]
    cost: int


def _clusters(
    templates: Mapping[Expr, Expr],
    frontier: Mapping[Expr, tuple[Slot, ...]],
    rows: Rows,
    num_references: int,
    num_rows: int,
) -> list[Cluster]:
    """Which draws to compute together: those that need much the same, on much the same rows."""
    clusters: list[Cluster] = []
    direct: dict[Slot, float] = {}
    needed: dict[Slot, dict[Expr, None]] = {}
    for node, template in templates.items():
        needed.setdefault(frontier[node][0], {})[template] = None
    for slot, wanted in needed.items():
        operations = {node: int(node.flops()) + int(node.numel) for node in postorder(wanted) if node.free_symbols}
        mine = Cluster([slot], wanted, distinct(rows[slot]).values, operations, sum(operations.values()))
        direct[slot] = float(num_references) * mine.cost
        for at, other in enumerate(clusters):
            joined = _joined(other, mine)
            apart = [_expected(c, rows, num_references, num_rows) * c.cost for c in (mine, other)]
            if _expected(joined, rows, num_references, num_rows) * joined.cost <= sum(apart):
                clusters[at] = joined
                break
        else:
            clusters.append(mine)
    return [
        cluster
        for cluster in clusters
        if _expected(cluster, rows, num_references, num_rows) * cluster.cost
        <= _WORTH_IT * sum(direct[slot] for slot in cluster.slots)
    ]


def _joined(a: Cluster, b: Cluster) -> Cluster:
    rows = distinct(torch.cat([a.rows, b.rows])).values
    added = {node: cost for node, cost in b.operations.items() if node not in a.operations}
    operations = {**a.operations, **added}
    return Cluster([*a.slots, *b.slots], {**a.templates, **b.templates}, rows, operations, a.cost + sum(added.values()))


def _expected(cluster: Cluster, rows: Rows, num_references: int, num_rows: int) -> float:
    """Distinct rows in the whole run: as many more as there are more references, but no more than there are rows."""
    seen = len(next(iter(rows.values())))
    return min(float(num_rows), len(cluster.rows) * max(1.0, num_references / max(1, seen)))


class _Cutting:
    """Cuts a model into stages, lower ones first."""

    def __init__(
        self,
        scrubbed: Scrubbed,
        slots_of: _SlotsOf,
        frontier: Mapping[Expr, tuple[Slot, ...]],
        templates: Mapping[Expr, Expr],
    ) -> None:
        self.reads = dict(scrubbed.reads)
        self.slots_of, self.frontier, self.templates = slots_of, frontier, templates
        self.stages: list[Stage] = []
        self.cuts: dict[Symbol, Cut] = {}
        self._clusters: dict[Slot, tuple[Stage, dict[Expr, int]]] = {}

    def add_single(self, cluster: Cluster) -> None:
        """A stage for a cluster of draws."""
        numbers = {template: i for i, template in enumerate(cluster.templates)}
        about: dict[Symbol, Read] = {}
        for node, template in self.templates.items():
            if template in numbers:
                names = [self.reads[symbol].name for symbol in node.free_symbols]
                about |= {
                    symbol: Read(name, cluster.slots[0])
                    for symbol, name in zip(template.free_symbols, names, strict=True)
                }
        stage = Stage(_label(cluster.slots, ", "), list(numbers), [(slot,) for slot in cluster.slots], about, {})
        self.stages.append(stage)
        for slot in cluster.slots:
            self._clusters[slot] = (stage, numbers)

    def finish(self, expr: Expr, chosen: set[tuple[Slot, ...]]) -> tuple[list[Stage], Cut]:
        """The stages, and where the result is found; those of several draws for these tuples."""
        joint: dict[tuple[Slot, ...], dict[Expr, Symbol]] = {slots: {} for slots in chosen}
        instead: dict[Expr, Symbol] = {}  # of what is cut out, for what reads other draws than it does

        def cut(node: Expr, rebuilt: tuple[Expr, ...]) -> Expr:
            mine = self.slots_of(node)
            children = [
                instead[old] if old in instead and self.slots_of(old) != mine else new
                for old, new in zip(node.children, rebuilt, strict=True)
            ]
            result = node.with_children(children)
            slots = self.frontier.get(node, ())
            if slots in joint and node is not expr:
                instead[node] = joint[slots].setdefault(result, _value_of(node))
            elif len(slots) == 1 and slots[0] in self._clusters:
                stage, numbers = self._clusters[slots[0]]
                instead[node] = _value_of(node)
                self.cuts[instead[node]] = Cut(stage, numbers[self.templates[node]], slots)
            return result

        last = rebuild([expr], cut)[expr]
        if expr in instead:
            return self.stages, self.cuts[instead[expr]]
        for slots in sorted(joint, key=lambda slots: (len(slots), slots)):  # what reads less comes first
            if joint[slots]:
                stage = self._stage(list(joint[slots]), slots, is_worth_it=True)
                for i, symbol in enumerate(joint[slots].values()):
                    self.cuts[symbol] = Cut(stage, i, slots)
        slots = self.frontier[expr]
        return self.stages, Cut(self._stage([last], slots, is_worth_it=slots in chosen), 0, slots)

    def _stage(self, exprs: Sequence[Expr], slots: tuple[Slot, ...], *, is_worth_it: bool) -> Stage:
        stage = Stage(_label(slots, " and "), exprs, [slots], self.reads, self.cuts, skip_equal=is_worth_it)
        self.stages.append(stage)
        return stage


def _value_of(node: Expr) -> Symbol:
    return Symbol(node.shape, uuid_from_name(f"value of {node.digest}"), node.name)


def _label(slots: Sequence[Slot], separator: str) -> str:
    return separator.join(slot.label for slot in slots[:3]) + (", ..." if len(slots) > 3 else "")
