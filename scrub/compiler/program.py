"""`compile`: expressions become a program that runs again and again, on other inputs and draws.

What the inputs are like (shapes, dtypes, devices) is known when they are bound, so the work is done at the first run
with inputs of a kind and remembered; the number of draws is not part of it.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Collection, Generator, Mapping, Sequence

import torch

from scrub.compiler.backends import Backend, check_backend
from scrub.compiler.bindings import Bindings, Inputs
from scrub.compiler.compiled import Compiled, Kind, Progress
from scrub.compiler.differentiated import Differentiated
from scrub.compiler.finite import check_gradients, check_results
from scrub.compiler.gradients import check_objective, lower_with_probes
from scrub.compiler.lowering import Lowering
from scrub.compiler.ops import Constant, Input
from scrub.compiler.passes import ALL_PASSES, run_passes
from scrub.compiler.plan import Plan
from scrub.compiler.ranges import Ranges
from scrub.compiler.reference import check_sizes_are_known
from scrub.compiler.targets import find_targets
from scrub.compiler.values import Graph, Value, values_below
from scrub.graph import (
    ConstructionError,
    Expr,
    Symbol,
)
from scrub.graph.expr import RESIZES
from scrub.graph.rules import uuid_from_name
from scrub.rewrite import bind, substitute_all_modules
from scrub.rewrite.path_matcher import IterativeMatcherIn

MOST_ASSUMED_DRAWS = 64


def compile(  # noqa: A001 - the field's word; rc.compile reads as torch.compile does
    exprs: Expr | Sequence[Expr],
    *,
    batched: Collection[Symbol] = (),
    wrt: Sequence[IterativeMatcherIn] = (),
    passes: Collection[str] = ALL_PASSES,
    max_memory: int | None = None,
    check_finite: bool = False,
    backend: Backend = "eager",
) -> Program:
    """A program that computes expressions; what they share is computed once.

    Args:
        exprs: one or several, with free symbols and random variables that are bound when the program is run.
        batched: symbols that are bound to one value for each draw, along an axis in front of the symbol's own.
        wrt: what `value_and_grad` takes gradients with respect to: arrays, symbols and any other nodes, or matchers of
            them. A node in the body of a module is found under the name that it has when all modules are substituted.
        passes: names of the passes to run, see `scrub.compiler.passes`; all unless given.
        max_memory: most bytes in use at a time, beyond weights and inputs. Draws are computed in portions that fit; if
            one draw does not, values are dropped and computed again.
        check_finite: whether to raise a `NonFiniteError` that names the first node which produced NaN or infinity where
            a result holds any. Infinity that arrays and bound values bring is no fault by itself.
        backend: "eager" is torch as it is; "inductor" compiles what it makes with `torch.compile` at the first run, for
            any number of draws; "cudagraphs" captures it as a CUDA graph at the first run with a number of draws.

    Raises:
        MemoryLimitError: when it is run, if `max_memory` is not enough for one draw whatever is computed again.

    >>> x = Symbol.new_from_name((2,), "x")
    >>> program = compile([x.add(x), x.scale(3.0)], batched=[x])
    >>> program.run({x: torch.ones(4, 2)})[1].shape
    torch.Size([4, 2])
    """
    given = [exprs] if isinstance(exprs, Expr) else list(exprs)
    return Program(
        given,
        batched=batched,
        wrt=wrt,
        passes=passes,
        max_memory=max_memory,
        check_finite=check_finite,
        backend=backend,
    )


class Program:
    """Compiled expressions; made by `compile`."""

    def __init__(
        self,
        exprs: Sequence[Expr],
        *,
        batched: Collection[Symbol],
        wrt: Sequence[IterativeMatcherIn],
        passes: Collection[str],
        max_memory: int | None,
        check_finite: bool,
        backend: Backend,
    ) -> None:
        check_backend(backend)
        self.check_finite = check_finite
        self.backend: Backend = backend
        self.exprs = tuple(exprs)
        self.passes = tuple(passes)
        unknown = [name for name in self.passes if name not in ALL_PASSES]
        if unknown:
            raise ConstructionError(
                f"compile: there is no pass {unknown[0]!r}", expected=ALL_PASSES, found=unknown, hint=f"{ALL_PASSES}"
            )
        self.max_memory = max_memory
        self.inputs = Inputs(self.exprs, batched)
        self._compiled: dict[tuple[Kind, ...], Compiled] = {}
        self._targets = find_targets(self.exprs, wrt)
        self._differentiated: dict[tuple[int, tuple[Kind, ...]], Differentiated] = {}

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The free symbols, which tensors are bound to."""
        return self.inputs.symbols

    @property
    def groups(self) -> tuple[Expr, ...]:
        """The groups of the random variables, which rows are bound to."""
        return self.inputs.groups

    def run(self, bindings: Bindings | None = None, *, progress: Progress | None = None) -> list[torch.Tensor]:
        """The values: [n, *shape] where an expression depends on the n draws, else of its own shape.

        Args:
            bindings: the tensor of every free symbol; for every group of random variables (`probs_and_group`) the rows
                drawn, int64 [n].
            progress: called with (draws done, draws in all) after each portion.
        """
        given = self.inputs.checked(bindings)
        tensors = [given[key] for key in self.inputs.keys]
        compiled = self._compiled_for(given)
        values = compiled.run(tensors, progress=progress)
        self._check_finite(compiled, tensors, values)
        return values

    def _check_finite(
        self, compiled: Compiled, tensors: Sequence[torch.Tensor], values: Sequence[torch.Tensor]
    ) -> None:
        if self.check_finite:
            inputs = dict(zip(compiled.inputs, self.inputs.keys, strict=True))
            check_results(values, self.exprs, compiled.outputs, inputs, tensors)

    def value_and_grad(
        self, bindings: Bindings | None = None, *, of: int = 0
    ) -> tuple[list[torch.Tensor], dict[Expr, torch.Tensor]]:
        """The values, as `run` gives them, and the gradients of one of them with respect to the nodes of `wrt`.

        The objective is the sum over the draws of the scalar expression `of`. So the gradient with respect to a node
        that depends on draws is [n, *shape], draw by draw where draws do not meet; that with respect to any other is
        [*shape], summed over draws. It is zero where the objective does not depend on the node. A gradient is that of
        the node itself: of every place where it is read, and of no other node that happens to have the same value.
        Several gradients may be one tensor, as those of the heads of a layer are: clone one before writing into it.

        Within `max_memory`, draws are computed in portions, counting all that is computed for a draw as kept for the
        way back.

        Args:
            bindings: as for `run`.
            of: which of the expressions.

        >>> x, w = Symbol.new_from_name((2,), "x"), Symbol.new_from_name((2,), "w")
        >>> loss = x.mul(w, name="x w").mul(w).sum()
        >>> program = compile(loss, wrt=[w, "x w"], batched=[x])
        >>> values, gradients = program.value_and_grad({x: torch.ones(3, 2), w: torch.tensor([1.0, 5.0])})
        >>> values
        [tensor([26., 26., 26.])]
        >>> list(gradients.values())
        [tensor([ 6., 30.]), tensor([[1., 5.],
                [1., 5.],
                [1., 5.]])]
        """
        given = self.inputs.checked(bindings)
        kinds, n = self.inputs.kinds(given), self.inputs.num_draws(given)
        check_objective(self.exprs, of, self._targets, self.backend)
        if (of, kinds) not in self._differentiated:
            with without_cycle_collection():
                self._differentiated[of, kinds] = self._differentiate(of, kinds, n)
        tensors = [given[key] for key in self.inputs.keys]
        program = self._differentiated[of, kinds]
        values, found = program.run(tensors, portion=program.portion(n, self.max_memory))
        gradients = dict(zip(self._targets.nodes, found, strict=True))
        if self.check_finite:
            self._check_finite(self._compiled_for(given), tensors, values)
            check_gradients(gradients, self.exprs[of])
        return values, gradients

    def compiled(self, bindings: Bindings | None = None) -> Compiled:
        """The program for inputs of the kind of these."""
        return self._compiled_for(self.inputs.checked(bindings))

    def _compiled_for(self, given: Mapping[Expr, torch.Tensor]) -> Compiled:
        kinds = self.inputs.kinds(given)
        if kinds not in self._compiled:
            with without_cycle_collection():
                self._compiled[kinds] = self._compile(kinds, self.inputs.num_draws(given))
        return self._compiled[kinds]

    def plan(self, bindings: Bindings | None = None) -> Plan:
        """What a run with these bindings does and needs, found out without running it.

        >>> x = Symbol.new_from_name((2,), "x")
        >>> print(compile(x.add(x), batched=[x]).plan({x: torch.ones(4, 2)}))
        1 outputs on 4 draws, 4 at a time: 1 steps for each portion, 0 once
        ...
        """
        given = self.inputs.checked(bindings)
        return self._compiled_for(given).plan(self.inputs.num_draws(given))

    def _differentiate(self, of: int, kinds: Sequence[Kind], n: int) -> Differentiated:
        graph = Graph(assumed_draws=min(max(n, 1), MOST_ASSUMED_DRAWS))
        inputs = _input_values(graph, self.inputs, kinds)
        exprs = [_of_known_sizes(expr, inputs) for expr in self._targets.exprs]
        nodes = list(self._targets.nodes.values())
        if any(known is not expr for known, expr in zip(exprs, self._targets.exprs, strict=True)):
            exprs = [substitute_all_modules(expr) for expr in exprs]
            nodes = [substitute_all_modules(_of_known_sizes(node, inputs)) for node in nodes]
        return Differentiated(lower_with_probes(graph, inputs, exprs, nodes, of), self.passes, self.backend)

    def _compile(self, kinds: Sequence[Kind], n: int) -> Compiled:
        """Within `max_memory`, the first that fits of: with all passes; without computing siblings together."""
        compiled = self._compile_with(kinds, n, self.passes)
        if "siblings" in self.passes and not compiled.fits(n):
            return self._compile_with(kinds, n, [name for name in self.passes if name != "siblings"])
        return compiled

    def _compile_with(self, kinds: Sequence[Kind], n: int, passes: Collection[str]) -> Compiled:
        graph = Graph(assumed_draws=min(max(n, 1), MOST_ASSUMED_DRAWS))
        inputs, lowered = lower_for(graph, self.exprs, self.inputs, kinds)
        lent = {v.op.tensor.untyped_storage().data_ptr() for v in values_below(lowered) if isinstance(v.op, Constant)}
        counts: list[tuple[str, int, int]] = []

        def report(name: str, before: int, after: int) -> None:
            counts.append((name, before, after))

        outputs = run_passes(graph, lowered, passes, report)
        return Compiled(
            inputs,
            outputs,
            is_ordered="order" in passes,
            draws=graph.assumed_draws,
            max_memory=self.max_memory,
            passes=counts,
            lent=frozenset(lent),
            ranges=Ranges(inputs, lowered),
            backend=self.backend,
        )


@contextlib.contextmanager
def without_cycle_collection() -> Generator[None]:
    """Values refer to their arguments alone, so there are no cycles to look for; looking takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _of_known_sizes(expr: Expr, inputs: dict[Expr, Value]) -> Expr:
    """The expression with integer sizes, those of the inputs; symbols that get others are added to the inputs."""
    if not (expr.flags & RESIZES or expr.free_sizes):
        return expr
    sized: dict[Symbol, Expr] = {}
    for symbol in expr.free_symbols:
        if symbol.free_sizes:
            name = f"{symbol.digest} of {inputs[symbol].shape}"
            sized[symbol] = Symbol(inputs[symbol].shape, uuid_from_name(name), symbol.name)
            inputs[sized[symbol]] = inputs[symbol]
    bound = bind(expr, sized)
    check_sizes_are_known(bound)
    return substitute_all_modules(bound)


def lower_for(
    graph: Graph, exprs: Sequence[Expr], keys: Inputs, kinds: Sequence[Kind]
) -> tuple[list[Value], list[Value]]:
    """The values of inputs of these kinds, in their order, and of the expressions, before any pass."""
    inputs = _input_values(graph, keys, kinds)
    sized = [_of_known_sizes(expr, inputs) for expr in exprs]
    lowering = Lowering(graph, inputs)
    lowered = [lowering.run(expr) for expr in sized]
    return list(inputs.values())[: len(kinds)], lowered


def _input_values(graph: Graph, keys: Inputs, kinds: Sequence[Kind]) -> dict[Expr, Value]:
    return {
        key: graph.value(Input(key.digest, kind.shape, kind.dtype, kind.device, kind.is_drawn))
        for key, kind in zip(keys.keys, kinds, strict=True)
    }
