"""A sum over an axis as a sum of named parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from scrub.graph import Add, Einsum, Expr, Index
from scrub.graph.index import IndexEntry
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.concatenation.parts import AxisPart, part_name, part_positions, random_parts


def _choices(einsum: Einsum) -> Iterator[Options]:
    for operand, (child, axes) in enumerate(einsum.operands):
        for axis, label in enumerate(axes):
            if label not in einsum.out_axes:
                yield {"operand": operand, "axis": axis, "parts": random_parts(einsum.digest, child.shape[axis])}


@rewrite(keeps="value", pattern=(Einsum,), choices=_choices)
def explicit_reduce(einsum: Einsum, *, operand: int = 0, axis: int, parts: Sequence[AxisPart]) -> Expr | NoMatch:
    """An axis that is summed away is cut into named parts, each summed in a term of its own.

        sum_h x[h]  ->  x[0] + sum_{h > 0} x[h]

    Args:
        einsum: the sum of products.
        operand, axis: which axis, as axis of one of its operands.
        parts: pairs (positions, name) that partition the axis. An int picks its position without an axis to sum over;
            a slice or list keeps one. A part "h0" of `a1` is named `a1.h0`.

    >>> from scrub.graph import Scalar
    >>> heads = Scalar(1.0, (8, 5), name="heads")
    >>> total = Einsum.from_string("h d -> d", heads, name="a1")
    >>> explicit_reduce(total, axis=0, parts=[(0, "h0"), (slice(1, 8), "rest")]).print()
    'a1' [5] Add
      'a1.h0' [5] Einsum a->a
        heads[0, :] [5] Index [0, :]
          'heads' [8, 5] Scalar 1.0
      'a1.rest' [5] Einsum ab->b
        heads[1:8, :] [7, 5] Index [1:8, :]
          'heads'
    """
    if not 0 <= operand < len(einsum.operands):
        return NoMatch(f"operand {operand} is none of its {len(einsum.operands)}")
    child, axes = einsum.operands[operand]
    if not -len(axes) <= axis < len(axes):
        return NoMatch(f"axis {axis} is none of the {len(axes)} axes of operand {operand}")
    label = axes[axis]
    if label in einsum.out_axes:
        return NoMatch(
            f"axis {axis} of operand {operand} is not summed away, it is axis {einsum.out_axes.index(label)}"
        )
    positions = part_positions(parts, child.shape[axis])
    if isinstance(positions, NoMatch):
        return positions
    if not positions:
        return NoMatch("an axis of size 0 has no parts")
    terms = [_part(einsum, label, entry).rename(part_name(einsum, name)) for entry, name in parts]
    return Add(*terms)


def _part(einsum: Einsum, label: int, entry: IndexEntry) -> Einsum:
    """The einsum over some positions of an axis."""
    is_single = isinstance(entry, int)
    index = entry if isinstance(entry, int | slice) else torch.as_tensor(entry)
    operands: list[tuple[Expr, list[int]]] = []
    for child, axes in einsum.operands:
        if label not in axes:
            operands.append((child, list(axes)))
            continue
        cut = Index(child, [index if a == label else slice(None) for a in axes])
        operands.append((cut, [a for a in axes if a != label or not is_single]))
    return Einsum(*operands, out_axes=einsum.out_axes)
