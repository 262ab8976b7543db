"""Generated module calls, on which the rules of modules are tried.

They nest in bodies and arguments, share specs, have parameters that their body ignores, that shadow those of modules
around them or have their names; arguments have batch axes of different ranks and use what modules around bind; bodies
use it too, and may be nothing but a symbol, a constant or another call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Add, Concat, Einsum, Expr, Index, Module, ModuleArgSpec, Shape, Symbol, elementwise
from scrub.graph import softmax as softmax_of
from scrub.graph.rules import uuid_from_name

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

SHAPES: list[Shape] = [(2,), (), (3, 2), (2,)]
BATCHES: list[Shape] = [(), (), (3,), (2,), (2, 3)]


def nested_calls(maker: Maker) -> Expr:
    """A call without free symbols."""
    return _Calls(maker).call([], 0)


def call_of_call(maker: Maker) -> Expr:
    """A call whose body is likely a call."""
    return _Calls(maker, body_kinds=("call", "call", "expression")).call([], 0)


def call_with_unused(maker: Maker) -> Expr:
    """A call that likely has parameters its body does not use."""
    return _Calls(maker, chance_of_use=0.3).call([], 0)


def call_with_equal_arguments(maker: Maker) -> Expr:
    """A call that likely binds the same expression to several parameters."""
    return _Calls(maker, num_parameters=(2, 3, 4), chance_of_new=0.1, chance_of_shadowing=0.6).call([], 0)


class _Calls:
    """Makes one expression; what was made before is used again."""

    def __init__(
        self,
        maker: Maker,
        *,
        body_kinds: tuple[str, ...] = ("expression", "expression", "expression", "call", "leaf"),
        num_parameters: tuple[int, ...] = (1, 1, 2, 3),
        chance_of_use: float = 0.8,
        chance_of_new: float = 0.5,
        chance_of_shadowing: float = 0.15,
    ) -> None:
        self.maker = maker
        self.random = maker.random
        self.body_kinds = body_kinds
        self.num_parameters = num_parameters
        self.chance_of_use = chance_of_use
        self.chance_of_new = chance_of_new
        self.chance_of_shadowing = chance_of_shadowing
        self.specs: list[tuple[Expr, tuple[ModuleArgSpec, ...]]] = []
        self.num_symbols = 0

    def call(self, pool: list[Expr], depth: int) -> Module:
        """A call with arguments from the pool or new ones; `pool` holds the symbols in scope too."""
        visible = {symbol for node in pool for symbol in node.free_symbols}
        shared = [(body, specs) for body, specs in self.specs if self._outer(body, specs) <= visible]
        if shared and self.random.random() < 0.3:
            body, specs = self.random.choice(shared)
        else:
            body, specs = self._spec(sorted(visible, key=lambda s: s.digest), depth)
            self.specs.append((body, specs))
        batch = self.random.choice(BATCHES)
        args = [self._argument(pool, batch, spec.symbol) for spec in specs]
        return Module.make((body, *args), specs, self._name())

    def _outer(self, body: Expr, specs: tuple[ModuleArgSpec, ...]) -> set[Symbol]:
        return set(body.free_symbols) - {spec.symbol for spec in specs}

    def _argument(self, pool: list[Expr], batch: Shape, symbol: Symbol) -> Expr:
        own = batch[self.random.randint(0, len(batch)) :]
        wanted = (*own, *symbol.shape)
        known = [node for node in pool if node.shape == wanted]
        if known and self.random.random() > self.chance_of_new:
            return self.random.choice(known)
        made = self.maker.array(wanted) if self.random.random() < 0.7 else self.maker.expr(wanted, 1)
        pool.append(made)
        return made

    def _spec(self, outer: list[Symbol], depth: int) -> tuple[Expr, tuple[ModuleArgSpec, ...]]:
        count = self.random.choice(self.num_parameters)
        own: list[Symbol] = []
        for _ in range(count):
            shadowed = [symbol for symbol in outer if symbol not in own]
            is_shadowing = bool(shadowed) and self.random.random() < self.chance_of_shadowing
            symbol = self.random.choice(shadowed) if is_shadowing else self._symbol()
            if symbol.name not in [known.name for known in own]:
                own.append(symbol)
        seen = [symbol for symbol in outer if symbol not in own and self.random.random() < 0.5]
        scope = [symbol for symbol in own if self.random.random() < self.chance_of_use] + seen
        specs = tuple(ModuleArgSpec(symbol) for symbol in own)
        kind = self.random.choice(self.body_kinds)
        if kind == "leaf" or depth > 2:
            symbols = scope or own
            return (self.random.choice(symbols) if self.random.random() < 0.7 else self.maker.array((2,))), specs
        if kind == "call":
            return self.call([*scope], depth + 1), specs
        return self._expression(scope, depth + 1), specs

    def _symbol(self) -> Symbol:
        """Four names for all, so that parameters of different modules often have the same."""
        self.num_symbols += 1
        name = f"p{self.random.randint(0, 3)}"
        return Symbol(self.random.choice(SHAPES), uuid_from_name(f"case {self.num_symbols}"), name)

    def _expression(self, scope: list[Symbol], depth: int) -> Expr:
        pool: list[Expr] = [*scope, *(self.maker.array(self.random.choice(SHAPES)) for _ in range(2))]
        for _ in range(self.random.randint(1, 4)):
            pool.append(self._step(pool, depth))
        used = pool[-1]
        for symbol in scope:
            if symbol not in used.free_symbols:
                used = Add(used, symbol if _fits(used, symbol) else symbol.sum(), name=self._name())
        return used

    def _step(self, pool: list[Expr], depth: int) -> Expr:
        x, y = self.random.choice(pool), self.random.choice(pool)
        kind = self.random.choice(["add", "mul", "tanh", "sum", "softmax", "stack", "index", "call", "call"])
        name = self._name()
        if kind == "call" and depth < 3:
            return self.call(pool, depth)
        if kind == "mul" and y.ndim <= 1 and x.ndim and x.shape[-1:] == y.shape[-1:]:
            axes = tuple(range(x.ndim))
            return Einsum((x, axes), (y, axes[-1:]), out_axes=axes, name=name)
        if kind == "sum" and x.ndim:
            return x.sum(-1, name=name)
        if kind == "softmax" and x.ndim:
            return softmax_of(x, name=name)
        if kind == "stack" and x.shape == y.shape and x.ndim < 3:
            return Concat.stack(x, y, axis=0, name=name)
        if kind == "index" and x.ndim:
            return Index(x, (0,), name=name)
        if kind == "tanh" or not _fits(x, y):
            return elementwise("tanh", x, name=name)
        return Add(x, y, name=name)

    def _name(self) -> str | None:
        return self.maker.name("n") if self.random.random() < 0.5 else None


def _fits(x: Expr, y: Expr) -> bool:
    return all(a == b or 1 in (a, b) for a, b in zip(reversed(x.shape), reversed(y.shape), strict=False))
