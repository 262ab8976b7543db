"""Indices of convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scrub.graph import Conv, Expr, Index
from scrub.graph.index import Entry
from scrub.rewrite.matcher import MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite
from scrub.rewrite.rules.indexing.cases import random_index, whole_or_partial
from scrub.rewrite.rules.indexing.descent import Blocked, Plan, plans, push
from scrub.rewrite.rules.indexing.entries import Entries, from_range

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    """One or two spatial axes, any stride, padding on either side, with batch axes or without."""
    choice = maker.random.choice
    num_spatial = choice([1, 1, 2])
    channels, out_channels = choice([1, 2]), choice([1, 2, 3])
    kernel = [choice([1, 2, 3]) for _ in range(num_spatial)]
    spatial = [width + choice([0, 1, 3]) for width in kernel]
    batch = maker.shape(max_ndim=2)
    x = maker.expr((*batch, *spatial, channels), 2)
    weights = maker.expr((*kernel, channels, out_channels), 1)
    padding = [(choice([0, 1, 3]), choice([0, 1, 3])) for _ in kernel]
    conv = Conv(x, weights, [choice([1, 1, 2, 3]) for _ in kernel], padding)
    index = random_index(maker, conv)
    entries = list(index.entries)
    for axis in range(len(batch), conv.ndim - 1):
        if maker.random.random() < 0.7:
            start = maker.random.randrange(conv.shape[axis])
            entries[axis] = from_range(start, maker.random.randint(start + 1, conv.shape[axis]), conv.shape[axis])
    return Index.make((conv,), (tuple(entries),), index.name)


@rewrite(keeps="value", cases=_cases, choices=whole_or_partial)
def push_index_through_conv(index: Index, *, partial: bool = False, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """An index of a convolution becomes a convolution of the indexed input with the indexed filter.

        conv(x, w)[i, s, o]  ->  conv(x[i, t], w[:, :, o])   where t is the part of x that s sees

    Batch axes pass to what has them, output channels to the filter, and a slice of a spatial axis to the part of the
    input that it sees, with the padding that it sees. A spatial axis and the channels cannot be dropped by an int, and
    positions on a spatial axis do not pass.

    Args:
        index: of a `Conv`.
        partial: let those entries pass that can, where others cannot.
        dissolve: whether the convolution may be taken apart.

    >>> from scrub.graph import I, Scalar
    >>> x, w = Scalar(1.0, (9, 2), name="x"), Scalar(1.0, (3, 2, 4), name="w")
    >>> push_index_through_conv(Index(Conv(x, w, padding=1), I[0:3, 1:3], name="i")).print()
    'i' [3, 2] Conv stride=1 padding=1:0
      x[0:4, :] [4, 2] Index [0:4, :]
        'x' [9, 2] Scalar 1.0
      w[:, :, 1:3] [3, 2, 2] Index [:, :, 1:3]
        'w' [3, 2, 4] Scalar 1.0
    """
    return push(index, Conv, partial=partial, dissolve=dissolve)


@plans(Conv)
def plan_conv(conv: Conv, entries: Entries) -> Plan | Blocked:
    """By the three kinds of axes of the result: batch, spatial, output channels."""
    num_batch = conv.ndim - conv.num_spatial - 1
    blocked: Blocked = {}
    if isinstance(entries[-1], int):
        blocked[conv.ndim - 1] = "the filter keeps its axis of output channels; a slice of size 1 passes"
    seen: list[Entry] = []
    padding: list[tuple[int, int]] = []
    for i, pair in enumerate(conv.padding):
        axis = num_batch + i
        entry = entries[axis]
        size, width = conv.input.shape[i - conv.num_spatial - 1], conv.filter.shape[i - conv.num_spatial - 2]
        if entry is None:
            seen.append(None)
            padding.append(pair)
        elif not isinstance(entry, tuple) or entry[0] == entry[1]:
            blocked[axis] = "only a slice of a spatial axis, that is not empty, sees one part of the input"
        elif not (isinstance(size, int) and isinstance(width, int)):  # pyright: ignore[reportUnnecessaryIsInstance]
            blocked[axis] = f"its sizes {size} and {width} are not known"
        else:
            part, around = _window(entry, size, width, conv.stride[i], pair[0])
            seen.append(part)
            padding.append(around)
    if blocked:
        return blocked
    of_input, of_filter = (
        tuple(entries[use] if isinstance(use, int) else None for use in uses) for uses in conv.axis_map()
    )
    of_input = (*of_input[: len(of_input) - conv.num_spatial - 1], *seen, None)

    def build(children: Sequence[Expr], name: str | None) -> Expr:
        return Conv.make(tuple(children), (conv.stride, tuple(padding)), name)

    return Plan(((0, of_input), (1, of_filter)), build)


def _window(entry: tuple[int, int], size: int, width: int, stride: int, before: int) -> tuple[Entry, tuple[int, int]]:
    """The part of an axis of the input that a slice of the result sees, and the padding that it sees around it."""
    first, last = entry[0] * stride - before, (entry[1] - 1) * stride + width - before
    start, stop = min(max(first, 0), size), min(max(last, 0), size)
    around = max(min(last, 0) - first, 0), max(last - max(first, size), 0)
    return from_range(start, stop, size), around
