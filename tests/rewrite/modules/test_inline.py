"""Inlining many modules at once: the same objects as one after another, in linear time."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub.graph import rebuild
from scrub.rewrite.inlining import inline
from scrub.rewrite.modules import inline_single_callsite
from scrub.rewrite.modules.parameters import substitute_apart
from tests.independent import assert_same, value_of
from tests.rewrite.modules.calls import array, bound, calls, modules_of, symbol
from tests.rewrite.test_scale import nested_modules
from tests.steps import num_steps

A, B, W = symbol("a", 2), symbol("b", 2), symbol("w", 2)
X, Y = array("x", 2), array("y", 2)


def inline_all(expr: rc.Expr) -> rc.Expr:
    return inline(expr, set(modules_of(expr)), rc.substitute)


def one_after_another(expr: rc.Expr) -> rc.Expr:
    """Inner modules first, each by itself."""

    def transform(node: rc.Expr, children: tuple[rc.Expr, ...]) -> rc.Expr:
        rebuilt = node.with_children(children)
        return rc.substitute(rebuilt) if isinstance(node, rc.Module) else rebuilt

    return rebuild([expr], transform)[expr]


def test_all_at_once_gives_what_one_after_another_gives() -> None:
    """The same object: values, names, and how batch axes are arranged."""
    counts: Counter[str] = Counter()

    @settings(max_examples=400)
    @given(calls())
    def check(expr: rc.Expr) -> None:
        assert inline_all(expr) is one_after_another(expr)
        modules = modules_of(expr)
        counts["several"] += len(modules) > 1
        counts["batched"] += any(m.num_batch for m in modules)
        counts["nested in a body"] += any(modules_of(m.body) for m in modules)
        counts["unused"] += any(not set(m.bindings) <= set(m.body.free_symbols) for m in modules)

    check()
    assert min(counts.values()) >= 80, counts


def test_some_keep_the_value() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=300)
    @given(calls(), st.data())
    def check(expr: rc.Expr, data: st.DataObject) -> None:
        modules = modules_of(expr)
        chosen = {m for m in modules if data.draw(st.booleans())}
        result = inline(expr, chosen, substitute_apart)
        assert result.shape == expr.shape
        assert_same(value_of(result), value_of(expr))
        counts["some"] += 0 < len(chosen) < len(modules)

    check()
    assert counts["some"] >= 80, counts


def test_a_module_that_stays_captures_nothing() -> None:
    """a is free in what b stands for, and the inner module, which stays, binds an a of its own."""
    inner = bound(rc.Add(A, B, name="sum"), "inner", a=X)
    outer = rc.Module.from_bindings(rc.Add(inner, name="body"), {B: A}, "outer")
    many = rc.Module.from_bindings(rc.Add(inner, name="body"), {B: A, W: array("ws", 3, 2)}, "outer")  # by itself
    for module, expected in ((outer, X.value + Y.value), (many, (X.value + Y.value).expand(3, 2))):
        result = inline(module, {module}, substitute_apart)
        (kept,) = modules_of(result)
        assert [s.name for s in kept.bindings] == ["a"]
        assert result.free_symbols == (A,)
        assert_same(value_of(bound(result, a=Y)), expected)


def test_a_module_that_stays_keeps_its_own_parameter() -> None:
    """Both bind a: in the body of the inner module, which stays, the innermost counts; in its argument, the outer."""
    inner = bound(rc.Add(A, B, name="sum"), "inner", a=rc.Add(A, Y, name="arg"))
    outer = rc.Module.from_bindings(rc.Add(inner, A, name="body"), {A: X, B: X}, "outer")
    result = inline(outer, {outer}, substitute_apart)
    kept = bound(rc.Add(A, X, name="sum"), "inner", a=rc.Add(X, Y, name="arg"))
    assert result is rc.Add(kept, X, name="outer")


def test_what_is_bound_decides_what_is_shared() -> None:
    """f(g(a)) + f(h(a)), forty levels deep, where g and h inline to the same: two calls that become one."""
    s = symbol("s")
    g, h = (rc.ModuleSpec(rc.Add(t, t), [t]) for t in (symbol("g"), symbol("h")))
    body: rc.Expr = s
    for _ in range(40):
        calls_of = [rc.Module(spec, None, **{str(spec.symbols[0].name): s}) for spec in (g, h)]
        body = rc.Add(*(rc.Module.from_bindings(body, {s: arg}) for arg in calls_of))
    whole = rc.Module.from_bindings(body, {s: rc.Scalar(1.0)})
    inlined = inline_all(whole)
    assert len(list(rc.postorder([inlined]))) == 81
    assert inlined.evaluate().item() == 4.0**40


def test_what_is_ignored_costs_nothing() -> None:
    """f(g(a)) + f(h(a)) where f ignores its argument: 2^40 different arguments, none of them in the result."""
    s, t = symbol("s"), symbol("t")
    body: rc.Expr = rc.Add(s, rc.Scalar(1.0))
    for i in range(40):
        both = [rc.Module.from_bindings(body, {s: s.scale(factor)}) for factor in (2.0, 3.0)]
        ignoring = [
            rc.Module.from_bindings(rc.Scalar(float(i + j), name=f"{i} {j}"), {t: arg}) for j, arg in enumerate(both)
        ]
        body = rc.Add(*ignoring)
    assert len(list(rc.postorder([inline_all(rc.Module.from_bindings(body, {s: rc.Scalar(1.0)}))]))) == 3


def test_cost_is_linear_in_the_depth_of_nesting() -> None:
    shallow, deep = nested_modules(200), nested_modules(2000)
    assert inline_all(shallow) is one_after_another(shallow)
    assert num_steps(lambda: inline_all(deep)) < 10.5 * num_steps(lambda: inline_all(shallow))


def test_a_wide_graph_is_walked_once() -> None:
    s = symbol("s")
    terms = [rc.Add(s, rc.Scalar(float(i))) for i in range(20_000)]
    whole = bound(rc.Add(*terms), "call", s=rc.Array(torch.tensor(1.0, dtype=torch.float64), "x"))
    assert len(inline_all(whole).children) == 20_000


def test_single_callsites() -> None:
    once = rc.ModuleSpec(rc.Add(A, Y, name="once"), [A])
    often = rc.ModuleSpec(rc.Add(A, A, name="often"), [A])
    whole = rc.Module(
        once, "a", a=rc.Add(rc.Module(often, "b", a=X), rc.Module(often, "c", a=rc.Module(often, "b", a=X)))
    )
    assert inline_single_callsite(whole) is rc.Add(whole.args[0], Y, name="a")
    assert inline_single_callsite(whole, dissolve=~rc.Matcher("a")) is whole


def test_single_callsites_are_counted_by_spec_and_not_by_path() -> None:
    inner = bound(rc.Add(A, Y, name="inner body"), "inner", a=B)
    body = rc.Add(inner, inner, name="body")
    twice = rc.Add(*(bound(body, name, b=arg) for name, arg in (("one", X), ("two", Y))))
    result = inline_single_callsite(twice)
    assert sorted(str(m.name) for m in modules_of(result)) == ["one", "two"]
    assert_same(value_of(result), value_of(twice))


def test_single_callsites_generated() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=300)
    @given(calls())
    def check(expr: rc.Expr) -> None:
        calls_before = Counter(m.spec for m in modules_of(expr))
        result = inline_single_callsite(expr)
        assert result.shape == expr.shape
        assert_same(value_of(result), value_of(expr))
        if all(count == 1 for count in calls_before.values()):
            assert not modules_of(result)
        counts["inlined"] += result is not expr
        counts["kept"] += result is not expr and bool(modules_of(result))

    check()
    assert counts["inlined"] >= 100, counts
    assert counts["kept"] >= 10, counts


def test_single_callsites_cost() -> None:
    depth = 3000
    result = inline_single_callsite(nested_modules(depth))
    assert not modules_of(result)
    assert result.evaluate().item() == sum(2.0 + i for i in range(depth)) + 1
