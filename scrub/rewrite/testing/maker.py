"""Random expressions of a wanted shape, made of all node types: what rules are tried on.

`Maker(seed).expr((2, 3))` is a random expression of that shape; `pattern(Einsum, Add)` an einsum some of whose
operands are likely sums. How a node type is made is registered with `@makes`, next to nothing else: a function from the
maker and the wanted shape to a node, or None where the type has no such shape.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch

from scrub.graph import Array, Cumulant, DiscreteVar, Expr, Module, Scalar, Shape, Tag, uniform

Making = Callable[["Maker", Shape, int], Expr | None]

MAKERS: dict[type[Expr], Making] = {}
"""How an inner node of each type is made: (maker, shape, depth of what is below it) -> node."""


def makes(kind: type[Expr]) -> Callable[[Making], Making]:
    """Decorator that registers how nodes of a type are made."""

    def register(function: Making) -> Making:
        if kind in MAKERS:
            raise TypeError(f"how a {kind.__name__} is made is registered already")
        MAKERS[kind] = function
        return function

    return register


class Maker:
    """Makes random expressions without free symbols, in float64; `random_expr` makes some with random variables.

    Subexpressions are reused, so expressions share parts. Names are "n0" to "n9" for nodes, "x0" to "x9" for arrays and
    "v0" to "v9" for random variables; many nodes have none.

    Args:
        seed: decides everything that is made.

    >>> Maker("any seed").expr((2, 3)).shape
    (2, 3)
    """

    def __init__(self, seed: str | int) -> None:
        self.random = random.Random(seed)
        self.pool: dict[Shape, list[Expr]] = {}
        self.preferred: tuple[tuple[type[Expr], ...], ...] = ()
        self.groups: list[Expr] = []
        self.random_pool: dict[Shape, list[Expr]] = {}
        self.is_random = False

    def shape(self, *, max_ndim: int = 3, max_size: int = 4) -> Shape:
        """A random shape; sizes of 0 are rare, of 1 common."""
        sizes = [1, 2, 2, 3, 3, max_size]
        return tuple(
            0 if self.random.random() < 0.01 else self.random.choice(sizes)
            for _ in range(self.random.randint(0, max_ndim))
        )

    def pattern(self, *kinds: type[Expr], shape: Shape | None = None) -> Expr:
        """A node of the first type whose children are likely of the second, theirs likely of the third, and so on."""
        self.preferred = tuple((kind,) for kind in kinds[1:])
        for _ in range(100):
            wanted = self.shape() if shape is None else shape
            made = self.make(kinds[0], wanted, max(2, len(kinds)))
            if made is not None:
                self.preferred = ()
                return made
        raise ValueError(f"no {kinds[0].__name__} of shape {shape} came about in 100 tries")

    def make(self, kind: type[Expr], shape: Shape, depth: int) -> Expr | None:
        """A node of that type and shape, with `depth` levels below it at most; None if there is none."""
        if kind is Scalar:
            return self.scalar(shape)
        if kind is Array:
            return self.array(shape)
        before = self.preferred
        made = MAKERS[kind](self, shape, depth - 1)
        self.preferred = before
        if made is None or made.shape != shape:
            return None
        named = made.rename(self.name("n")) if made.name is None and self.random.random() < 0.4 else made
        self.pool.setdefault(shape, []).append(named)
        return named

    def expr(self, shape: Shape, depth: int = 3) -> Expr:
        """An expression of that shape."""
        known = self.pool.get(shape)
        if known and self.random.random() < 0.25:
            return self.random.choice(known)
        wanted, self.preferred = self.preferred[:1], self.preferred[1:]
        try:
            if depth <= 0 and not wanted:
                return self.leaf(shape)
            if wanted and self.random.random() < 0.75:
                made = self.make(self.random.choice(wanted[0]), shape, max(depth, 1))
                if made is not None:
                    return made
            if depth <= 0 or self.random.random() < 0.3:
                return self.leaf(shape)
            kinds = [kind for kind in MAKERS if kind is not Module or depth > 1]
            for kind in self.random.sample(kinds, len(kinds)):
                made = self.make(kind, shape, depth)
                if made is not None:
                    return made
            return self.leaf(shape)
        finally:
            self.preferred = wanted + self.preferred

    def random_expr(self, shape: Shape, depth: int = 3) -> Expr:
        """An expression of that shape that likely depends on random variables, and may hold cumulants.

        >>> Maker("random").random_expr((2,)).shape
        (2,)
        """
        outer, self.is_random = (self.pool, self.is_random), True
        self.pool = self.random_pool
        try:
            return self.expr(shape, depth)
        finally:
            self.pool, self.is_random = outer

    def variable(self, shape: Shape) -> DiscreteVar:
        """A random variable; all of a maker's are in at most three groups of two or three rows."""
        if not self.groups or (len(self.groups) < 3 and self.random.random() < 0.3):
            self.groups.append(self._group())
        group = self.random.choice(self.groups)
        outer, self.is_random = (self.pool, self.is_random), False
        self.pool = {}
        try:
            rows = (group.shape[0], *shape)
            table = self.expr(rows, 1) if self.random.random() < 0.1 else self.array(rows)
        finally:
            self.pool, self.is_random = outer
        made = DiscreteVar(table, group, self.name("v") if self.random.random() < 0.7 else None)
        self.pool.setdefault(shape, []).append(made)
        return made

    def cumulant(self, shape: Shape, depth: int = 2) -> Cumulant:
        """A joint cumulant of that shape, of order 1 to 4 (of order 0 now and then), of likely random arguments."""
        if shape == () and self.random.random() < 0.05:
            return Cumulant()
        cuts = sorted(self.random.randint(0, len(shape)) for _ in range(self.random.choice([0, 0, 1, 1, 2, 3])))
        parts = [shape[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(shape)], strict=True)]
        return Cumulant(*(self.random_expr(part, depth) for part in parts), name=self._maybe_name())

    def _group(self) -> Expr:
        """Probabilities of two or three rows, equal or not; some are zero now and then."""
        rows = self.random.choice([2, 3])
        if self.random.random() < 0.4:
            probs = uniform(rows)
        else:
            weights = [self.random.choice([0.0, 1.0, 1.0, 2.0, self.random.random()]) for _ in range(rows - 1)]
            value = torch.tensor([*weights, 1.0], dtype=torch.float64)
            probs = Array(value / value.sum(), "probs")
        return Tag.new_from_name(probs, f"group{len(self.groups)}")

    def leaf(self, shape: Shape) -> Expr:
        """An array, or now and then a scalar (often 0 or 1); in a random expression, likely a random variable."""
        if self.is_random and self.random.random() < 0.5:
            return self.variable(shape)
        if self.is_random and self.random.random() < 0.15:
            return self.cumulant(shape, 1)
        return self.scalar(shape) if self.random.random() < 0.2 else self.array(shape)

    def array(self, shape: Shape) -> Expr:
        """An array of normally distributed values, sometimes one that was made before."""
        known = [node for node in self.pool.get(shape, []) if isinstance(node, Array)]
        if known and self.random.random() < 0.3:
            return self.random.choice(known)
        generator = torch.Generator().manual_seed(self.random.getrandbits(62))
        value = torch.randn(shape, dtype=torch.float64, generator=generator)
        made = Array(value, self.name("x") if self.random.random() < 0.7 else None)
        self.pool.setdefault(shape, []).append(made)
        return made

    def scalar(self, shape: Shape) -> Expr:
        """A scalar, often 0 or 1."""
        value = self.random.choice([0.0, 1.0, 1.0, -1.0, 2.0, 0.5, self.random.uniform(-2, 2)])
        return Scalar(value, shape, self.name("x") if self.random.random() < 0.3 else None)

    def positions(self, size: int, count: int) -> torch.Tensor:
        """`count` positions on an axis of that size, with repeats."""
        return torch.tensor([self.random.randrange(size) for _ in range(count)], dtype=torch.int64)

    def _maybe_name(self) -> str | None:
        return self.name("n") if self.random.random() < 0.4 else None

    def name(self, letter: str) -> str:
        """One of ten names."""
        return f"{letter}{self.random.randint(0, 9)}"

    def some(self, shape: Shape) -> Shape:
        """A shape that broadcasts to the given one."""
        kept = tuple(1 if self.random.random() < 0.2 else size for size in shape)
        drop = self.random.randint(0, len(shape)) if self.random.random() < 0.3 else 0
        return kept[drop:]

    def split(self, total: int, parts: int) -> list[int]:
        """Sizes of parts that sum to the total; some may be 0."""
        cuts = sorted(self.random.randint(0, total) for _ in range(parts - 1))
        return [stop - start for start, stop in zip([0, *cuts], [*cuts, total], strict=True)]

    def factors(self, size: int) -> tuple[int, int]:
        """Two factors of a size."""
        divisors = [d for d in range(1, size + 1) if size % d == 0] or [1]
        first = self.random.choice(divisors)
        return first, size // first
