"""Claims: which node of the interpretation each path of the model belongs to, and the checks of SPEC 9.4.

One walk over the model, seen through its modules, carries the states of all matchers at once, and the node that the
path belongs to so far, its *owner*: the last one that claimed a place on it. Positions with equal states are visited
once, so the walk is linear in distinct positions, not in paths.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from scrub.graph import Array, DiscreteVar, Expr, HypothesisError, Module, Symbol, postorder
from scrub.hypothesis.hypothesis import Hypothesis
from scrub.rewrite.explain import nothing_found
from scrub.rewrite.places import At, Place, SeenThrough
from scrub.rewrite.states import Next, State, next_for

NOBODY = -1
_MOST_SHOWN = 8


class Carried(NamedTuple):
    """What is carried down a path.

    Attributes:
        states: of the matchers that may still find something, with the numbers of their nodes.
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
        below: positions one step down, None where no data is read.
    """

    claimed: tuple[int, ...]
    at_once: tuple[int, ...]
    owner: int
    below: tuple[Position | None, ...]


class Claims:
    """The places of a hypothesis in a model.

    Args:
        model: what the hypothesis is about.
        hypothesis: nodes and matchers.
        inputs: names of the leaves that read data.

    Attributes:
        steps: what is at each position, in order of first visit.
        has_below: positions below which something is claimed.
        counts: for each node, at how many positions it claims a place.

    Raises:
        HypothesisError: the hypothesis does not fit; all mismatches, with the paths.
    """

    def __init__(self, model: Expr, hypothesis: Hypothesis, inputs: Iterable[str]) -> None:
        self.model, self.hypothesis = model, hypothesis
        self.nodes = hypothesis.nodes
        self.inputs = frozenset(inputs)
        self.places = SeenThrough()
        numbers = {node: i for i, node in enumerate(self.nodes)}
        self._parents = [NOBODY if node.parent is None else numbers[node.parent] for node in self.nodes]
        root = self.places.root(model)
        self._reading = _reading(root.node, self.inputs)
        states = tuple((i, hypothesis.matcher(node).state) for i, node in enumerate(self.nodes))
        self.start: Position = (root, Carried(states, NOBODY))
        self.steps: dict[Position, Step] = {}
        self.has_below: set[Position] = set()
        self.counts = [0] * len(self.nodes)
        self._came_from: dict[Position, Position | None] = {self.start: None}
        self._walk()
        self._check()

    def is_input(self, place: At) -> bool:
        """Whether data is read at this place."""
        node = place.node
        if node.name not in self.inputs:
            return False
        return isinstance(node, Array | DiscreteVar) or (isinstance(node, Symbol) and place.bound[0] is None)

    def step(self, position: Position) -> Step:
        """Work out what is at a position."""
        place, carried = position
        node = place.node
        found: list[int] = []
        nexts: list[tuple[int, Next]] = []
        for i, state in carried.states:
            is_found, following = state.step(node, True)
            if is_found:
                found.append(i)
            if following is not None:
                nexts.append((i, following))
        claimed = tuple(i for i in found if i not in carried.arrived)
        at_once = (*carried.arrived, *claimed)
        owner = claimed[-1] if claimed else carried.owner
        children = self.places.below(place)
        if self.is_input(place):
            return Step(claimed, at_once, owner, (None,) * len(children))
        arrived = at_once if isinstance(node, Module | Symbol) else ()
        below: list[Position | None] = []
        for k, child in enumerate(children):
            if not child.bound and child.node not in self._reading:
                below.append(None)
                continue
            each = [(i, next_for(following, k)) for i, following in nexts]
            alive = tuple([(i, state) for i, state in each if state is not None])
            below.append((child, Carried(alive, owner, arrived)))
        return Step(claimed, at_once, owner, tuple(below))

    def _walk(self) -> None:
        stack: list[tuple[Position, bool]] = [(self.start, False)]
        while stack:
            position, is_done = stack.pop()
            if is_done:
                below = self.steps[position].below
                if any(child is not None and self.leads_on(child) for child in below):
                    self.has_below.add(position)
            elif position not in self.steps:
                step = self.steps[position] = self.step(position)
                for i in step.claimed:
                    self.counts[i] += 1
                stack.append((position, True))
                for child in reversed(step.below):
                    if child is not None:
                        self._came_from.setdefault(child, position)
                        stack.append((child, False))

    def leads_on(self, position: Position) -> bool:
        """Whether something is claimed at or below a position."""
        return position in self.has_below or bool(self.steps[position].claimed)

    def path(self, position: Position) -> str:
        """One path to a position, by the names on it."""
        names: list[str] = []
        at: Position | None = position
        while at is not None:
            node = at[0].node
            name = node.name or ("" if at is not position else repr(node))
            if name and (not names or names[-1] != name):
                names.append(name)
            at = self._came_from[at]
        return " > ".join(reversed(names))

    def _check(self) -> None:
        problems = [*self._root_problems(), *self._overlaps()]
        for i, node in enumerate(self.nodes):
            if not self.counts[i] and i:
                explanation = nothing_found(self.model, self.hypothesis.matcher(node), see_through=True)
                problems.append(f"node {node.name!r} claims nothing: {explanation}")
        if problems:
            shown = "\n".join(problems[:_MOST_SHOWN])
            more = f"\nand {len(problems) - _MOST_SHOWN} more" if len(problems) > _MOST_SHOWN else ""
            raise HypothesisError(
                f"hypothesis {self.hypothesis.name!r} does not fit the model:\n{shown}{more}",
                nodes=[self.model],
                found=problems,
                hint="matchers find places on paths from the top of the model; a child's paths lie below its parent's, "
                "and no path below one node may lead through a place of another that is not its child",
            )

    def _root_problems(self) -> list[str]:
        root = self.nodes[0]
        matcher = self.hypothesis.matcher(root)
        if 0 not in self.steps[self.start].claimed:
            return [f"root node {root.name!r}: {matcher!r} does not find the whole model; use corr_root_matcher"]
        if self.counts[0] > 1:
            return [
                f"root node {root.name!r}: {matcher!r} finds {self.counts[0]} places, it must find only the whole "
                "model; use corr_root_matcher"
            ]
        return []

    def _overlaps(self) -> list[str]:
        problems: dict[tuple[object, ...], str] = {}
        for position, step in self.steps.items():
            names = [self.nodes[i].name for i in step.at_once]
            if step.claimed and len(step.at_once) > 1:
                problems.setdefault(
                    ("same", *step.at_once),
                    f"nodes {names[0]!r} and {names[-1]!r} claim the same place: {self.path(position)}",
                )
                continue
            for i in step.claimed:
                owner = position[1].owner
                if self._parents[i] != owner and i:
                    problems.setdefault((i, owner), self._misplaced(i, owner, position))
        return list(problems.values())

    def _misplaced(self, i: int, owner: int, position: Position) -> str:
        node = self.nodes[i]
        if owner == i:
            return (
                f"node {node.name!r} claims a place below another of its own: {self.path(position)}; "
                "restrict(..., term_if_matches=True) stops at the first"
            )
        wanted = self.nodes[self._parents[i]] if i else None
        above = f"node {self.nodes[owner].name!r}" if owner != NOBODY else "no node"
        lines = [
            f"node {node.name!r} claims a place whose path belongs to {above}, not to its parent "
            f"{wanted.name if wanted else None!r}:",
            f"    {node.name!r}: {self.path(position)}",
        ]
        for who in (owner, self._parents[i]):
            at = next((p for p, step in self.steps.items() if who in step.claimed), None)
            if at is not None:
                lines.append(f"    {self.nodes[who].name!r}: {self.path(at)}")
        return "\n".join(lines)


def _reading(model: Expr, inputs: frozenset[str]) -> set[Expr]:
    """The nodes from which data can be reached; those with free symbols may lead to any."""
    reading: set[Expr] = set()
    for node in postorder([model]):
        is_leaf = node.name in inputs and isinstance(node, Array | Symbol | DiscreteVar)
        if is_leaf or node.free_symbols or any(child in reading for child in node.children):
            reading.add(node)
    return reading
