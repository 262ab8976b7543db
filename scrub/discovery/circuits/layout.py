"""Layered drawing: where nodes go, in given rows, and how edges run between them.

An edge that passes rows gets a place of its own in each of them, so no line runs behind a node. Order within rows comes
from barycentre sweeps, of which the one with the fewest crossings is kept (Sugiyama et al. 1981). Given the order, the
coordinates of a row are the least squares fit to the places of its neighbours that keeps the distances, which is
isotonic regression (pool adjacent violators). Nothing is random.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

_NODE_GAP, _LINE_GAP = 16.0, 9.0
_ORDER_SWEEPS, _PLACE_SWEEPS = 16, 24
_STRAIGHT = (1.0, 2.0, 8.0)  # how strongly a piece is pulled straight, by how many of its ends lie on lines


@dataclass(frozen=True)
class Layout:
    """Centres of nodes, and where edges pass rows.

    Attributes:
        x: of each node.
        via: of each edge, its x in every row between its ends, from the lower to the upper.
        left, right: ends of what is drawn.
    """

    x: list[float]
    via: list[list[float]]
    left: float
    right: float


def layout(rows: Sequence[int], widths: Sequence[float], edges: Sequence[tuple[int, int]]) -> Layout:
    """Places for nodes and edges.

    Args:
        rows: of each node, 0 is the lowest; every row has a node.
        widths: of each node.
        edges: (lower node, upper node).
    """
    points = _Points(rows, widths, edges)
    order = _ordered(points)
    x = _placed(points, order)
    sizes = points.widths
    ends = [(x[i] - sizes[i] / 2, x[i] + sizes[i] / 2) for i in range(len(x))]
    return Layout(
        x[: len(rows)],
        [[x[i] for i in chain] for chain in points.chains],
        min((low for low, _ in ends), default=0.0),
        max((high for _, high in ends), default=0.0),
    )


class _Points:
    """Nodes, and a point for each row that an edge passes."""

    def __init__(self, rows: Sequence[int], widths: Sequence[float], edges: Sequence[tuple[int, int]]) -> None:
        self.n_nodes = len(rows)
        self.rows = list(rows)
        self.widths = list(widths)
        self.chains: list[list[int]] = []
        pieces: dict[tuple[int, int], int] = {}  # lower point, upper point -> how many edges
        for lower, upper in edges:
            chain = list(range(len(self.rows), len(self.rows) + rows[upper] - rows[lower] - 1))
            self.rows += range(rows[lower] + 1, rows[upper])
            self.widths += [0.0] * len(chain)
            self.chains.append(chain)
            for piece in zip([lower, *chain], [*chain, upper], strict=True):
                pieces[piece] = pieces.get(piece, 0) + 1
        self.below: list[list[tuple[int, float]]] = [[] for _ in self.rows]  # neighbours and how strongly they pull
        self.above: list[list[tuple[int, float]]] = [[] for _ in self.rows]
        for (lower, upper), count in pieces.items():
            weight = count * _STRAIGHT[(lower >= self.n_nodes) + (upper >= self.n_nodes)]
            self.above[lower].append((upper, weight))
            self.below[upper].append((lower, weight))
        self.by_row: list[list[int]] = [[] for _ in range(max(self.rows, default=-1) + 1)]
        for point, row in enumerate(self.rows):
            self.by_row[row].append(point)

    def gap(self, left: int, right: int) -> float:
        """Distance that the centres of neighbours keep."""
        lines = (left >= self.n_nodes) + (right >= self.n_nodes)
        return (self.widths[left] + self.widths[right]) / 2 + (_NODE_GAP if lines == 0 else _LINE_GAP)


def _ordered(points: _Points) -> list[list[int]]:
    order = [list(row) for row in points.by_row]
    best, fewest = [list(row) for row in order], None
    for sweep in range(_ORDER_SWEEPS):
        upwards = sweep % 2 == 0
        place = {point: i / len(row) for row in order for i, point in enumerate(row)}
        for row in order[1:] if upwards else order[-2::-1]:
            neighbours = points.below if upwards else points.above
            key = {p: _mean([place[q] for q, _ in neighbours[p]], place[p]) for p in row}
            row.sort(key=key.__getitem__)
            place |= {point: i / len(row) for i, point in enumerate(row)}
        crossings = _crossings(points, order)
        if fewest is None or crossings < fewest:
            best, fewest = [list(row) for row in order], crossings
    return best


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(points: _Points, order: Sequence[Sequence[int]]) -> int:
    """How many pairs of pieces between neighbouring rows cross."""
    place = {point: i for row in order for i, point in enumerate(row)}
    total = 0
    for row in order[:-1]:
        seen: list[int] = []
        for point in row:
            ends = sorted(place[q] for q, _ in points.above[point])
            total += sum(len(seen) - bisect.bisect_right(seen, end) for end in ends)
            for end in ends:
                bisect.insort(seen, end)
    return total


def _placed(points: _Points, order: Sequence[Sequence[int]]) -> list[float]:
    x = [0.0] * len(points.rows)
    for row in order:
        _fit(points, row, [(0.0, 1.0)] * len(row), x)
    for sweep in range(_PLACE_SWEEPS):
        both = sweep >= _PLACE_SWEEPS // 2
        upwards = sweep % 2 == 0
        for row in order if upwards else order[::-1]:
            wanted: list[tuple[float, float]] = []
            for point in row:
                pulls = points.below[point] if upwards else points.above[point]
                if both or not pulls:
                    pulls = points.below[point] + points.above[point]
                weight = sum(w for _, w in pulls)
                wanted.append((sum(w * x[q] for q, w in pulls) / weight if weight else x[point], max(weight, 0.1)))
            _fit(points, row, wanted, x)
    return x


def _fit(points: _Points, row: Sequence[int], wanted: Sequence[tuple[float, float]], x: list[float]) -> None:
    """Move a row to where it wants to be: least squares under the distances that neighbours keep.

    With the sum of distances taken off, keeping them is being in order.
    """
    offsets = [0.0]
    for left, right in itertools.pairwise(row):
        offsets.append(offsets[-1] + points.gap(left, right))
    targets = [target - offset for (target, _), offset in zip(wanted, offsets, strict=True)]
    places = isotonic(targets, [weight for _, weight in wanted])
    for point, place, offset in zip(row, places, offsets, strict=True):
        x[point] = place + offset


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The ascending numbers nearest to `values` in weighted least squares, by pooling adjacent violators.

    >>> isotonic([1.0, 3.0, 2.0], [1.0, 1.0, 1.0])
    [1.0, 2.5, 2.5]
    """
    blocks: list[tuple[float, float, int]] = []  # mean, weight, size
    for value, weight in zip(values, weights, strict=True):
        mean, total, size = value, weight, 1
        while blocks and blocks[-1][0] >= mean:
            low, low_weight, low_size = blocks.pop()
            mean = (low * low_weight + mean * total) / (low_weight + total)
            total, size = total + low_weight, size + low_size
        blocks.append((mean, total, size))
    return [mean for mean, _, size in blocks for _ in range(size)]
