"""Generated cases for rules of indexing: any index of a node of a wanted type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from scrub.graph import Expr, FrozenTensor, Index
from scrub.graph.index import Entry

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker


def index_of(*kinds: type[Expr]) -> Callable[[Maker], Expr]:
    """Cases: an index of a node of the first type, below it likely one of the second, and so on."""

    def cases(maker: Maker) -> Expr:
        shape = next(shape for shape in iter(maker.shape, None) if shape)
        return random_index(maker, maker.pattern(*kinds, shape=shape))

    return cases


def random_index(maker: Maker, expr: Expr) -> Index:
    """Each axis is taken whole, or at a position, or a slice or list of positions of it; seldom all are whole."""
    entries = tuple(_entry(maker, size) for size in expr.shape)
    if all(entry is None for entry in entries):
        entries = tuple(_entry(maker, size) for size in expr.shape)
    return Index.make((expr,), (entries,), maker.name("n") if maker.random.random() < 0.4 else None)


def _entry(maker: Maker, size: int) -> Entry:
    kind = maker.random.choice(["whole", "one", "slice", "positions"])
    if kind == "one" and size:
        return maker.random.randrange(size)
    if kind == "slice":
        start, stop = sorted((maker.random.randint(0, size), maker.random.randint(0, size)))
        return None if (start, stop) == (0, size) else (start, stop)
    if kind == "positions":
        return FrozenTensor(maker.positions(size, maker.random.randint(0, 4) if size else 0))
    return None


def whole_or_partial(index: Index) -> Iterator[dict[str, Any]]:
    """Options to try: all entries or none, and those that can."""
    yield {}
    yield {"partial": True}
