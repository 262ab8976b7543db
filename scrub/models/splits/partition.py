"""Named groups that partition an axis: positions, neurons, heads.

{"subject": slice(2, 4), "verb": 4, "rest": [0, 1, 5]}      or      [(slice(2, 4), "subject"), (4, "verb"), ...]
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from scrub.graph.errors import ScrubError, SplitError
from scrub.graph.index import IndexEntry

Groups = Mapping[str, IndexEntry] | Sequence[tuple[IndexEntry, str]]
"""label -> positions, or pairs (positions, label): an int, a slice, or a list or 1-d tensor of positions."""

_MAX_LISTED = 10


@dataclass(frozen=True)
class Group:
    """A named group of positions.

    Attributes:
        label: what it is called.
        positions: in the order in which they were given, counted from 0.
        is_single: given as an int, so that an index by it drops the axis.
    """

    label: str
    positions: tuple[int, ...]
    is_single: bool = False

    @property
    def entry(self) -> int | slice | torch.Tensor:
        """The positions as `Index` takes them: a slice, which is a view, where they follow each other.

        >>> Group("verb", (4,), is_single=True).entry, Group("subject", (2, 3)).entry, Group("rest", (5, 0)).entry
        (4, slice(2, 4, None), tensor([5, 0]))
        """
        if self.is_single:
            return self.positions[0]
        run = _as_run(self.positions)
        return torch.tensor(self.positions, dtype=torch.int64) if run is None else run


def partition(
    groups: Groups,
    size: object,
    *,
    where: str,
    noun: str = "position",
    from_end: bool = True,
    error: type[ScrubError] = SplitError,
    nodes: Iterable[object] = (),
) -> tuple[Group, ...]:
    """The groups, which have to partition an axis of that size.

    Args:
        groups: each takes at least one position. Bounds of slices count from the end where they are negative.
        size: of the axis.
        where: what is being split, as errors begin.
        noun: what the positions are.
        from_end: whether negative positions count from the end too; if not they are errors.
        error: the class of errors.
        nodes: shown in errors.

    Raises:
        SplitError: a position does not exist, is in two groups or in none, a group takes nothing or something else
            than positions, or two groups have the same name.

    >>> [(group.label, group.positions) for group in partition({"first": 0, "rest": slice(1, None)}, 3, where="x")]
    [('first', (0,)), ('rest', (1, 2))]
    >>> partition([(0, "prev"), ([0, 1], "both")], 2, where="a0", noun="head")
    Traceback (most recent call last):
        ...
    scrub.graph.errors.SplitError: a0: head 0 is in group 'prev' and in group 'both'
    hint: take it out of one of them
    """
    checks = _Checks(where, noun, from_end, error, tuple(nodes))
    if not isinstance(size, int):
        raise checks.problem(
            f"the axis has size {size}, which is not known yet",
            expected="a number",
            found=size,
            hint="update(..., see_through=True) splits every call at its own sizes; bind_sizes gives sizes a value",
        )
    result: list[Group] = []
    for entry, label in checks.pairs(groups):
        positions, is_single = checks.positions(entry, size, label)
        result.append(Group(label, positions, is_single))
    checks.labels(result)
    checks.each_once(result)
    checks.complete(result, size, is_mapping=isinstance(groups, Mapping))
    return tuple(result)


def every_position(size: object, letter: str) -> list[tuple[IndexEntry, str]]:
    """One group for each position, `n0`, `n1`, ... for the letter n; none where the size is not known.

    >>> every_position(2, "n")
    [(0, 'n0'), (1, 'n1')]
    """
    return [(i, f"{letter}{i}") for i in range(size)] if isinstance(size, int) else []


@dataclass(frozen=True)
class _Checks:
    where: str
    noun: str
    from_end: bool
    error: type[ScrubError]
    nodes: tuple[object, ...]

    def problem(self, text: str, *, expected: object = None, found: object = None, hint: str) -> ScrubError:
        """The error to raise."""
        return self.error(f"{self.where}: {text}", nodes=self.nodes, expected=expected, found=found, hint=hint)

    def pairs(self, groups: Groups) -> list[tuple[IndexEntry, str]]:
        """Pairs (positions, label), however the groups were given."""
        if isinstance(groups, Mapping):
            return [(entry, label) for label, entry in groups.items()]
        given: Any = groups
        if isinstance(given, list | tuple) and all(_is_pair(pair) for pair in cast("list[Any]", given)):
            return list(groups)
        raise self.problem(
            f"{groups!r} are no groups",
            expected="{label: positions} or [(positions, label), ...]",
            found=groups,
            hint=f"for example {{'first': 0, 'rest': slice(1, None)}}, with {self.noun}s counted from 0",
        )

    def positions(self, entry: Any, size: int, label: str) -> tuple[tuple[int, ...], bool]:
        """What a group takes of an axis of that size, counted from 0, and whether it was given as an int."""
        takes = f"group {label!r} takes"
        is_slice = isinstance(entry, slice)
        if is_slice:
            listed, is_single = self._positions_of_slice(entry, size, takes), False
        else:
            given, is_single = self._listed(entry, takes)
            listed = [self._position(one, size, takes) for one in given]
        if not listed:
            raise self.problem(
                f"{takes} no {self.noun}",
                expected=f"at least one {self.noun}",
                found=entry,
                hint="leave it out" if size else "there is nothing to split",
            )
        return tuple(listed), is_single

    def _listed(self, entry: Any, takes: str) -> tuple[list[int], bool]:
        given: Any = cast("Any", entry.tolist()) if isinstance(entry, torch.Tensor) else entry
        is_single = not isinstance(given, Iterable) or isinstance(given, str)
        listed: list[Any] = [given] if is_single else list(cast("Iterable[Any]", given))
        try:
            if any(isinstance(one, bool) for one in listed):
                raise TypeError
            return [operator.index(one) for one in listed], is_single
        except TypeError:
            is_mask = bool(listed) and all(isinstance(one, bool) for one in listed)
            raise self.problem(
                f"{takes} {entry!r}",
                expected=f"{self.noun}s: an int, a slice, or a list or 1-d tensor of ints",
                found=entry,
                hint="mask.nonzero()[:, 0] are the positions of a mask" if is_mask else "give positions as ints",
            ) from None

    def _position(self, position: int, size: int, takes: str) -> int:
        lowest = -size if self.from_end else 0
        if not lowest <= position < size:
            raise self.problem(
                f"{takes} {self.noun} {position}, there are {size}",
                expected=f"0 to {size - 1}",
                found=position,
                hint=f"{self.noun}s count from 0 to {size - 1}",
            )
        return position % size

    def _positions_of_slice(self, entry: Any, size: int, takes: str) -> list[int]:
        start = 0 if entry.start is None else entry.start
        stop = size if entry.stop is None else entry.stop
        start, stop = (bound + size if bound < 0 else bound for bound in (start, stop))
        step = 1 if entry.step is None else entry.step
        if not (0 <= start <= size and 0 <= stop <= size and step > 0):
            text = f"{entry.start}:{entry.stop}" + (f":{step}" if step != 1 else "")
            raise self.problem(
                f"{takes} {self.noun}s {text}, there are {size}",
                expected=f"{self.noun}s 0 to {size - 1}",
                found=entry,
                hint=f"{self.noun}s count from 0 to {size - 1}",
            )
        return list(range(start, stop, step))

    def labels(self, groups: Sequence[Group]) -> None:
        """Raise unless the names are names, and different."""
        seen: set[str] = set()
        for group in groups:
            if not isinstance(group.label, str) or not group.label:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise self.problem(f"a group is named {group.label!r}", found=group.label, hint="name it by text")
            if group.label in seen:
                raise self.problem(
                    f"two groups are named {group.label!r}", found=group.label, hint="rename one of them"
                )
            seen.add(group.label)

    def each_once(self, groups: Sequence[Group]) -> None:
        """Raise where a position is in two groups, or in one twice."""
        owner: dict[int, str] = {}
        for group in groups:
            for position in group.positions:
                if position in owner:
                    first, second = owner[position], group.label
                    is_twice = first == second
                    where = f"twice in group {first!r}" if is_twice else f"in group {first!r} and in group {second!r}"
                    raise self.problem(
                        f"{self.noun} {position} is {where}",
                        expected=f"each {self.noun} in one group",
                        found=position,
                        hint="list it once" if is_twice else "take it out of one of them",
                    )
                owner[position] = group.label

    def complete(self, groups: Sequence[Group], size: int, *, is_mapping: bool) -> None:
        """Raise where a position is in no group."""
        taken = {position for group in groups for position in group.positions}
        missing = [position for position in range(size) if position not in taken]
        if not missing:
            return
        run = _as_run(missing)
        if len(missing) <= _MAX_LISTED:
            text = example = str(missing)
        else:
            text = f"[{', '.join(map(str, missing[:_MAX_LISTED]))}, ...] ({len(missing)} of {size})"
            example = "[...]" if run is None else f"slice({run.start}, {run.stop})"
        raise self.problem(
            f"{self.noun}s {text} are in no group",
            expected=list(range(size)),
            found=sorted(taken),
            hint="add a group, for example " + (f"{{'rest': {example}}}" if is_mapping else f"({example}, 'rest')"),
        )


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, tuple) and len(cast("tuple[Any, ...]", pair)) == 2


def _as_run(positions: Sequence[int]) -> slice | None:
    """A slice, where the positions follow each other."""
    first = positions[0]
    is_run = list(positions) == list(range(first, first + len(positions)))
    return slice(first, first + len(positions)) if is_run else None
