"""Modules pushed towards where their parameters are used."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub.rewrite.modules import push_down_modules
from tests.independent import assert_same, value_of
from tests.rewrite.modules.calls import array, bound, calls, modules_of, names_of, symbol
from tests.rewrite.test_scale import DEPTH, ONE, nested_modules

A, B = symbol("a", 2), symbol("b", 2)
X, Y = array("x", 2), array("y", 2)


def test_bindings_go_where_they_are_used_and_nowhere_else() -> None:
    body = rc.Add(rc.Add(A, A, name="f"), rc.Add(B, name="g"), rc.Add(Y, name="h"), name="body")
    pushed = push_down_modules(bound(body, "call", a=X, b=Y), rc.new_traversal(end_depth=2))
    assert pushed is rc.Add(
        bound(rc.Add(A, A, name="f"), "call.f", a=X),
        bound(rc.Add(B, name="g"), "call.g", b=Y),
        rc.Add(Y, name="h"),
        name="call",
    )


def test_without_a_limit_nothing_is_left_to_push() -> None:
    expr = nested_modules(20)
    assert push_down_modules(expr) is rc.substitute_all_modules(expr)


def test_a_shared_node_of_the_body_stays_shared() -> None:
    shared = rc.Add(A, Y, name="shared")
    body = rc.Add(rc.Add(shared, name="l"), rc.Add(shared, name="r"), name="body")
    pushed = push_down_modules(bound(body, "call", a=X), rc.new_traversal(end_depth=3))
    assert pushed.get(rc.Module) == (bound(shared, "call.shared", a=X),)


def test_skip_is_not_entered() -> None:
    body = rc.Add(rc.Add(rc.Add(A, name="deep"), name="f"), rc.Add(rc.Add(A, name="deep"), name="g"), name="body")
    pushed = push_down_modules(bound(body, "call", a=X), skip="f")
    assert [(m.name, m.body.name) for m in modules_of(pushed)] == [("call.f", "f")]
    assert pushed.get_unique("g") is rc.Add(rc.Add(X, name="deep"), name="g")
    whole = bound(body, "call", a=X)
    assert push_down_modules(rc.Add(whole), skip="call") is rc.Add(whole)


def test_calls_of_a_function_can_stay_calls_of_that_function() -> None:
    """As weights are pushed from the whole model to its blocks, one of which is in the other's argument."""
    spec = rc.ModuleSpec(rc.Add(A, B, name="block body"), [A, B])
    first = rc.Module(spec, "b0", a=Y, b=symbol("w0", 2))
    second = rc.Module(spec, "b1", a=first, b=symbol("w1", 2))
    pushed = push_down_modules(bound(rc.Add(second, name="body"), "model", w0=X, w1=Y), skip={"b0", "b1"})
    b0 = rc.Module(spec, "b0", a=Y, b=X)
    assert pushed is rc.Add(rc.Module(spec, "b1", a=b0, b=Y), name="model")


def test_the_namer_gets_the_module_and_the_node() -> None:
    body = rc.Add(rc.Add(A, A, name="f"), rc.Add(A, Y), name="body")
    call = bound(body, "call", a=X)
    seen: list[tuple[rc.Expr, rc.Expr]] = []

    def namer(module: rc.Module, node: rc.Expr) -> str | None:
        seen.append((module, node))
        return None if node.name is None else node.name.upper()

    pushed = push_down_modules(call, rc.new_traversal(end_depth=2), namer=namer)
    assert seen == [(call, child) for child in body.children]
    assert [m.name for m in modules_of(pushed)] == ["F", None]
    default = push_down_modules(call, rc.new_traversal(end_depth=2))
    assert [m.name for m in modules_of(default)] == ["call.f", "call"]


def test_parameters_of_several_modules_meet_in_one() -> None:
    """The inner module's argument is pushed into; what both bind is bound at the node where they stop."""
    stop = rc.Add(A, B, name="stop")
    inner = bound(rc.Add(stop, name="inner body"), "inner", a=rc.Add(B, B, name="arg"))
    outer = bound(rc.Add(inner, name="outer body"), "outer", b=X)
    pushed = push_down_modules(outer, rc.restrict(True, term_early_at="inner body"))
    (left,) = modules_of(pushed)
    assert left is rc.Module.from_bindings(stop, {A: rc.Add(X, X, name="arg"), B: X}, "inner.stop")
    assert pushed is rc.Add(rc.Add(left, name="inner"), name="outer")


def test_a_module_whose_body_is_beyond_stays_on_pushed_arguments() -> None:
    spec = rc.ModuleSpec(rc.Add(A, Y, name="f body"), [A])
    outer = bound(rc.Add(rc.Module(spec, "f", a=B), rc.Module(spec, "g", a=rc.Add(B, B)), name="body"), "outer", b=X)
    pushed = push_down_modules(outer, rc.restrict(True, term_early_at={"f", "g"}))
    f, g = pushed.children
    assert f is rc.Module(spec, "f", a=X)
    assert g.cast(rc.Module).spec == spec
    assert_same(value_of(pushed), value_of(outer))


def test_two_parameters_of_one_name_get_different_names() -> None:
    other = rc.Symbol.new_with_random_uuid((2,), "a")
    stop = rc.Add(A, other.scale(2.0), name="stop")
    inner = rc.Module.from_bindings(rc.Add(stop), {other: Y}, "inner")
    outer = rc.Module.from_bindings(rc.Add(inner), {A: X}, "outer")
    (left,) = modules_of(push_down_modules(outer, skip="stop"))
    assert [s.name for s in left.spec.symbols] == ["a", "a.1"]
    assert_same(value_of(left), X.value + 2 * Y.value)


def test_batch_axes_follow_the_batching_rule() -> None:
    """SPEC 3: a product of two factors with batch axes of different rank; one factor stays a call."""
    xs, ys = array("xs", 5, 3, 2), array("ys", 3, 2)
    body = rc.Einsum((rc.softmax(A, name="f"), (0,)), (B, (0,)), (Y, (0,)), out_axes=(), name="product")
    call = bound(body, "call", a=xs, b=ys)
    pushed = push_down_modules(call, rc.new_traversal(end_depth=2))
    assert pushed.shape == (5, 3)
    assert [m.name for m in modules_of(pushed)] == ["call.f"]
    expected = torch.einsum("sha,ha,a->sh", xs.value.softmax(-1), ys.value, Y.value)
    assert_same(pushed.evaluate(), expected)


def test_4_2_batch_axes_of_unused_arguments_stay() -> None:
    call = rc.Module.from_bindings(rc.Add(B, name="body"), {A: array("many", 4, 2), B: X}, "call")
    for traversal in (rc.new_traversal(), rc.new_traversal(end_depth=1), rc.new_traversal(end_depth=2)):
        pushed = push_down_modules(call, traversal)
        assert pushed.shape == (4, 2)
        assert_same(value_of(pushed), X.value.expand(4, 2))


def test_a_batched_symbol_of_an_outer_module_in_the_body_of_a_batched_inner_one() -> None:
    """The outer's batch axis (5) and the inner's (3) are two axes, and neither argument has both."""
    inner = bound(rc.Add(A, B, name="sum"), "inner", a=array("ys", 3, 2))
    outer = bound(rc.Add(inner, name="body"), "outer", b=array("xs", 5, 2))
    expected = array("xs", 5, 2).value[:, None] + array("ys", 3, 2).value
    for skip in (False, "sum", "inner"):
        assert_same(value_of(push_down_modules(outer, skip=skip)), expected)


def test_what_cannot_take_batch_axes_is_an_error() -> None:
    call = bound(rc.Cumulant(Y, A, name="cov"), "call", a=array("xs", 5, 2))
    with pytest.raises(rc.BatchError, match="Cumulant 'cov': only its first argument may gain batch axes"):
        push_down_modules(call)
    assert push_down_modules(call, skip="cov") is call


def test_generated() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=300)
    @given(calls(), st.data())
    def check(expr: rc.Expr, data: st.DataObject) -> None:
        names = st.sampled_from([*names_of(expr), "nobody"])
        early, skip = data.draw(names), data.draw(names)
        traversal = rc.new_traversal(end_depth=data.draw(st.integers(1, 8)), term_early_at=early)
        pushed = push_down_modules(expr, traversal, skip=skip)
        assert pushed.shape == expr.shape
        assert pushed.name == expr.name or expr.name is None or not pushed.children
        assert_same(value_of(pushed), value_of(expr))
        assert_same(pushed.evaluate(), value_of(expr))
        for module in modules_of(pushed):
            assert module.spec.symbols  # their names are unique
        everything = push_down_modules(expr)
        assert not modules_of(everything)
        assert_same(everything.evaluate(), value_of(expr))
        counts["pushed"] += pushed is not expr
        counts["left some"] += pushed is not expr and bool(modules_of(pushed))
        counts["batched"] += pushed is not expr and any(m.num_batch for m in modules_of(pushed))

    check()
    assert min(counts["pushed"], 2 * counts["left some"]) >= 100, counts
    assert counts["batched"] >= 25, counts


def test_cost() -> None:
    """A chain in a body, modules nested in bodies, one spec with many calls, 2^60 paths."""
    x = rc.Array(torch.tensor(2.0, dtype=torch.float64), "x")
    s = symbol("s")
    body: rc.Expr = s
    for _ in range(DEPTH):
        body = rc.Add(body, ONE)
    calls_of_one: rc.Expr = x
    spec = rc.ModuleSpec(rc.Add(rc.Add(s, ONE, name="inside"), name="body"), [s])
    for _ in range(1000):
        calls_of_one = rc.Module(spec, "call", s=calls_of_one)
    doubled: rc.Expr = s
    for _ in range(60):
        doubled = rc.Add(rc.Add(doubled, name="left"), rc.Add(doubled, name="right"))
    assert push_down_modules(bound(body, "call", s=x)).evaluate().item() == DEPTH + 2
    deep = nested_modules(300)
    assert_same(push_down_modules(deep, skip="core").evaluate(), deep.evaluate())
    assert len(modules_of(push_down_modules(calls_of_one, skip="inside"))) == 1000
    assert len(modules_of(push_down_modules(bound(doubled, "call", s=x), rc.new_traversal(end_depth=50)))) == 2
