"""Random activations and partitions, and the comparison of values that all tests of splits share."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

import scrub as rc
from scrub.rewrite.testing import Maker, groups_of, value_of

MANY = 2**32


def activation(maker: Maker, *shape: int, depth: int = 3) -> rc.Expr:
    """A named inner node of that shape, random now and then."""
    made = maker.random_expr(shape, depth) if maker.random.random() < 0.3 else maker.expr(shape, depth)
    return rc.elementwise("tanh", made, name="act")


def random_partition(chance: random.Random, size: int) -> tuple[Any, dict[str, list[int]]]:
    """Groups as a user may write them, and the positions of each label."""
    order = list(range(size))
    if chance.random() < 0.5:
        chance.shuffle(order)
    pairs: list[tuple[Any, str]] = []
    expected: dict[str, list[int]] = {}
    while order:
        count = chance.randint(1, len(order))
        taken, order = order[:count], order[count:]
        label = f"g{len(pairs)}"
        expected[label] = taken
        pairs.append((_written(chance, taken, size), label))
    return (pairs if chance.random() < 0.5 else {label: entry for entry, label in pairs}), expected


def _written(chance: random.Random, taken: list[int], size: int) -> Any:
    first, last, step = taken[0], taken[-1], taken[1] - taken[0] if len(taken) > 1 else 1
    forms: list[Any] = [taken, tuple(taken), torch.tensor(taken), [i - size for i in taken]]
    if len(taken) == 1:
        forms += [first, first - size, torch.tensor(first)]
    if step > 0 and taken == list(range(first, last + 1, step)):
        forms += [slice(first, last + 1, step), slice(first - size, last + 1, step)]
        forms += [slice(first, None, step)] if last == size - 1 else [slice(first, last + 1 - size, step)]
    return chance.choice(forms)


def assert_equal_values(before: rc.Expr, after: rc.Expr, tolerance: float = 1e-10) -> None:
    """Shape, dtype and, at every outcome of random variables, the value: to a tolerance relative to the largest."""
    groups = groups_of([before, after])
    old, new = value_of(before, groups=groups), value_of(after, groups=groups)
    assert old.shape == new.shape
    assert None in (before.dtype, after.dtype) or before.dtype == after.dtype  # scalars leave it open
    scale = max(1.0, float(old.abs().max())) if old.numel() else 1.0
    torch.testing.assert_close(new, old, rtol=0.0, atol=tolerance * scale)


def assert_same_in_batches(before: rc.Expr, transform: Callable[[rc.Expr], rc.Expr], seed: int) -> None:
    """`before` is a function of symbol `x`: split first and given batch axes later, it is what it was on each entry."""
    (symbol,) = before.free_symbols
    values = torch.randn((2, 3, *symbol.shape), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    after = before.update("act", transform)
    assert after is not before
    one_by_one = [value_of(before, symbols={symbol: entry}) for entry in values.flatten(0, 1)]
    expected = torch.stack(one_by_one).reshape(2, 3, *before.shape)
    argument = rc.Array(values, "values")
    called = rc.Module(rc.ModuleSpec(after, [symbol]), "call", **{str(symbol.name): argument})
    bound = rc.bind(after, {symbol: argument})
    for batched in (called, called.substitute(), bound):
        torch.testing.assert_close(batched.evaluate(), expected, rtol=1e-10, atol=1e-10)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Normally distributed numbers."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def array(name: str, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> rc.Array:
    """An array of such numbers."""
    return rc.Array(normal(*shape, seed=seed + sum(map(ord, name)), dtype=dtype), name)
