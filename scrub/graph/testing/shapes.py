"""Which shapes to try a function on: all small ones, and random changes of those it is known to accept."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

from scrub.graph.expr import Shape
from scrub.graph.sizes import product

Shapes = tuple[Shape, ...]
_SIZES = (0, 1, 2, 3, 4)


def candidate_shapes(known: Sequence[Shapes], *, seed: int, num_changes: int) -> list[Shapes]:
    """Distinct shapes for all arguments, the smallest first; a function may refuse any of them.

    Args:
        known: shapes it accepts.
        seed: of the random changes.
        num_changes: how many random changes of the known ones to make.

    >>> candidate_shapes([((2,),)], seed=0, num_changes=0)[:4]
    [((0,),), ((0, 0),), ((0, 1),), ((0, 2),)]
    """
    choose = random.Random(seed)
    found: dict[Shapes, None] = dict.fromkeys(known)
    for arity in sorted({len(shapes) for shapes in known}):
        found.update(dict.fromkeys(_small(arity)))
    for _ in range(num_changes):
        shapes = choose.choice(known)
        for _ in range(choose.randint(1, 3)):
            shapes = _changed(choose, shapes)
        found[shapes] = None
    return sorted(found, key=size_order)


def size_order(shapes: Shapes) -> tuple[int, int, Shapes]:
    """Sorts shapes by the number of elements, then of axes."""
    return sum(product(shape) for shape in shapes), sum(len(shape) for shape in shapes), shapes


def _small(arity: int) -> Iterator[Shapes]:
    """Every combination of shapes of few axes: of up to three for one argument, up to two for two."""
    if arity > 2:
        return
    ndims, sizes = (range(4), (0, 1, 2, 3)) if arity == 1 else (range(3), (0, 1, 2))
    one = [shape for ndim in ndims for shape in itertools.product(sizes, repeat=ndim)]
    yield from itertools.product(one, repeat=arity)


def _changed(choose: random.Random, shapes: Shapes) -> Shapes:
    """One change: a size everywhere it occurs, or in one place; axes in front or behind, of one argument or all."""
    own = [list(shape) for shape in shapes]
    if not own:
        return shapes
    one = choose.randrange(len(own))
    chosen = own if choose.random() < 0.5 else [own[one]]
    present = [size for shape in own for size in shape]
    match choose.choice(["size", "size", "one size", "front", "back", "drop"]):
        case "size" if present:
            old, new = choose.choice(present), choose.choice(_SIZES)
            own = [[new if size == old else size for size in shape] for shape in own]
        case "one size" if own[one]:
            own[one][choose.randrange(len(own[one]))] = choose.choice(_SIZES)
        case "front":
            added = [choose.choice(_SIZES) for _ in range(choose.randint(1, 2))]
            for shape in chosen:
                shape[:0] = added
        case "back":
            size = choose.choice(_SIZES)
            for shape in chosen:
                shape.append(size)
        case "drop":
            for shape in chosen:
                del shape[:1]
        case _:
            pass
    return tuple(tuple(shape[-5:]) for shape in own)
