"""How a flat sum or product is to be nested: a tree of what belongs together.

A spec is a list of parts, each of which claims terms (operands) of the flat sum (product):

- an int: the one at that position, from the end if negative
- a `Group(...)` of parts: they become a sum (product) of their own, with a name if one is given
- a list or tuple of parts: the same as `Group(*parts)`
- `REST`: all that nothing else claims, one after another
- anything else is a matcher (a name, a set of names, a node type, ...): all that it matches

    [0, Group("b", "c", name="bc"), REST]

Every term must be claimed exactly once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from scrub.graph import ConstructionError, Expr
from scrub.rewrite.matcher import Matcher
from scrub.rewrite.rule import NoMatch


class Rest(Enum):
    """The type of `REST`."""

    REST = "rest"

    def __repr__(self) -> str:
        return "REST"


REST = Rest.REST
"""All that no other part of a spec claims."""

Part = Any
"""An int, a `Group`, a list or tuple of parts, `REST`, or what `Matcher` accepts."""


@dataclass(frozen=True, init=False)
class Group:
    """Parts that are nested together.

    Args:
        parts: what belongs to the group.
        name: its name; if not given, that of the group of the same terms that was there before, if there was one.
        axes: of a product: the order of the axes of its result, as a permutation of what it would be otherwise.

    >>> Group(0, "b", name="ab")
    Group(0, 'b', name='ab')
    """

    parts: tuple[Part, ...]
    name: str | None
    axes: tuple[int, ...] | None

    def __init__(self, *parts: Part, name: str | None = None, axes: Sequence[int] | None = None) -> None:
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "axes", None if axes is None else tuple(axes))
        if axes is not None and sorted(axes) != list(range(len(axes))):
            raise ConstructionError(
                f"Group: axes {list(axes)} are not a permutation",
                expected=f"each of 0 to {len(axes) - 1} once",
                found=tuple(axes),
            )

    def __repr__(self) -> str:
        options = [f"{key}={value!r}" for key, value in (("name", self.name), ("axes", self.axes)) if value is not None]
        return f"Group({', '.join([*map(repr, self.parts), *options])})"


@dataclass(eq=False)
class Nest:
    """A group with positions for what its parts claim.

    Attributes:
        group: where it comes from.
        parts: positions, and nests.
        start, stop: what lies below it is from [start, stop).
        count: how much lies below it.
    """

    group: Group
    parts: list[int | Nest | Rest] = field(default_factory=list["int | Nest | Rest"])
    start: int = 0
    stop: int = 0
    count: int = 0

    @property
    def is_range(self) -> bool:
        """Whether all from start to stop lies below it."""
        return self.count == self.stop - self.start


def resolve(spec: Sequence[Part], items: Sequence[Expr]) -> list[Nest] | NoMatch:
    """The nests of a spec for these items, the outermost first and every one before those in it; or why it has none.

    >>> from scrub.graph import Scalar
    >>> items = [Scalar(float(i), name=name) for i, name in enumerate("abc")]
    >>> [nest.parts for nest in resolve([REST, Group("b")], items)][1]
    [1]
    >>> resolve(["a", 0], items).reason
    "position 0, 'a' [] Scalar 0.0, is claimed by 'a' and by 0"
    >>> resolve(["a"], items).reason
    "nothing claims position 1, 'b' [] Scalar 1.0; position 2, 'c' [] Scalar 2.0; add REST to take them all"
    """
    root = Nest(Group(*spec))
    nests = [root]
    claims: dict[int, Part] = {}
    for nest in nests:  # grows
        for part in nest.group.parts:
            if isinstance(part, Rest):
                nest.parts.append(part)
            elif isinstance(part, Group | list | tuple):
                nests.append(Nest(part if isinstance(part, Group) else Group(*part)))
                nest.parts.append(nests[-1])
            else:
                positions = _claimed(part, items)
                if isinstance(positions, NoMatch):
                    return positions
                for position in positions:
                    if position in claims:
                        item = f"position {position}, {items[position]!r},"
                        return NoMatch(f"{item} is claimed by {claims[position]!r} and by {part!r}")
                    claims[position] = part
                nest.parts += positions
    rest = [position for position in range(len(items)) if position not in claims]
    problem = _fill_rest(nests, rest, items)
    return nests if problem is None else problem


def _claimed(part: Part, items: Sequence[Expr]) -> list[int] | NoMatch:
    if isinstance(part, int) and not isinstance(part, bool):
        if not -len(items) <= part < len(items):
            return NoMatch(f"there is no position {part}, there are {len(items)}")
        return [part % len(items)]
    matcher = Matcher(part)
    positions = [position for position, item in enumerate(items) if matcher(item)]
    return positions or NoMatch(f"{part!r} matches none of the {len(items)}")


def _fill_rest(nests: Sequence[Nest], rest: list[int], items: Sequence[Expr]) -> NoMatch | None:
    """Put what is left where `REST` stands, and note what lies below each nest; or why that does not go."""
    num_rests = sum(nest.parts.count(REST) for nest in nests)
    if num_rests > 1:
        return NoMatch(f"REST stands {num_rests} times")
    if rest and not num_rests:
        shown = "; ".join(f"position {position}, {items[position]!r}" for position in rest[:5])
        more = f"; and {len(rest) - 5} others" if len(rest) > 5 else ""
        return NoMatch(f"nothing claims {shown}{more}; add REST to take them all")
    for nest in reversed(nests):
        if REST in nest.parts:
            at = nest.parts.index(REST)
            nest.parts[at : at + 1] = rest
        if not nest.parts and nest is not nests[0]:
            return NoMatch(f"{nest.group!r} has nothing in it")
        ranges = [(p.start, p.stop, p.count) if isinstance(p, Nest) else (p, p + 1, 1) for p in nest.parts if p != REST]
        nest.start = min((start for start, _, _ in ranges), default=0)
        nest.stop = max((stop for _, stop, _ in ranges), default=0)
        nest.count = sum(count for _, _, count in ranges)
    return None


def random_specs(seed: str, items: Sequence[Expr]) -> Iterator[list[Part]]:
    """Specs for generated cases: everything flat, a random tree, a matcher and the rest."""
    chance = random.Random(seed)
    order: list[Part] = list(range(len(items)))
    if chance.random() < 0.5:
        chance.shuffle(order)
    tree = list(order)
    for number in range(chance.choice([1, 2, 3])):
        start, stop = sorted((chance.randint(0, len(tree)), chance.randint(0, len(tree))))
        if start < stop:
            name = f"group{number}" if chance.random() < 0.5 else None
            tree[start:stop] = [Group(*tree[start:stop], name=name)]
    yield [REST]
    yield tree
    if items:
        yield [REST, Group({chance.choice(items)}, name="chosen")]
