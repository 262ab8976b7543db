"""`treeify`: the scrubbed model as a tree over claims, for looking at it, and to judge the fast way by (SPEC 9.5).

Every path that leads to a claimed place has nodes of its own, and what is claimed on different paths reads symbols of
its own. Only what reads one draw stays shared. So it grows with the number of paths, and is for small models.

It is written without what `scrub` uses: paths are gone along one by one, with no state that two of them share, and
modules stay, each with a parameter for every place of its body that the path leads through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from scrub.compiler import evaluate_many
from scrub.graph import Array, DiscreteVar, Expr, Module, ModuleArgSpec, Scalar, Symbol
from scrub.graph.rules import uuid_from_name
from scrub.graph.walk import rebuild
from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.scrubbed import Read, Scrubbed
from scrub.hypothesis.slots import Slot, Slots
from scrub.hypothesis.tree_paths import Call, PathWalk, Scope, Spot
from scrub.rewrite import bind

if TYPE_CHECKING:
    from scrub.hypothesis.experiment import Experiment


@dataclass(frozen=True)
class Treeified:
    """A model as a tree over claims.

    Attributes:
        expr: the tree. Nodes above claims are named "name @ node", by the node of the interpretation that they belong
            to; symbols "input of draw".
        reads: its symbols, and which input and draw they stand for.
        paths: for each node of the interpretation, the paths to its places, by the names on them.
    """

    expr: Expr
    reads: Mapping[Symbol, Read]
    paths: Mapping[str, tuple[tuple[str, ...], ...]]

    def evaluate(self, rows: Mapping[Slot, torch.Tensor], data: Dataset) -> torch.Tensor:
        """The output for each reference, [n, *shape], one at a time with the reference evaluator.

        Args:
            rows: what the draws came to, such as `experiment.draw(...)` gives.
            data: what the rows are numbers of: `experiment.source.data`.
        """
        outputs: list[torch.Tensor] = []
        for i in range(len(next(iter(rows.values())))):
            values = {symbol: data[read.name][int(rows[read.slot][i])] for symbol, read in self.reads.items()}
            outputs.append(evaluate_many([self.expr], values)[0])
        return torch.stack(outputs)

    def print(self) -> None:
        """Print the tree."""
        self.expr.print()


def treeify(scrubbed: Scrubbed | Experiment, *, limit: int = 10_000) -> Treeified:
    """The scrubbed model as a tree over claims.

    Args:
        scrubbed: the model, as `scrub` gives it; or an experiment.
        limit: most nodes on the paths to claimed places.

    Raises:
        HypothesisError: there are more.

    >>> from scrub.hypothesis import Correspondence, ExactSampler, Hypothesis, InterpNode, corr_root_matcher, scrub
    >>> from scrub.graph import Add
    >>> x = Symbol.new_from_name((), "x")
    >>> model = Add(Add(x, name="A"), Add(x, name="B"), name="C")
    >>> root, corr = InterpNode(ExactSampler(), "root"), Correspondence()
    >>> corr.add(root, corr_root_matcher)
    >>> corr.add(root.make_descendant(ExactSampler(), "left"), "A")
    >>> treeify(scrub(model, Hypothesis(corr), Dataset({"x": torch.zeros(2)}))).print()
    'C @ root' [] Add
      'A @ left' [] Add
        'x of reference' [] Symbol ...
      'B' [] Add
        'x of root/other' [] Symbol ...
    """
    found = scrubbed if isinstance(scrubbed, Scrubbed) else scrubbed.scrubbed
    claims = found.claims
    walk = PathWalk(claims.model, claims.hypothesis, claims.inputs, limit)
    tree = _Tree(walk, found.slots)
    expr = tree.build()
    paths: dict[str, list[tuple[str, ...]]] = {node.name: [] for node in walk.nodes}
    for spot in walk.spots:
        if spot.is_claimed:
            paths[walk.nodes[spot.owner[0]].name].append(spot.names)
    reads = {symbol: read for symbol, read in tree.reads.items() if symbol in expr.free_symbols}
    expr = bind(expr, {symbol: Scalar(0.0, symbol.shape) for symbol in expr.free_symbols if symbol not in reads})
    return Treeified(expr, reads, {name: tuple(found) for name, found in paths.items()})


@dataclass(frozen=True)
class _Branch:
    """What reads one draw together: a slot, and the claim that it belongs to."""

    slot: Slot
    claim: Spot


class _Parameter(NamedTuple):
    """A parameter of a module of the tree: one for each place where a path goes on to an argument.

    Attributes:
        symbol: of the model's module.
        branch: what the argument reads.
        value: the argument, where it leads on to a claim; else it is made with the module.
    """

    symbol: Symbol
    branch: _Branch | None
    value: Expr | None


class _Tree:
    """The expression, from the paths."""

    def __init__(self, walk: PathWalk, slots: Slots) -> None:
        self.walk, self.slots = walk, slots
        self.reads: dict[Symbol, Read] = {}
        self._terms: dict[int, dict[object, int]] = {}
        self._branches: dict[tuple[Spot, int | None], _Branch] = {}
        self._parameters: dict[Call, dict[Symbol, _Parameter]] = {}
        self._num_made = 0

    def build(self) -> Expr:
        """The tree."""
        leading = [spot for spot in self.walk.spots if spot.leads_on]
        for spot in leading:  # from the top and the left, as terms are numbered
            self._choose_draws(spot)
        for spot in reversed(leading):
            made = self._build(spot)
            name = spot.node.name
            is_shown = name is not None and not isinstance(made, Symbol)
            spot.expr = made.rename(f"{name} @ {self.walk.nodes[spot.owner[0]].name}") if is_shown else made
        expr = leading[0].expr
        assert expr is not None
        return expr

    def _choose_draws(self, spot: Spot) -> None:
        at = self.walk.place(spot.node, spot.scope)
        if not any(child.leads_on for child in spot.below):
            self._branches[spot, None] = self._branch(spot, at)
            return
        for k, child in enumerate(spot.below):
            if not child.leads_on and self.walk.reads(child.node, child.scope):
                self._branches[spot, k] = self._branch(spot, (at, k))

    def _branch(self, spot: Spot, term: object) -> _Branch:
        owner, claim = spot.owner
        assert claim is not None
        terms = self._terms.setdefault(owner, {})
        number = terms.setdefault(term, len(terms) + 1)
        return _Branch(self.slots.read_below(self.walk.nodes[owner], number), claim)

    def _build(self, spot: Spot) -> Expr:
        if (spot, None) in self._branches:
            return self._reading(spot.node, spot.scope, self._branches[spot, None])
        children = [
            child.expr or self._reading(child.node, child.scope, self._branches.get((spot, k)))
            for k, child in enumerate(spot.below)
        ]
        if spot.call is not None:
            return self._module(spot.call, children[0])
        if isinstance(spot.node, Symbol):
            return self._parameter(spot.scope[spot.node], spot.node, None, children[0])
        return spot.node.with_children(children)

    def _reading(self, node: Expr, scope: Scope, branch: _Branch | None) -> Expr:
        """The node with its inputs replaced by those of a branch, wherever they are."""
        if branch is not None:
            inputs = self.walk.inputs

            def replace(at: Expr, children: tuple[Expr, ...]) -> Expr:
                is_input = at.name in inputs and isinstance(at, Array | DiscreteVar)
                return self._input(at, branch) if is_input else at.with_children(children)

            node = rebuild([node], replace)[node]
        values: dict[Symbol, Expr] = {}
        for symbol in node.free_symbols:
            if symbol in scope:
                values[symbol] = self._parameter(scope[symbol], symbol, branch, None)
            elif branch is not None and symbol.name in self.walk.inputs and symbol not in self.reads:
                values[symbol] = self._input(symbol, branch)
        return bind(node, values)

    def _input(self, leaf: Expr, branch: _Branch) -> Symbol:
        read = Read(str(leaf.name), branch.slot)
        symbol = Symbol(
            leaf.shape, uuid_from_name(f"{read} {branch.claim.number}"), f"{leaf.name} of {read.slot.label}"
        )
        self.reads[symbol] = read
        return symbol

    def _parameter(self, call: Call, symbol: Symbol, branch: _Branch | None, value: Expr | None) -> Symbol:
        """A parameter of the tree's module: for this value, or for what a branch reads of the argument."""
        parameters = self._parameters.setdefault(call, {})
        if value is None:
            for made, known in parameters.items():
                if known == (symbol, branch, None):
                    return made
        self._num_made += 1
        made = Symbol(symbol.shape, uuid_from_name(f"parameter {self._num_made} of a tree"), symbol.name)
        parameters[made] = _Parameter(symbol, branch, value)
        return made

    def _module(self, call: Call, body: Expr) -> Expr:
        specs = {spec.symbol: spec for spec in call.module.params}
        params: list[ModuleArgSpec] = []
        args: list[Expr] = []
        parameters = self._parameters.get(call, {})
        for made, (old, branch, value) in parameters.items():
            arg = call.module.bindings[old]
            params.append(ModuleArgSpec(made, specs[old].batchable, specs[old].expandable))
            args.append(self._reading(arg, call.scope, branch) if value is None else value)
        passed = {parameter.symbol for parameter in parameters.values()}
        for old, arg in call.module.bindings.items():  # unused, but its batch axes shape the result
            if old not in passed:
                params.append(specs[old])
                args.append(Scalar(0.0, arg.shape))
        return Module.make((body, *args), tuple(params), call.module.name)
