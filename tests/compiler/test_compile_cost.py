"""What compiling costs, and that variants share their work: both counted, none timed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import pytest
import torch

import scrub as rc
from scrub.compiler import compile as compile_expressions
from scrub.compiler.passes import ALL_PASSES
from scrub.graph import Expr, postorder
from tests.compiler.models import SHAPE, Model, published
from tests.steps import num_steps

BOTH = pytest.mark.parametrize("passes", [(), ALL_PASSES], ids=["no passes", "all passes"])
NUM_HEADS = 4


def steps_of(exprs: Sequence[Expr], bindings: dict[Expr, torch.Tensor], passes: tuple[str, ...]) -> int:
    """Lines of Python that compiling and one run take."""
    return num_steps(lambda: compile_expressions(exprs, batched=list(bindings), passes=passes).run(bindings))  # type: ignore[arg-type]


def assert_linear(sizes: Sequence[int], steps: Sequence[int], *, slack: float = 1.25) -> None:
    """Each further unit costs what the ones before it cost."""
    points = itertools.pairwise(zip(sizes, steps, strict=True))
    rates = [(b - a) / (n - m) for (m, a), (n, b) in points]
    assert max(rates) <= slack * min(rates), (sizes, steps)


def warm_up() -> None:
    """What is done once in a process, such as imports and compiled formulas."""
    model = published("gpt2", 2, 2, split=True)
    for passes in ((), ALL_PASSES):
        model.run(passes)


@functools.cache
def split_model(n_layers: int) -> Model:
    return published("gpt2", NUM_HEADS, NUM_HEADS, split=True, n_layers=n_layers, n=2)


def variant(model: Model, number: int) -> Expr:
    """The model with one head's output multiplied by a number of its own; heads in turn."""
    expr = model.exprs[0]
    heads = [f"a{layer}.h{head}" for layer in range(SHAPE.n_layers) for head in range(NUM_HEADS)]
    return expr.update(heads[number % len(heads)], lambda node: node.scale(1 + 1 / (number + 2)))


@BOTH
def test_a_chain_costs_as_much_as_it_is_long(passes: tuple[str, ...]) -> None:
    warm_up()
    x = rc.Symbol.new_from_name((2,), "x")
    bindings: dict[Expr, torch.Tensor] = {x: torch.ones(3, 2, dtype=torch.float64)}
    sizes, steps = [50, 100, 200, 400], []
    for size in sizes:
        chain: Expr = x
        for i in range(size):
            chain = rc.elementwise("tanh", chain) if i % 2 else chain.add(rc.Scalar(1.0 + i))
        steps.append(steps_of([chain], bindings, passes))
    assert_linear(sizes, steps)


@BOTH
def test_sharing_costs_nothing(passes: tuple[str, ...]) -> None:
    """A ladder with 2^n paths costs as much as it has nodes."""
    warm_up()
    x = rc.Symbol.new_from_name((2,), "x")
    bindings: dict[Expr, torch.Tensor] = {x: torch.ones(3, 2, dtype=torch.float64)}
    sizes, steps = [25, 50, 100, 200], []
    for size in sizes:
        ladder: Expr = x
        for _ in range(size):
            ladder = rc.Add(rc.elementwise("tanh", ladder), ladder.scale(0.5))
        steps.append(steps_of([ladder], bindings, passes))
    assert_linear(sizes, steps)


@BOTH
def test_a_model_costs_as_much_as_it_has_layers(passes: tuple[str, ...]) -> None:
    warm_up()
    sizes = [1, 2, 4, 8]
    models = [split_model(n) for n in sizes]
    steps = [steps_of(model.exprs, {model.batched: model.inputs}, passes) for model in models]
    assert_linear(sizes, steps)


@BOTH
def test_variants_cost_as_much_as_there_are(passes: tuple[str, ...]) -> None:
    warm_up()
    model = split_model(SHAPE.n_layers)
    sizes = [8, 16, 32]  # multiples of the number of heads: later layers cost less
    steps = [
        steps_of([*model.exprs, *(variant(model, i) for i in range(n))], {model.batched: model.inputs}, passes)
        for n in sizes
    ]
    assert_linear(sizes, steps)


def own_flops(expr: Expr, known: set[Expr]) -> int:
    """Operations of the nodes that the inlined expression has and the known ones are not."""
    return sum(int(node.flops()) for node in postorder([rc.substitute_all_modules(expr)]) if node not in known)


def test_a_variant_computes_what_is_downstream_of_its_change_and_no_more() -> None:
    model = split_model(SHAPE.n_layers)
    bindings: dict[Expr, torch.Tensor] = {model.batched: model.inputs}
    known = set(postorder([rc.substitute_all_modules(model.exprs[0])]))
    exprs = list(model.exprs)
    n = len(model.inputs)

    def flops(passes: tuple[str, ...]) -> int:
        return compile_expressions(exprs, batched=[model.batched], passes=passes).plan(bindings).flops

    whole, before = flops(()), {passes: flops(passes) for passes in ((), ALL_PASSES)}
    for number in range(2 * NUM_HEADS):
        exprs.append(variant(model, number))
        own = own_flops(exprs[-1], known) * n
        for passes, last in before.items():
            now = flops(passes)
            assert 0 < now - last <= 1.02 * own, (number, passes)
            before[passes] = now
        is_in_the_last_layer = number >= NUM_HEADS
        assert own < (0.55 if is_in_the_last_layer else 0.95) * whole
        known.update(postorder([rc.substitute_all_modules(exprs[-1])]))


@BOTH
def test_the_same_variant_again_costs_nothing(passes: tuple[str, ...]) -> None:
    model = split_model(SHAPE.n_layers)
    bindings: dict[Expr, torch.Tensor] = {model.batched: model.inputs}
    one, other = variant(model, 1), variant(model, 6)
    once = compile_expressions([one, other], batched=[model.batched], passes=passes).plan(bindings)
    again = compile_expressions([one, other, one, one, other], batched=[model.batched], passes=passes).plan(bindings)
    assert again.flops == once.flops
    assert len(again.per_portion.order) == len(once.per_portion.order)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
@BOTH
def test_a_thousand_variants(passes: tuple[str, ...], count: int) -> None:
    """Each change costs the steps that it takes in the first place, and all values are right."""
    model = split_model(SHAPE.n_layers)
    bindings: dict[Expr, torch.Tensor] = {model.batched: model.inputs}
    variants = [variant(model, number) for number in range(count)]
    num_steps_of: list[int] = []
    for some in (count // 2, count):
        program = compile_expressions([*model.exprs, *variants[:some]], batched=[model.batched], passes=passes)
        num_steps_of.append(len(program.plan(bindings).per_portion.order))
    assert num_steps_of[1] <= 2 * num_steps_of[0]
    results = program.run(bindings)
    assert len(results) == count + 1
    for number in (0, 1, 7, count // 2, count - 1):
        want = [rc.evaluate_many([variants[number]], {model.batched: row})[0] for row in model.inputs]
        torch.testing.assert_close(results[number + 1], torch.stack(want), rtol=1e-9, atol=1e-9)
