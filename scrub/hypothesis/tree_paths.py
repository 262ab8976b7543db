"""All paths of a model, one by one, with what matchers find on each: what `treeify` is made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from scrub.graph import Array, DiscreteVar, Expr, HypothesisError, Module, Symbol
from scrub.hypothesis.hypothesis import Hypothesis
from scrub.rewrite.resize import conform_all_modules
from scrub.rewrite.states import State, next_for


@dataclass(eq=False)
class Call:
    """A module on a path.

    Attributes:
        scope: the calls that bind the symbols of its arguments.
        bound: number of the place that each of its symbols stands for.
    """

    module: Module
    scope: Scope
    bound: Mapping[Symbol, int]


Scope = Mapping[Symbol, Call]


@dataclass(eq=False)
class Spot:
    """One node on one path.

    Attributes:
        node, scope: what is there, and the calls that bind its symbols.
        states: of the matchers, None where one has finished.
        just_claimed: who claimed the module or symbol just passed.
        owner: number of the node of the interpretation that it belongs to, and where that claimed.
        names: of the path.
    """

    node: Expr
    scope: Scope
    states: tuple[State | None, ...]
    just_claimed: frozenset[int]
    owner: tuple[int, Spot | None]
    names: tuple[str, ...]
    call: Call | None = None
    below: list[Spot] = field(default_factory=list["Spot"])
    is_claimed: bool = False
    leads_on: bool = False
    expr: Expr | None = None
    number: int = -1


class PathWalk:
    """All paths, one by one.

    Attributes:
        spots: what is on them, a node before what is below it, left to right.
    """

    def __init__(self, model: Expr, hypothesis: Hypothesis, inputs: Collection[str], limit: int) -> None:
        self.model, self.hypothesis, self.inputs, self.limit = model, hypothesis, inputs, limit
        self.nodes = hypothesis.nodes
        self.spots: list[Spot] = []
        self._numbers: dict[object, int] = {}
        self._reading: dict[int, bool] = {}
        self._claim_free: set[tuple[object, ...]] = set()
        states = tuple(hypothesis.matcher(node).state for node in self.nodes)
        self._stack = [(Spot(conform_all_modules(model), {}, states, frozenset(), (-1, None), ()), False)]
        while self._stack:
            self._advance()

    def _advance(self) -> None:
        spot, is_done = self._stack.pop()
        if is_done:
            spot.leads_on = spot.is_claimed or any(child.leads_on for child in spot.below)
            if not spot.leads_on:
                self._claim_free.add(self._key(spot))
            return
        spot.number = len(self.spots)
        self.spots.append(spot)
        if len(self.spots) > self.limit:
            raise HypothesisError(
                f"the tree has more than {self.limit} nodes",
                nodes=[self.model],
                found=f"more than {self.limit}",
                hint="treeify(..., limit=) allows for more; scrub() computes the same without a tree",
            )
        if self._key(spot) not in self._claim_free:
            self._enter(spot)
            self._stack.append((spot, True))
            self._stack.extend((child, False) for child in reversed(spot.below) if self._may_lead_on(child))

    def _may_lead_on(self, spot: Spot) -> bool:
        return any(state is not None for state in spot.states) and self.reads(spot.node, spot.scope)

    def _key(self, spot: Spot) -> tuple[object, ...]:
        return self.place(spot.node, spot.scope), spot.states, spot.just_claimed

    def _enter(self, spot: Spot) -> None:
        """Who claims the spot, and the spots below."""
        steps = [(False, None) if state is None else state.step(spot.node, True) for state in spot.states]
        claimed = [i for i, (is_found, _) in enumerate(steps) if is_found and i not in spot.just_claimed]
        if claimed:
            self._check(spot, claimed)
            spot.is_claimed, spot.owner = True, (claimed[0], spot)
        if self.is_input(spot.node, spot.scope):
            return
        passes = isinstance(spot.node, Module | Symbol)
        just_claimed = spot.just_claimed.union(claimed) if passes else frozenset[int]()
        if isinstance(spot.node, Module):
            spot.call = self.call(spot.node, spot.scope)
        for k, (child, scope) in enumerate(self.below(spot.node, spot.scope, spot.call)):
            states = tuple(next_for(following, k) for _, following in steps)
            names = (*spot.names, *([] if child.name is None else [child.name]))
            spot.below.append(Spot(child, scope, states, just_claimed, spot.owner, names))

    def _check(self, spot: Spot, claimed: Sequence[int]) -> None:
        node, owner = self.nodes[claimed[0]], spot.owner[0]
        is_fine = node.parent is (None if owner < 0 else self.nodes[owner])
        if len(claimed) + len(spot.just_claimed) > 1 or not is_fine:
            raise HypothesisError(
                f"on the path {' > '.join(spot.names)}, {[self.nodes[i].name for i in claimed]} claim a place that "
                f"belongs to {None if owner < 0 else self.nodes[owner].name!r}",
                nodes=[spot.node],
            )

    def is_input(self, node: Expr, scope: Scope) -> bool:
        """Whether data is read here."""
        if node.name not in self.inputs:
            return False
        return isinstance(node, Array | DiscreteVar) or (isinstance(node, Symbol) and node not in scope)

    def call(self, module: Module, scope: Scope) -> Call:
        """A call of this module here."""
        return Call(module, scope, {symbol: self.place(arg, scope) for symbol, arg in module.bindings.items()})

    def below(self, node: Expr, scope: Scope, call: Call | None) -> list[tuple[Expr, Scope]]:
        """What a path goes on to."""
        if isinstance(node, Symbol):
            return [(scope[node].module.bindings[node], scope[node].scope)] if node in scope else []
        if isinstance(node, Module) and call is not None:
            return [(node.body, {**scope, **dict.fromkeys(node.bindings, call)})]
        return [(child, scope) for child in node.children]

    def place(self, node: Expr, scope: Scope) -> int:
        """A number for a node and what its symbols stand for."""
        bound = tuple(scope[symbol].bound[symbol] if symbol in scope else None for symbol in node.free_symbols)
        return self._numbers.setdefault((node, bound), len(self._numbers))

    def reads(self, node: Expr, scope: Scope) -> bool:
        """Whether data is read here or below."""
        start = self.place(node, scope)
        if start not in self._reading:
            seen: set[int] = set()
            waiting = [(node, scope)]
            found = False
            while waiting and not found:
                at, around = waiting.pop()
                number = self.place(at, around)
                if number not in seen:
                    seen.add(number)
                    found = self.is_input(at, around) or self._reading.get(number, False)
                    call = self.call(at, around) if isinstance(at, Module) else None
                    waiting.extend(self.below(at, around, call))
            self._reading |= {start: found} if found else dict.fromkeys(seen, False)
        return self._reading[start]
