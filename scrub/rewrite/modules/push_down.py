"""Moving what modules bind down through their bodies, towards where it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scrub.graph import Expr, Module, ModuleArgSpec, Symbol, rebuild_batched
from scrub.graph.rearrange import repeat_axes
from scrub.graph.walk import settle
from scrub.rewrite.iterative import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.modules.parameters import along_own_batch, call_of, parameters_of, under_name_of
from scrub.rewrite.resize import conform_all_modules
from scrub.rewrite.states import State, next_for

Namer = Callable[[Module, Expr], str | None]
"""(module that is pushed, node at which it stops) -> name of the new module there."""


def module_and_node(module: Module, node: Expr) -> str | None:
    """The default namer: the module's name and the node's, joined by a dot; block "b1" pushed to "a" is "b1.a".

    >>> from scrub.graph import Scalar
    >>> s = Symbol.new_from_name((), "s")
    >>> module_and_node(Module.from_bindings(s, {s: Scalar(1.0)}, "b1"), Scalar(1.0, name="a"))
    'b1.a'
    """
    names = [name for name in (module.name, node.name) if name is not None]
    return ".".join(names) or None


def push_down_modules(
    expr: Expr,
    traversal: IterativeMatcherIn = True,
    *,
    skip: MatcherIn = False,
    namer: Namer = module_and_node,
) -> Expr:
    """Move the bindings of every module that the traversal covers down through its body, as far as it goes.

        (s -> op(f(s), g(s)))(x)  ->  op((s -> f(s))(x), (s -> g(s))(x))

    A node that the traversal covers is rebuilt on its pushed children by the batching rule (SPEC 3). A covered module
    dissolves, its body under its name as in `substitute`, its arguments pushed into too. One that `skip` matches, or
    whose body is beyond, stays, on its pushed arguments. At any other node that is the first beyond, or that `skip`
    matches, a module is left that binds those of the parameters that are free in the node: none if there are none; if
    it is such a symbol itself, the argument takes its place. Parameters of several modules meet there in one. With no
    limit this is `substitute_all_modules`, up to how batch axes are arranged inside. Bodies of symbolic sizes are first
    given those of their calls.

    Args:
        expr: what to rewrite.
        traversal: where modules are pushed; everywhere if not given.
        skip: nodes that are not entered; of modules, the body is not.
        namer: names the modules that are left; the name may be None. The module it is given is the innermost of those
            that bind something there.

    Raises:
        BatchError: a node on the way cannot take the batch axes of an argument.

    >>> from scrub.graph import Add, Scalar
    >>> from scrub.rewrite.iterative import new_traversal
    >>> s = Symbol.new_from_name((), "s")
    >>> body = Add(Add(s, s, name="f"), Scalar(1.0, name="g"), name="body")
    >>> call = Module.from_bindings(body, {s: Scalar(2.0, name="x")}, "call")
    >>> push_down_modules(call, new_traversal(end_depth=2)).print()
    'call' [] Add
      'call.f' [] Module
        'f' [] Add
          's' [] Symbol ...
          's'
        'x' [] Scalar 2.0 ! 's'
      'g' [] Scalar 1.0
    """
    return _PushDown(Matcher(skip), namer).run(conform_all_modules(expr), IterativeMatcher(traversal).state)


@dataclass(frozen=True)
class _Bound:
    """What a symbol stands for on the way down, and the module that bound it, `depth` modules down."""

    spec: ModuleArgSpec
    value: Expr
    module: Module
    depth: int


Scope = tuple[_Bound, ...]
Position = tuple[Expr, State | None, Scope]
"""A node, the traversal's state there (None: beyond), what is bound of its free symbols."""


class _PushDown:
    def __init__(self, skip: Matcher, namer: Namer) -> None:
        self.skip = skip
        self.namer = namer
        self.results: dict[Position, Expr] = {}
        self.moved: dict[Position, tuple[Module, Position]] = {}  # modules with pushed arguments, and their bodies

    def run(self, expr: Expr, state: State) -> Expr:
        start: Position = (expr, state, ())
        settle(start, self.results, self._step)
        return self.results[start]

    def _step(self, at: Position) -> list[Position]:
        """The result of a position, or the positions that must come first."""
        node, state, scope = at
        if isinstance(node, Symbol):
            self.results[at] = scope[0].value if scope else node
            return []
        if state is None or (self.skip(node) and not isinstance(node, Module)):
            self.results[at] = self._stop(node, scope)
            return []
        following = state.step(node)[1]
        values = {bound.spec.symbol: bound for bound in scope}
        states = [next_for(following, i) for i in range(len(node.children))]
        if isinstance(node, Module):
            return self._step_module(at, node, states, values)
        below = [_restrict(child, s, values) for child, s in zip(node.children, states, strict=True)]
        waiting = [position for position in below if position not in self.results]
        if not waiting:
            self.results[at] = rebuild_batched(node, [self.results[position] for position in below])
        return waiting

    def _step_module(
        self, at: Position, module: Module, states: list[State | None], values: dict[Symbol, _Bound]
    ) -> list[Position]:
        if at not in self.moved:
            below = [_restrict(arg, s, values) for arg, s in zip(module.args, states[1:], strict=True)]
            waiting = [position for position in below if position not in self.results]
            if waiting:
                return waiting
            moved = rebuild_batched(module, (module.body, *(self.results[position] for position in below)))
            self.moved[at] = self._enter(module, moved.cast(Module), states[0], values)
        moved, body = self.moved[at]
        if self._stays(module, body[1]):
            entering = [bound for bound in body[2] if bound.spec.symbol not in module.bindings]
            outer = [(bound.spec, bound.value) for bound in entering]
            self.results[at] = call_of(module.body, [*parameters_of(moved), *outer], module.name) if outer else moved
            return []
        if body not in self.results:
            return [body]
        result = self.results[body]
        missing = moved.shape[: max(0, moved.ndim - result.ndim)]  # batch axes that only unused arguments bring
        if missing or (result not in moved.args and not isinstance(module.body, Symbol)):
            result = under_name_of(module, repeat_axes(result, missing))
        self.results[at] = result
        return []

    def _enter(
        self, module: Module, moved: Module, state: State | None, values: dict[Symbol, _Bound]
    ) -> tuple[Module, Position]:
        """The module on its pushed arguments, and the position of its body with these bound."""
        gained = moved.ndim - module.ndim
        own_batch = moved.shape[gained : gained + module.num_batch]
        depth = 1 + max((bound.depth for bound in values.values()), default=0)
        inner: dict[Symbol, _Bound] = {}
        for symbol, bound in values.items():
            value = along_own_batch(bound.value, bound.value.ndim - symbol.ndim, own_batch)
            inner[symbol] = _Bound(bound.spec, value, bound.module, bound.depth)
        for spec, arg in zip(module.params, moved.args, strict=True):
            inner[spec.symbol] = _Bound(spec, arg, module, depth)
        return moved, _restrict(module.body, state, inner)

    def _stays(self, module: Module, state_of_body: State | None) -> bool:
        is_body_entered = isinstance(module.body, Symbol) or (state_of_body is not None and not self.skip(module.body))
        return self.skip(module) or not is_body_entered

    def _stop(self, node: Expr, scope: Scope) -> Expr:
        if not scope:
            return node
        innermost = max(scope, key=lambda bound: bound.depth).module
        return call_of(node, [(bound.spec, bound.value) for bound in scope], self.namer(innermost, node))


def _restrict(node: Expr, state: State | None, values: dict[Symbol, _Bound]) -> Position:
    if not values:
        return node, state, ()
    return node, state, tuple(values[symbol] for symbol in node.free_symbols if symbol in values)
