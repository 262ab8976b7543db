"""Texts from words, drawn at random: what generators share."""

from __future__ import annotations

import math
import string
import sys
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any, Generic, TypeVar

from scrub.graph import TaskError

W = TypeVar("W")

Spans = dict[str, tuple[int, int]]
"""By name, the first character of a word in a text and the one after its last."""


def draw(rng: Random, n: int, *axes: Axis) -> list[tuple[Any, ...]]:
    """n combinations of one item of each axis, at random. None is drawn again before all have been drawn.

    The draw is by index, so that the axes may have far more combinations than memory holds.

    Raises:
        TaskError: n is not a positive integer.

    >>> sorted(draw(Random(0), 4, "ab", (1, 2)))
    [('a', 1), ('a', 2), ('b', 1), ('b', 2)]
    """
    if n < 1:
        raise TaskError(f"a task of {n} prompts", expected="n >= 1", found=n, hint="ask for at least one prompt")
    total = math.prod(_size(axis) for axis in axes)
    indices: list[int] = []
    while len(indices) < n:
        indices += _different(rng, min(total, n - len(indices)), total)
    return [_combination(index, axes) for index in indices]


class Arrangements(Generic[W]):
    """All ways to put `length` different ones of these words in order, without holding them.

    Attributes:
        count: how many there are, as large as may be.

    >>> [Arrangements("abc", 2)[index] for index in range(6)]
    [('a', 'b'), ('b', 'a'), ('c', 'a'), ('a', 'c'), ('b', 'c'), ('c', 'b')]
    """

    def __init__(self, words: Sequence[W], length: int) -> None:
        self.words = words
        self.length = length
        self.count = math.perm(len(words), length)

    def __getitem__(self, index: int) -> tuple[W, ...]:
        left, chosen = list(self.words), list[W]()
        for _ in range(self.length):
            index, place = divmod(index, len(left))
            chosen.append(left.pop(place))
        return tuple(chosen)


Axis = Sequence[Any] | Arrangements[Any]


def _size(axis: Axis) -> int:
    return axis.count if isinstance(axis, Arrangements) else len(axis)


def _different(rng: Random, n: int, total: int) -> list[int]:
    """n different numbers below `total`, which may exceed what `range` takes."""
    if total <= sys.maxsize:
        return rng.sample(range(total), n)
    found: dict[int, None] = {}
    while len(found) < n:
        found[rng.randrange(total)] = None
    return list(found)


def _combination(index: int, axes: Sequence[Axis]) -> tuple[Any, ...]:
    """The items that `index` stands for, the first axis varying fastest."""
    chosen: list[Any] = []
    for axis in axes:
        index, place = divmod(index, _size(axis))
        chosen.append(axis[place])
    return tuple(chosen)


def fill(template: str, words: Mapping[str, str]) -> tuple[str, Spans]:
    """The template with its {slots} filled, and where in the text each word is.

    A slot that occurs several times is found where it occurs last.

    >>> fill("{first} met {second}.", {"first": "Anna", "second": "Tom"})
    ('Anna met Tom.', {'first': (0, 4), 'second': (9, 12)})
    """
    text, spans = "", Spans()
    for literal, slot, _, _ in string.Formatter().parse(template):
        text += literal
        if slot is not None:
            spans[slot] = (len(text), len(text) + len(words[slot]))
            text += words[slot]
    return text, spans


def choose(what: str, value: str, known: Mapping[str, W], *, several: Iterable[str] = ()) -> tuple[W, ...]:
    """What is known under this name; everything if `value` is among `several`.

    Raises:
        TaskError: nothing has this name.

    >>> choose("template", "all", {"short": 1, "long": 2}, several=["all"])
    (1, 2)
    """
    several = list(several)
    if value in several:
        return tuple(known.values())
    if value not in known:
        names = [*known, *several]
        raise TaskError(
            f"{what}={value!r} is not known; there are {', '.join(names)}",
            expected=names,
            found=value,
            hint=f"{what}={names[0]!r}",
        )
    return (known[value],)
