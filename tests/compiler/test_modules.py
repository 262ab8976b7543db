"""Modules are inlined by the compiler: nested, called with batch axes, with symbols of the bodies around them."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub.compiler import compile as compile_expressions
from scrub.compiler.passes import ALL_PASSES
from scrub.graph import Expr, postorder
from tests.compiler.cases import some_passes
from tests.independent import value_of
from tests.rewrite.modules.calls import calls
from tests.strategies import expressions, num_modules

BOTH = pytest.mark.parametrize("passes", [(), ALL_PASSES], ids=["no passes", "all passes"])


def symbol(name: str, *shape: int) -> rc.Symbol:
    return rc.Symbol.new_from_name(shape, name)


def array(*shape: int, seed: int = 0) -> rc.Array:
    return rc.Array(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def variable(*shape: int, rows: int, seed: int = 0) -> rc.DiscreteVar:
    group = rc.Tag.new_from_name(rc.Scalar(1 / rows, (rows,)), f"group of {rows}")
    return rc.DiscreteVar(array(rows, *shape, seed=seed), group)


def run(expr: Expr, passes: tuple[str, ...]) -> torch.Tensor:
    return compile_expressions(expr, passes=passes).run()[0]


def assert_same(got: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10, equal_nan=True)


# Generated


@BOTH
def test_generated_calls(passes: tuple[str, ...]) -> None:
    """Against closures and loops, which is how the values of the suite's strategy are found."""
    counts: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(expressions(num_steps=9))
    def check(expr: rc.Expr) -> None:
        assert_same(run(expr, passes), value_of(expr))
        modules = [node for node in postorder([expr]) if isinstance(node, rc.Module)]
        counts["several modules"] += num_modules(expr) > 2
        counts["batch axes"] += any(m.num_batch for m in modules)
        counts["nested batch axes"] += any(
            m.num_batch and any(isinstance(n, rc.Module) and n.num_batch for n in postorder([m.body])) for m in modules
        )
        counts["symbols of bodies around"] += any(
            set(m.body.free_symbols) - set(m.bindings) for m in modules if m.free_symbols
        )

    check()
    assert {what: count for what, count in counts.items() if count < 8} == {}


def test_generated_calls_under_random_sets_of_passes() -> None:
    @settings(max_examples=60)
    @given(calls(), st.integers(0, 10**6))
    def check(expr: rc.Expr, seed: int) -> None:
        assert_same(run(expr, some_passes(seed)), value_of(expr))

    check()


# By hand


@BOTH
def test_batch_axes_at_three_levels(passes: tuple[str, ...]) -> None:
    """x - 2 y + z for all entries: the innermost body reads the parameters of both bodies around it."""
    x, y, z = symbol("x", 2), symbol("y", 2), symbol("z", 2)
    inner = rc.ModuleSpec(rc.Add(x, y.scale(-2.0), rc.elementwise("tanh", z)), [z])
    zs = array(5, 2, seed=1)
    middle = rc.ModuleSpec(rc.Module(inner, "inner", z=zs).sum(0), [y])
    ys = array(4, 3, 2, seed=2)
    outer = rc.ModuleSpec(rc.Module(middle, "middle", y=ys), [x])
    xs = array(3, 7, 2, seed=3)
    got = run(rc.Module(outer, "outer", x=xs), passes)
    terms = xs.value[:, :, None, None, None] - 2 * ys.value[None, None, :, :, None] + zs.value.tanh()
    assert_same(got, terms.sum(4))


@BOTH
def test_draws_and_batch_axes_are_kept_apart_though_they_are_as_long(passes: tuple[str, ...]) -> None:
    a, b = symbol("a", 3), symbol("b", 3)
    x, w = variable(3, rows=3), array(3, 3, seed=1)
    spec = rc.ModuleSpec(rc.softmax(a.mul(b)).add(a), [a, b])
    program = compile_expressions(rc.Module(spec, "call", a=x, b=w), passes=passes)
    rows = torch.tensor([2, 0, 2])
    drawn = x.values.cast(rc.Array).value[rows]
    want = (drawn[:, None] * w.value).softmax(-1) + drawn[:, None]
    assert_same(program.run({x.probs_and_group: rows})[0], want)


@BOTH
def test_one_name_bound_at_two_levels_is_the_inner_one_inside(passes: tuple[str, ...]) -> None:
    p = symbol("p", 2)
    inner = rc.ModuleSpec(p.scale(3.0), [p])
    outer = rc.ModuleSpec(rc.Add(rc.Module(inner, "inner", p=p.add(rc.Scalar(1.0))), p), [p])
    x = array(4, 2)
    assert_same(run(rc.Module(outer, "outer", p=x), passes), 3 * (x.value + 1) + x.value)


@BOTH
def test_an_argument_is_not_captured_by_the_body_it_is_given_to(passes: tuple[str, ...]) -> None:
    p, q = symbol("p", 2), symbol("q", 2)
    body = rc.ModuleSpec(p.mul(q), [p, q])
    swapped = rc.ModuleSpec(rc.Module(body, "swapped", p=q, q=p.scale(2.0)), [p, q])
    x, y = array(2, seed=1), array(3, 2, seed=2)
    assert_same(run(rc.Module(swapped, "call", p=x, q=y), passes), x.value * 2 * y.value)


@BOTH
def test_unused_parameters_still_give_batch_axes(passes: tuple[str, ...]) -> None:
    p, q = symbol("p", 2), symbol("q")
    spec = rc.ModuleSpec(p.scale(2.0), [p, q], allow_unused=True)
    x = array(3, 2)
    got = run(rc.Module(spec, "call", p=x, q=array(4, 3)), passes)
    assert_same(got, (x.value * 2).expand(4, 3, 2))


@BOTH
def test_an_unused_parameter_that_is_drawn(passes: tuple[str, ...]) -> None:
    p, q = symbol("p", 2), symbol("q", 2)
    spec = rc.ModuleSpec(p.scale(2.0), [p, q], allow_unused=True)
    x, drawn = array(2), variable(2, rows=3)
    program = compile_expressions(rc.Module(spec, "call", p=x, q=drawn), passes=passes)
    (got,) = program.run({drawn.probs_and_group: torch.tensor([0, 1, 1, 2])})
    assert_same(got.expand(4, 2), (x.value * 2).expand(4, 2))


@BOTH
def test_calls_without_entries(passes: tuple[str, ...]) -> None:
    p = symbol("p", 2)
    spec = rc.ModuleSpec(rc.softmax(p).sum(), [p])
    assert run(rc.Module(spec, "none", p=array(0, 3, 2)), passes).shape == (0, 3)
    assert_same(run(rc.Module(spec, "none", p=array(0, 3, 2)).sum(), passes), torch.zeros((), dtype=torch.float64))


@BOTH
def test_the_same_spec_on_draws_on_weights_and_on_both(passes: tuple[str, ...]) -> None:
    p, q = symbol("p", 2), symbol("q", 2)
    spec = rc.ModuleSpec(rc.elementwise("tanh", p.mul(q)), [p, q])
    x, w = variable(2, rows=4), array(5, 2, seed=1)
    table = x.values.cast(rc.Array).value
    pairs = [(x, x), (x, w), (w, x), (w, w)]
    program = compile_expressions([rc.Module(spec, None, p=a, q=b) for a, b in pairs], passes=passes)
    rows = torch.tensor([3, 3, 1])
    drawn = table[rows]
    want = [
        (drawn * drawn).tanh(),
        (drawn[:, None] * w.value).tanh(),
        (w.value * drawn[:, None]).tanh(),
        (w.value * w.value).tanh(),
    ]
    for got, expected in zip(program.run({x.probs_and_group: rows}), want, strict=True):
        assert_same(got, expected)


@BOTH
def test_symbolic_sizes_are_those_of_the_arguments(passes: tuple[str, ...]) -> None:
    (seq,) = rc.symbolic_sizes("seq")
    p = rc.Symbol.new_from_name((seq, 2), "p")
    spec = rc.ModuleSpec(p.mean(0).add(p.sum(0)), [p])
    x = rc.Symbol.new_from_name((seq, 2), "x")
    program = compile_expressions(
        [rc.Module(spec, "call", p=x), rc.Module(spec, "other", p=array(5, 2))], passes=passes
    )
    for size in (1, 4, 3, 4):
        value = torch.randn(size, 2, dtype=torch.float64)
        got, other = program.run({x: value})
        assert_same(got, value.mean(0) + value.sum(0))
        assert_same(other, array(5, 2).value.mean(0) + array(5, 2).value.sum(0))


@BOTH
def test_every_axis_of_a_stack_of_variables(passes: tuple[str, ...]) -> None:
    """Heads of a concat of draws, with weights for each: batch axes out of core axes that were drawn."""
    p, w = symbol("p", 3), symbol("w", 3, 2)
    spec = rc.ModuleSpec(rc.Einsum.from_string("d, d e -> e", p, w), [p, w])
    parts = [variable(3, rows=2, seed=1), variable(3, rows=5, seed=2), array(3, seed=3)]
    weights = array(3, 3, 2, seed=4)
    program = compile_expressions(rc.Module(spec, "h", p=rc.Concat.stack(*parts, axis=0), w=weights), passes=passes)
    drawn = {part.probs_and_group: part for part in parts if isinstance(part, rc.DiscreteVar)}
    rows = {group: torch.tensor([1, 0, 1, 1]) for group in drawn}
    tables = [
        part.values.cast(rc.Array).value[rows[part.probs_and_group]]
        if isinstance(part, rc.DiscreteVar)
        else part.cast(rc.Array).value.expand(4, 3)
        for part in parts
    ]
    want = torch.einsum("nhd,hde->nhe", torch.stack(tables, 1), weights.value)
    assert_same(program.run(rows)[0], want)
