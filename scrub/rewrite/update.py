"""`update`: rebuild an expression with what a matcher finds transformed (SPEC 4.4, 5.7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scrub.graph import ConstructionError, Expr, Module, Symbol, provide
from scrub.graph.rules import uuid_from_name
from scrub.rewrite.explain import nothing_found
from scrub.rewrite.iterative import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.places import At, Places, Tag
from scrub.rewrite.substitute import bind, substitute

Position = tuple[At, Any]


@provide
def update(
    expr: Expr,
    matcher: IterativeMatcherIn,
    transform: Callable[[Expr], Expr],
    *,
    see_through: bool = False,
    assert_any_found: bool = True,
) -> Expr:
    """Transform every place that the matcher finds, on the paths on which it finds it.

    Matching is decided on the original; children are rebuilt first; then `transform` receives the rebuilt node. Its
    results are not matched again. It runs once per distinct rebuilt node.

    Args:
        expr: what to rewrite.
        matcher: an `IterativeMatcher`, or anything a `Matcher` accepts.
        transform: rebuilt node -> new node. Where the walk sees through modules, a node in a body counts as a
            different one wherever its symbols stand for something different: it runs once per such place, as it would
            on the inlined expression, and fresh randomness that it makes is fresh in each call.
        see_through: match as if every module were inlined, and inline exactly those modules whose parameter came to
            stand for different things at different places.
        assert_any_found: raise if nothing is found.

    Raises:
        MatchError: nothing is found; the message explains why, see `explain`.

    >>> from scrub.graph import Add, Scalar
    >>> x = Scalar(1.0, name="x")
    >>> C = Add(Add(x, name="A"), Add(x, name="B"), name="C")
    >>> update(C, IterativeMatcher("A").chain("x"), lambda n: Scalar(5.0, name="new")).print()
    'C' [] Add
      'A' [] Add
        'new' [] Scalar 5.0
      'B' [] Add
        'x' [] Scalar 1.0
    """
    work = Update(Places(see_through=see_through), lambda node, _: transform(node))
    result = work.run(expr, IterativeMatcher(matcher).state)
    if assert_any_found and not work.is_anything_found:
        raise nothing_found(expr, matcher, see_through=see_through)
    return result


class Update:
    """One update: results by position, children before parents.

    Args:
        places: where the walk goes, and what it finds.
        transform: rebuilt node and what `places.tag` says of the position where it was found -> new node.

    Attributes:
        is_anything_found: whether the transform was called.
    """

    def __init__(self, places: Places, transform: Callable[[Expr, Tag], Expr]) -> None:
        self.places = places
        self.transform = transform
        self.is_anything_found = False
        self.results: dict[Position, Expr] = {}
        self.transformed: dict[tuple[Expr, object, Tag], Expr] = {}
        self.was_found: set[Position] = set()  # bound symbols' arguments, so that none is transformed twice
        self.variants: dict[Symbol, tuple[Symbol, Expr]] = {}  # stand-in -> the symbol it stands in for, its value

    def run(self, expr: Expr, state: Any) -> Expr:
        """The expression rebuilt, walked from this state on."""
        results, places, see_through = self.results, self.places, self.places.see_through
        start: Position = (places.root(expr), state)
        stack: list[tuple[Position, list[Position] | None, bool]] = [(start, None, False)]
        while stack:
            position, below, is_found = stack.pop()
            if below is not None:
                if see_through:
                    results[position] = self._finish_seen_through(position, below, is_found)
                else:
                    rebuilt = position[0].with_children([results[child] for child in below])
                    results[position] = self._apply(rebuilt, position, None) if is_found else rebuilt
            elif position not in results:
                place, at = position
                if at is None:
                    results[position] = places.node(place)
                    continue
                is_found, below = places.step(place, at)
                stack.append((position, below, is_found))
                stack.extend([(child, None, False) for child in reversed(below) if child not in results])
        result = results[start]
        return expr if result is places.node(start[0]) else result

    def _finish_seen_through(self, position: Position, below: list[Position], is_found: bool) -> Expr:
        node = position[0].node
        children = [self.results[child] for child in below]
        if isinstance(node, Symbol) and below:
            return self._finish_symbol(node, position, below[0], children[0], is_found)
        rebuilt = self._finish_module(node, children[0]) if isinstance(node, Module) else node.with_children(children)
        if is_found:
            self.was_found.add(position)
            return self._apply(rebuilt, position, position[0].bound)
        return rebuilt

    def _apply(self, rebuilt: Expr, position: Position, scope: object) -> Expr:
        """The transform's result: once per node, what its symbols stand for, and tag."""
        self.is_anything_found = True
        tag = self.places.tag(position)
        result = self.transformed.get((rebuilt, scope, tag))
        if result is None:
            result = self.transform(rebuilt, tag)
            if not isinstance(result, Expr):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConstructionError(
                    f"update: the transform returned {type(result).__name__}, not an Expr",
                    nodes=[rebuilt],
                    expected=Expr,
                    found=result,
                    hint="a transform returns the node to put in place, the one it was given to leave it as it is",
                )
            self.transformed[rebuilt, scope, tag] = result
        return result

    def _finish_symbol(self, symbol: Symbol, position: Position, bound: Position, value: Expr, is_found: bool) -> Expr:
        """A bound symbol stays itself if what it stands for did not change; else a stand-in that records the change."""
        if is_found and bound not in self.was_found:
            value = self._apply_beyond(bound, value)
        if is_found or bound in self.was_found:
            self.was_found.add(position)
        return symbol if value is self.places.node(bound[0]) else self._stand_in(symbol, value)

    def _apply_beyond(self, position: Position, value: Expr) -> Expr:
        """The transform applied to what stands at a place, behind all the symbols that stand for each other there."""
        place = position[0]
        passed: list[Symbol] = []
        while place is not self.places.resolve(place):
            symbol: Symbol = place.node
            (place,) = self.places.below(place)
            value = self.places.node(place) if value is symbol else self.variants[value.cast(Symbol)][1]
            passed.append(symbol)
        changed = self._apply(value, position, place.bound)
        if changed is value and value is self.places.node(place):
            return passed[0] if passed else value
        for symbol in reversed(passed):
            changed = self._stand_in(symbol, changed)
        return changed

    def _stand_in(self, symbol: Symbol, value: Expr) -> Symbol:
        stand_in = Symbol(symbol.shape, uuid_from_name(f"{symbol.digest} {value.digest}"), symbol.name)
        self.variants[stand_in] = (symbol, value)
        return stand_in

    def _finish_module(self, module: Module, body: Expr) -> Expr:
        """The call again if each parameter stands for one thing; else inlined, each place with its own."""
        values: dict[Symbol, list[tuple[Symbol, Expr]]] = {symbol: [] for symbol in module.bindings}
        for free in body.free_symbols:
            symbol, value = self.variants.get(free, (free, module.bindings.get(free)))
            if symbol in values and value is not None:
                values[symbol].append((free, value))
        if any(len(found) > 1 for found in values.values()):
            every = {free: value for found in values.values() for free, value in found}
            return substitute(Module.from_bindings(body, every | self._unused(module, values), module.name))
        back = {free: symbol for symbol, found in values.items() for free, _ in found if free is not symbol}
        bindings = {symbol: found[0][1] for symbol, found in values.items() if found}
        unused = self._unused(module, values)
        in_order = {s: (bindings | unused)[s] for s in module.bindings if s in bindings or s in unused}
        if body is module.body and list(in_order.values()) == list(module.args):
            return module
        specs = {spec.symbol: spec for spec in module.params}
        renamed = bind(body, back) if back else body
        return Module.make((renamed, *in_order.values()), tuple(specs[s] for s in in_order), module.name)

    def _unused(self, module: Module, values: dict[Symbol, list[tuple[Symbol, Expr]]]) -> dict[Symbol, Expr]:
        """Arguments that the body no longer uses, or never did, but whose batch axes shape the result."""
        return {
            symbol: module.bindings[symbol]
            for symbol, found in values.items()
            if not found and (module.bindings[symbol].ndim > symbol.ndim or symbol not in module.body.free_symbols)
        }
