"""Generated cases for rules of sums and products: parts of one dtype, which may be integer or boolean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from scrub.graph import Add, Array, Einsum, Expr, Scalar, Shape

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

NUMBERS = [torch.float64] * 5 + [torch.int64, torch.int8]
DTYPES = [*NUMBERS, torch.bool]


def some_dtype(maker: Maker) -> torch.dtype:
    """Mostly float64."""
    return maker.random.choice(DTYPES)


def part(maker: Maker, shape: Shape, dtype: torch.dtype) -> Expr:
    """Any expression of that shape, or an array of that dtype, or a sum or product of such arrays."""
    if dtype == torch.float64:
        made = maker.expr(shape, maker.random.choice([0, 1, 2]))
        is_safe = made.dtype is not None or (isinstance(made, Scalar) and made.value in (0, 1))
        return made if is_safe else array(maker, shape, dtype)  # integers combine with no other scalars
    if maker.random.random() < 0.1:
        can_be_one = dtype != torch.bool or math.prod(shape) == 1  # no sum over it may be 2
        return Scalar(maker.random.randint(0, 1) if can_be_one else 0, shape)
    kind = maker.random.choice(["array", "array", "sum", "product"])
    if kind == "array":
        return array(maker, shape, dtype)
    if kind == "sum":
        return Add(array(maker, shape, dtype), array(maker, maker.some(shape), dtype), name=maybe_name(maker))
    axes = tuple(range(len(shape)))
    operands = [(array(maker, shape, dtype), axes), (Scalar(maker.random.randint(0, 1)), ())]
    return Einsum(*operands, out_axes=axes, name=maybe_name(maker))


def array(maker: Maker, shape: Shape, dtype: torch.dtype) -> Expr:
    """An array of that dtype, of small numbers where they are integers."""
    if dtype == torch.float64:
        return maker.array(shape)
    generator = torch.Generator().manual_seed(maker.random.getrandbits(30))
    low, high = (0, 2) if dtype == torch.bool else (-9, 10)
    value = torch.randint(low, high, shape, generator=generator).to(dtype)
    return Array(value, maker.name("x") if maker.random.random() < 0.7 else None)


def maybe_name(maker: Maker) -> str | None:
    """A name, or none."""
    return maker.name("n") if maker.random.random() < 0.3 else None


def random_sum(maker: Maker, *special: Expr, shape: Shape, dtypes: Sequence[torch.dtype] = DTYPES) -> Add:
    """A sum of these terms and a few others, which broadcast to the shape, shuffled; a few are of mixed dtypes."""
    dtype = maker.random.choice(dtypes)
    terms = list(special)
    for _ in range(maker.random.choice([0, 1, 1, 2, 3])):
        own = dtype if maker.random.random() < 0.8 else maker.random.choice(dtypes)
        terms.append(part(maker, maker.some(shape), own))
    maker.random.shuffle(terms)
    return Add(*terms, name=maybe_name(maker))
