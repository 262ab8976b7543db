"""The order of a contraction of several factors, and what it costs; letters and sizes only.

Costs are arithmetic operations, plus what reading and writing a number takes in the time of so many of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import opt_einsum

Letters = tuple[int, ...]

OPERATIONS_PER_NUMBER = 16
"""Operations that a processor does in the time in which it reads or writes one number."""


class Order(NamedTuple):
    """An order of contraction.

    Attributes:
        path: positions of the factors of each step, which are removed; its result is appended.
        cost: of all steps.
    """

    path: tuple[tuple[int, ...], ...]
    cost: float


def best_order(ins: Sequence[Letters], size: Mapping[int, int], kept: Collection[int]) -> Order:
    """opt_einsum's order for factors with these letters, a result with the letters `kept`.

    >>> best_order([(0, 1), (1, 2), (2,)], {0: 50, 1: 50, 2: 50}, {0}).path
    ((1, 2), (0, 1))
    """
    number = {letter: i for i, letter in enumerate(dict.fromkeys(letter for letters in ins for letter in letters))}
    numbered = tuple(tuple(number[letter] for letter in letters) for letters in ins)
    return _best(numbered, tuple(size[letter] for letter in number), frozenset(number[letter] for letter in kept))


@lru_cache(maxsize=8192)
def _best(ins: tuple[Letters, ...], sizes: tuple[int, ...], kept: frozenset[int]) -> Order:
    path: Iterable[Collection[int]] = [range(len(ins))]
    if len(ins) > 2:
        symbols = [opt_einsum.get_symbol(i) for i in range(len(sizes))]
        inputs = [frozenset(symbols[letter] for letter in letters) for letters in ins]
        output = frozenset(symbols[letter] for letter in kept)
        path = opt_einsum.paths.auto(inputs, output, dict(zip(symbols, sizes, strict=True)))
    in_order = tuple(tuple(sorted(step)) for step in path)
    return Order(in_order, _cost(ins, sizes, kept, in_order))


def _cost(ins: Sequence[Letters], sizes: Sequence[int], kept: frozenset[int], path: Sequence[tuple[int, ...]]) -> float:
    rest = [frozenset(letters) for letters in ins]
    total = 0.0
    for step in path:
        chosen, rest, result = taken(rest, step, kept)
        there = frozenset[int]().union(*chosen)
        moved = sum(_numel(letters, sizes) for letters in (*chosen, result))
        total += _numel(there, sizes) * (len(chosen) - 1 + (result != there)) + OPERATIONS_PER_NUMBER * moved
        rest.append(result)
    return total


def taken(
    rest: Sequence[frozenset[int]], step: Sequence[int], kept: frozenset[int]
) -> tuple[list[frozenset[int]], list[frozenset[int]], frozenset[int]]:
    """Letters of the factors of a step, of the others, and of the step's result: what others or the end still need."""
    chosen = [rest[i] for i in step]
    others = [letters for i, letters in enumerate(rest) if i not in step]
    needed = kept.union(*others)
    return chosen, others, frozenset[int]().union(*chosen) & needed


def _numel(letters: Collection[int], sizes: Sequence[int]) -> int:
    return math.prod(sizes[letter] for letter in letters)
