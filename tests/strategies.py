"""Generated expressions: DAGs with sharing, names, and modules nested in bodies and arguments, with batched arguments.

Named nodes are "n0" to "n5", named leaves "x0" to "x3"; parameters have names of their own, and roots of bodies have
none, so that a name means the same before and after inlining.
"""

from __future__ import annotations

import random

import torch
from hypothesis import strategies as st

import scrub as rc

NODE_NAMES = [f"n{i}" for i in range(6)]
LEAF_NAMES = [f"x{i}" for i in range(4)]
SYMBOL_SHAPES: list[tuple[int, ...]] = [(2,), (), (3, 2)]
BATCHES: list[tuple[int, ...]] = [(), (), (3,), (2,), (2, 3)]


def leaf(name: str, shape: tuple[int, ...]) -> rc.Array:
    """The array of that name and shape: always the same."""
    count = int(torch.tensor(shape).prod()) if shape else 1
    start = float(sum(map(ord, name)) % 17)
    return rc.Array((torch.arange(start, start + count, dtype=torch.float64) * 0.7).sin().reshape(shape), name)


class Builder:
    """Draws one expression from a seed (hypothesis, asked for every step, prefers tiny ones).

    Every step extends a pool that later ones choose from, which makes for sharing.
    """

    def __init__(self, seed: int, num_steps: int, with_modules: bool) -> None:
        self.random = random.Random(seed)
        self.num_steps = num_steps
        self.with_modules = with_modules
        self.specs: list[rc.ModuleSpec] = []
        self.num_symbols = 0

    def expression(self, symbols: list[rc.Symbol], depth: int) -> rc.Expr:
        """An expression over leaves and these symbols."""
        first = [leaf(n, self.random.choice([(2,), (3, 2), ()])) for n in self.some(LEAF_NAMES)]
        pool: list[rc.Expr] = [*symbols, *first]
        for _ in range(self.random.randint(2, self.num_steps)):
            pool.append(self.step(pool, symbols, depth))
            if self.random.random() < 0.6 and fits(pool[-1], pool[-2]):  # so that more than the last step is used
                pool.append(rc.Add(pool[-1], pool[-2]))
        used = pool[-1]
        rest = [s for s in symbols if s not in used.free_symbols and self.random.randint(0, 3)]
        for symbol in rest:  # now and then a parameter stays unused
            used = rc.Add(used, symbol if fits(used, symbol) else symbol.sum())
        return used

    def some(self, names: list[str]) -> list[str]:
        return self.random.sample(names, self.random.randint(1, 3))

    def step(self, pool: list[rc.Expr], symbols: list[rc.Symbol], depth: int) -> rc.Expr:
        operations = ["add", "mul", "tanh", "sum", "softmax", "stack", "index", "turn", "concat"]
        if self.with_modules and depth < 3:
            operations += ["call"] * (10 if depth == 0 else 5)
        operation = self.random.choice(operations)
        name = self.random.choice([None, *NODE_NAMES])
        x, y = self.random.choice(pool), self.random.choice(pool)
        if operation == "call":
            return self.call(pool, symbols, depth, name)
        if operation == "mul" and fits(x, y):
            return x.mul(y, name=name)
        if operation == "sum" and x.ndim:
            return x.sum(-1, name=name)
        if operation == "softmax" and x.ndim:
            return rc.softmax(x, name=name)
        if operation == "stack" and x.shape == y.shape and x.ndim < 3:
            return rc.Concat.stack(x, y, axis=0, name=name)
        if operation == "concat" and x.ndim == y.ndim > 0 and x.shape[:-1] == y.shape[:-1]:
            return rc.Index(rc.Concat(x, y, axis=-1), (*[slice(None)] * (x.ndim - 1), slice(0, x.shape[-1])), name=name)
        if operation == "index" and x.ndim:
            return x.index([0], name=name)
        if operation == "turn" and x.ndim == 2:
            return rc.Rearrange(x, "a b -> b a", name=name)
        if operation == "tanh" or not fits(x, y):
            return rc.elementwise("tanh", x, name=name)
        return rc.Add(x, y, name=name)

    def call(self, pool: list[rc.Expr], symbols: list[rc.Symbol], depth: int, name: str | None) -> rc.Module:
        reusable = [s for s in self.specs if set(s.expr.free_symbols) <= set(s.symbols)]
        if reusable and self.random.randint(0, 2) == 0:
            spec = self.random.choice(reusable)
        else:
            spec = self.spec(symbols, depth)
            self.specs.append(spec)
        batch = self.random.choice(BATCHES)
        arguments: dict[str, rc.Expr] = {}
        for symbol in spec.symbols:
            own = batch[self.random.randint(0, len(batch)) :]
            wanted = (*own, *symbol.shape)
            fitting = [node for node in pool if node.shape == wanted]
            is_fresh = not fitting or self.random.randint(0, 2) == 0
            made = leaf(self.random.choice(LEAF_NAMES), wanted) if is_fresh else self.random.choice(fitting)
            arguments[str(symbol.name)] = made
        return rc.Module(spec, name, **arguments)

    def spec(self, outer: list[rc.Symbol], depth: int) -> rc.ModuleSpec:
        shapes = self.random.choices(SYMBOL_SHAPES, k=self.random.randint(1, 2))
        own: list[rc.Symbol] = []
        for shape in shapes:
            own.append(rc.Symbol.new_from_name(shape, f"p{self.num_symbols}"))
            self.num_symbols += 1
        seen = [s for s in outer if self.random.random() < 0.5]  # bodies may use what modules around them bind
        body = self.expression(own + seen, depth + 1)
        return rc.ModuleSpec(rc.Add(body), own, allow_unused=True)


def fits(x: rc.Expr, y: rc.Expr) -> bool:
    """Whether the shapes broadcast."""
    return all(a == b or 1 in (a, b) for a, b in zip(reversed(x.shape), reversed(y.shape), strict=False))


@st.composite
def expressions(draw: st.DrawFn, num_steps: int = 7, with_modules: bool = True) -> rc.Expr:
    """An expression without free symbols."""
    return Builder(draw(st.integers(0, 2**32)), num_steps, with_modules).expression([], 0)


def num_modules(expr: rc.Expr) -> int:
    """Distinct modules in an expression."""
    return sum(isinstance(node, rc.Module) for node in rc.postorder([expr]))
