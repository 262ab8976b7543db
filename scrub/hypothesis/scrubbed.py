"""The model as a hypothesis sees it: every input replaced by the draw that is read there."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scrub.graph import Array, DiscreteVar, Expr, Module, Scalar, Symbol, postorder
from scrub.graph.rules import uuid_from_name
from scrub.graph.walk import settle
from scrub.hypothesis.checks import check_claims, check_inputs
from scrub.hypothesis.claims import Carried, Claims
from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.hypothesis import Hypothesis
from scrub.hypothesis.slots import Slot, Slots
from scrub.rewrite import bind
from scrub.rewrite.places import At, Place, SeenThrough
from scrub.rewrite.update import Update


class Read(NamedTuple):
    """An input that is read: its name, and which draw."""

    name: str
    slot: Slot


@dataclass(frozen=True)
class Scrubbed:
    """A model with one symbol per input and draw in place of its inputs.

    Attributes:
        expr: the model. What reads the same draws is one node, so its size is that of the distinct pairs of
            subexpression and inputs.
        reads: the symbols and what they stand for.
        slots: how the draws come about.
        claims: the places of the hypothesis.
    """

    expr: Expr
    reads: Mapping[Symbol, Read]
    slots: Slots
    claims: Claims

    @property
    def read_slots(self) -> tuple[Slot, ...]:
        """The draws that are read, in order of first visit."""
        return tuple(dict.fromkeys(self.reads[s].slot for s in self.expr.free_symbols if s in self.reads))


def scrub(model: Expr, hypothesis: Hypothesis, data: Dataset) -> Scrubbed:
    """Replace every input of the model by the draw that the hypothesis lets it read.

    Args:
        model: leaves (symbols, arrays or random variables) named like the dataset's inputs stand for one datum's.
        hypothesis: see `Hypothesis`.
        data: rows of the inputs.

    Raises:
        HypothesisError: the hypothesis does not fit the model (SPEC 9.4).
        DatasetError: an input is not in the model, or of another shape or dtype.

    >>> import torch
    >>> from scrub.hypothesis import Correspondence, ExactSampler, InterpNode, corr_root_matcher
    >>> x, y = (Symbol.new_from_name((), name) for name in "xy")
    >>> root, corr = InterpNode(ExactSampler(), "sum"), Correspondence()
    >>> corr.add(root, corr_root_matcher)
    >>> corr.add(root.make_descendant(ExactSampler(), "left"), "x")
    >>> data = Dataset({"x": torch.zeros(2), "y": torch.zeros(2)})
    >>> for symbol, read in scrub(x.add(y, name="sum"), Hypothesis(corr), data).reads.items():
    ...     print(symbol.name, read.slot.label)
    x reference
    y sum/other
    """
    check_inputs(model, data)
    claims = Claims(model, hypothesis, data.inputs)
    check_claims(claims)
    work = _Scrubbing(claims, Slots(hypothesis))
    expr = work.run(model, claims.start[1])
    reads = {symbol: read for symbol, read in work.reads.items() if symbol in expr.free_symbols}
    return Scrubbed(without_unread(expr, reads), reads, work.slots, claims)


def without_unread(expr: Expr, reads: Container[Symbol]) -> Expr:
    """With zeros for symbols that are only in arguments which no body uses."""
    return bind(expr, {symbol: Scalar(0.0, symbol.shape) for symbol in expr.free_symbols if symbol not in reads})


State = Carried | Slot
"""What is carried down a path: what the claims' walk carries; the slot to read, where nothing is claimed below."""


class _Routes(SeenThrough):
    """Walks as the claims do, and finds the places below which nothing is claimed, tagged with the slot to read there.

    A *term* is an argument below which nothing is claimed, of something that leads to a claim; or a claimed place below
    which nothing is. It is told from others by the node that owns it and its place, on whatever paths that is come to.
    """

    def __new__(cls, claims: Claims, slots: Slots) -> _Routes:
        return object.__new__(cls)

    def __init__(self, claims: Claims, slots: Slots) -> None:
        super().__init__()
        self._claims, self._slots = claims, slots
        self._terms: dict[int, dict[object, int]] = {}

    def root(self, expr: Expr) -> Place:
        return self._claims.start[0]

    def below(self, place: At) -> tuple[Place, ...]:
        return self._claims.places.below(place)

    def tag(self, position: tuple[At, Any]) -> tuple[Place, Slot]:
        place, state = position
        if isinstance(state, Slot):
            return place, state
        return place, self._slot(self._claims.steps[place, state].owner, place)

    def step(self, place: At, state: Any) -> tuple[bool, list[tuple[At, Any]]]:
        claims, children = self._claims, self.below(place)
        if isinstance(state, Slot) or (place, state) not in claims.has_below:
            _, slot = self.tag((place, state))
            if isinstance(place.node, Symbol) and children:  # what it stands for is found
                return False, [(children[0], slot)]
            return True, [(child, None) for child in children]
        step = claims.steps[place, state]
        below: list[tuple[Place, State | None]] = []
        for k, (child, at) in enumerate(zip(children, step.below, strict=True)):
            if at is not None and claims.leads_on(at):
                below.append((child, at[1]))
            else:
                below.append((child, self._slot(step.owner, (place, k)) if claims.reads(child) else None))
        return False, below

    def _slot(self, owner: int, term: object) -> Slot:
        terms = self._terms.setdefault(owner, {})
        return self._slots.read_below(self._claims.nodes[owner], terms.setdefault(term, len(terms) + 1))


_Inside = tuple[Expr, tuple[tuple[Symbol, Expr], ...], Slot]
"""A node, what takes the place of its free symbols, and the slot that inputs in it read."""


class _Scrubbing(Update):
    """The model with inputs replaced. Where nothing is claimed, that needs no walk through modules: all of it reads one
    slot, so inputs and the symbols that stand for something with inputs in it are replaced wherever they are.

    Attributes:
        reads: the symbols that were put in.
    """

    def __init__(self, claims: Claims, slots: Slots) -> None:
        super().__init__(_Routes(claims, slots), lambda node, tag: self._reading(*tag))
        self.slots = slots
        self.reads: dict[Symbol, Read] = {}
        self._claims = claims
        self._known: dict[tuple[Place, Slot], Expr] = {}
        self._inside: dict[_Inside, Expr] = {}
        self._arrays, self._above_arrays = set[Expr](), set[Expr]()
        for node in postorder([claims.start[0].node]):
            if node.name in claims.inputs and isinstance(node, Array | DiscreteVar):
                self._arrays.add(node)
            elif any(child in self._arrays or child in self._above_arrays for child in node.children):
                self._above_arrays.add(node)

    def _reading(self, place: Place, slot: Slot) -> Expr:
        settle((place, slot), self._known, self._settle)
        return self._known[place, slot]

    def _settle(self, at: tuple[Place, Slot]) -> Sequence[tuple[Place, Slot]]:
        """What stands at a place, all of it reading one slot; or what its symbols stand for, which must come first."""
        place, slot = at
        free = list(zip(place.node.free_symbols, place.bound, strict=True))
        changed = [(symbol, bound) for symbol, bound in free if bound is not None and self._claims.reads(bound)]
        waiting = [(bound, slot) for _, bound in changed if (bound, slot) not in self._known]
        if not waiting:
            values: dict[Symbol, Expr] = {}
            for symbol, bound in changed:
                values[symbol] = self._stand_in(symbol, self._known[bound, slot])
            for symbol, bound in free:
                if bound is None and symbol.name in self._claims.inputs:
                    values[symbol] = self._input(symbol, slot)
            inside = (place.node, tuple(values.items()), slot)
            settle(inside, self._inside, self._settle_inside)
            self._known[at] = self._inside[inside]
        return waiting

    def _settle_inside(self, at: _Inside) -> Sequence[_Inside]:
        """A node with inputs replaced, and these of its free symbols; or what it is made of, which must come first."""
        node, env, slot = at
        if node in self._arrays:
            self._inside[at] = self._input(node, slot)
        elif not env and node not in self._above_arrays:
            self._inside[at] = node
        elif isinstance(node, Symbol):
            self._inside[at] = env[0][1]
        else:
            values, bound = dict(env), node.bindings if isinstance(node, Module) else ()
            below: list[_Inside] = []
            for k, child in enumerate(node.children):
                free = [
                    symbol for symbol in child.free_symbols if symbol in values and not (k == 0 and symbol in bound)
                ]
                below.append((child, tuple((symbol, values[symbol]) for symbol in free), slot))
            waiting = [child for child in below if child not in self._inside]
            if waiting:
                return waiting
            self._inside[at] = node.with_children([self._inside[child] for child in below])
        return ()

    def _input(self, leaf: Expr, slot: Slot) -> Symbol:
        read = Read(str(leaf.name), slot)
        symbol = Symbol(leaf.shape, uuid_from_name(f"{read.name} of {slot}"), leaf.name)
        self.reads[symbol] = read
        return symbol
