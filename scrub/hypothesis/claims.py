"""Claims: which node of the interpretation each path of the model belongs to.

One walk over the model, seen through its modules, carries the states of all matchers at once, and the node that the
path belongs to so far, its *owner*: the last one that claimed a place on it. Positions with equal states are visited
once, and a state is dropped where there is nothing left for it to find; so the walk is linear in distinct positions
above claims, not in paths.

Places that no input is read at or below are not there for a hypothesis: nothing is different for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scrub.graph import Array, DiscreteVar, Expr, Module, Symbol, postorder
from scrub.graph.walk import settle
from scrub.hypothesis.hypothesis import Hypothesis
from scrub.rewrite import Matcher
from scrub.rewrite.places import Place, SeenThrough
from scrub.rewrite.states import Next, State, next_for

NOBODY = -1


class Carried(NamedTuple):
    """What is carried down a path.

    Attributes:
        states: of the matchers that find something at or below, with the numbers of their nodes.
        owner: number of the node that the path belongs to.
        arrived: who claimed the module or bound symbol just passed, which is one place with what comes next.
    """

    states: tuple[tuple[int, State], ...]
    owner: int
    arrived: tuple[int, ...] = ()


Position = tuple[Place, Carried]


class Step(NamedTuple):
    """What is at a position.

    Attributes:
        claimed: the nodes that newly claim it.
        at_once: all that claim this place.
        owner: who it belongs to.
        below: positions one step down; None where no matcher finds anything.
    """

    claimed: tuple[int, ...]
    at_once: tuple[int, ...]
    owner: int
    below: tuple[Position | None, ...]


class Claims:
    """The places of a hypothesis in a model. Whether they are as they must be, `checks.py` says.

    Args:
        model: what the hypothesis is about.
        hypothesis: nodes and matchers.
        inputs: names of the leaves that read data.

    Attributes:
        start: the position of the whole model.
        steps: what is at each position, in order of first visit.
        above: for each position, one from which it is come to.
        has_below: positions below which something is claimed.
        counts: for each node, at how many positions it claims a place.
    """

    def __init__(self, model: Expr, hypothesis: Hypothesis, inputs: Iterable[str]) -> None:
        self.model, self.hypothesis = model, hypothesis
        self.nodes = hypothesis.nodes
        self.inputs = frozenset(inputs)
        self.places = SeenThrough()
        root = self.places.root(model)
        self._reads: dict[Place, bool] = {}
        states = [(i, hypothesis.matcher(node).state) for i, node in enumerate(self.nodes)]
        self._found = _Found(self, root.node, [state for _, state in states])
        finding = tuple((i, state) for i, state in states if self._found.any_from(root, state))
        self.start: Position = (root, Carried(finding, NOBODY))
        self.steps: dict[Position, Step] = {}
        self.above: dict[Position, Position | None] = {self.start: None}
        self.has_below: set[Position] = set()
        self.counts = [0] * len(self.nodes)
        self._walk()

    def is_input(self, place: Place) -> bool:
        """Whether data is read at this place."""
        node = place.node
        if node.name not in self.inputs:
            return False
        return isinstance(node, Array | DiscreteVar) or (isinstance(node, Symbol) and place.bound[0] is None)

    def reads(self, place: Place) -> bool:
        """Whether data is read at or below this place."""
        if place not in self._reads:
            settle(place, self._reads, self._settle_reads)
        return self._reads[place]

    def leads_on(self, position: Position | None) -> bool:
        """Whether something is claimed at or below a position."""
        return position is not None and (position in self.has_below or bool(self.steps[position].claimed))

    def _settle_reads(self, place: Place) -> Sequence[Place]:
        if self.is_input(place):
            self._reads[place] = True
            return ()
        below = self.places.below(place)
        waiting = [child for child in below if child not in self._reads]
        if not waiting:
            self._reads[place] = any(self._reads[child] for child in below)
        return waiting

    def _step(self, position: Position) -> Step:
        place, carried = position
        finds = [(i, *self._found.at[place, state]) for i, state in carried.states]
        claimed = tuple(i for i, is_found, _ in finds if is_found and i not in carried.arrived)
        at_once = (*carried.arrived, *claimed)
        owner = claimed[-1] if claimed else carried.owner
        arrived = at_once if isinstance(place.node, Module | Symbol) else ()
        below: list[Position | None] = []
        for k, child in enumerate(self.places.below(place)):
            states = tuple([(i, state) for i, _, nexts in finds if (state := nexts[k]) is not None])
            below.append((child, Carried(states, owner, arrived)) if states else None)
        return Step(claimed, at_once, owner, tuple(below))

    def _walk(self) -> None:
        stack: list[tuple[Position, bool]] = [(self.start, False)]
        while stack:
            position, is_done = stack.pop()
            if is_done:
                if any(self.leads_on(child) for child in self.steps[position].below):
                    self.has_below.add(position)
            elif position not in self.steps:
                step = self.steps[position] = self._step(position)
                for i in step.claimed:
                    self.counts[i] += 1
                stack.append((position, True))
                for child in reversed(step.below):
                    if child is not None:
                        self.above.setdefault(child, position)
                        stack.append((child, False))


Pair = tuple[Place, State]
Finds = tuple[bool, tuple[State | None, ...]]


class _Found:
    """What a single matcher's state finds at a place, and in which states it goes on where it finds something below.

    Matchers are followed one by one first: pairs of a place and one state are few, while the combinations of all states
    are many, most of them different only in what is never found.
    """

    def __init__(self, claims: Claims, root: Expr, states: Iterable[State]) -> None:
        self._claims = claims
        needed = dict.fromkeys(matcher for state in states if (matcher := state.needs()) is not None)
        self._bits = {matcher: 1 << i for i, matcher in enumerate(needed)}
        self._met = _met_below(root, self._bits)
        self.at: dict[Pair, Finds] = {}
        self._steps: dict[Pair, tuple[bool, list[Pair | None]]] = {}
        self._stepped: dict[tuple[Expr, State], tuple[bool, Next]] = {}

    def any_from(self, place: Place, state: State) -> bool:
        """Whether anything is found from here on; afterwards `at` says what."""
        settle((place, state), self.at, self._settle)
        return self._is_any((place, state))

    def _settle(self, pair: Pair) -> Sequence[Pair]:
        if pair not in self._steps:
            self._steps[pair] = self._step(*pair)
        is_found, below = self._steps[pair]
        waiting = [child for child in below if child is not None and child not in self.at]
        if not waiting:
            nexts = [child[1] if child is not None and self._is_any(child) else None for child in below]
            self.at[pair] = is_found, tuple(nexts)
        return waiting

    def _is_any(self, pair: Pair) -> bool:
        is_found, nexts = self.at[pair]
        return is_found or any(state is not None for state in nexts)

    def _step(self, place: Place, state: State) -> tuple[bool, list[Pair | None]]:
        claims = self._claims
        num_below = len(claims.places.below(place))
        if not claims.reads(place):
            return False, [None] * num_below
        if (place.node, state) not in self._stepped:
            self._stepped[place.node, state] = state.step(place.node, True)
        is_found, following = self._stepped[place.node, state]
        if following is None or claims.is_input(place):
            return is_found, [None] * num_below
        below = [(child, next_for(following, k)) for k, child in enumerate(claims.places.below(place))]
        return is_found, [
            (c, s) if s is not None and self._may_find(c, s) and claims.reads(c) else None for c, s in below
        ]

    def _may_find(self, place: Place, state: State) -> bool:
        """Whether anything at or below a place meets what the state needs; one look, where a walk would be long."""
        needed = state.needs()
        return needed is None or bool(self._met[place.node] & self._bits.get(needed, -1))


def _met_below(root: Expr, bits: Mapping[Matcher, int]) -> dict[Expr, int]:
    """For each node, which matchers something at or below it meets: all, where a parameter may lead anywhere."""
    order = list(postorder([root]))
    parameters = {symbol for node in order if isinstance(node, Module) for symbol in node.bindings}
    tests = [(matcher.test, bit) for matcher, bit in bits.items()]
    met: dict[Expr, int] = {}
    for node in order:
        found = -1 if node in parameters else sum(bit for test, bit in tests if test(node))
        for child in node.children:
            found |= met[child]
        met[node] = found
    return met
