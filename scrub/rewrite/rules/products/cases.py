"""Generated cases for rules of products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from scrub.graph import Einsum, Expr
from scrub.rewrite.rules.sums.cases import DTYPES, maybe_name, part

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def product_with(maker: Maker, *special: Expr, dtypes: Sequence[torch.dtype] = DTYPES, max_others: int = 2) -> Einsum:
    """An einsum of these operands and a few others: axes shared, repeated, summed, kept and kept twice."""
    chance = maker.random.random
    dtype = maker.random.choice(dtypes)
    sizes: list[int] = []
    operands: list[tuple[Expr, list[int]]] = []

    def axis_of(size: int) -> int:
        same = [axis for axis, other in enumerate(sizes) if other == size]
        if same and chance() < 0.5:
            return maker.random.choice(same)
        sizes.append(size)
        return len(sizes) - 1

    for expr in special:
        operands.append((expr, [axis_of(size) for size in expr.shape]))
    for _ in range(maker.random.randint(0, max_others)):
        axes = [axis for axis in range(len(sizes)) if chance() < 0.5][:3]
        if chance() < 0.3:
            axes.append(axis_of(maker.random.choice([1, 2, 3])))
        maker.random.shuffle(axes)
        own = dtype if chance() < 0.8 else maker.random.choice(dtypes)
        operands.append((part(maker, tuple(sizes[axis] for axis in axes), own), axes))
    out = [axis for axis in range(len(sizes)) if chance() < 0.5][:4]
    maker.random.shuffle(out)
    if out and chance() < 0.15:
        out.append(out[0])
    maker.random.shuffle(operands)
    return Einsum(*operands, out_axes=out, name=maybe_name(maker))
