"""Bindings pulled up to one module at the top."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub.rewrite.modules import extract_symbols
from tests.independent import assert_same, value_of
from tests.rewrite.modules.calls import array, bound, calls, modules_of, symbol
from tests.rewrite.test_scale import ONE

A, B, W = symbol("a", 2), symbol("b", 2), symbol("w", 2)
X, Y = array("x", 2), array("y", 2)


def test_the_only_binding_moves_with_its_symbol() -> None:
    inner = bound(rc.Add(A, W, name="f"), "inner", a=X, w=Y)
    top = extract_symbols(rc.Add(inner, name="whole"), "w")
    assert top is rc.Module.from_bindings(
        rc.Add(bound(rc.Add(A, W, name="f"), "inner", a=X), name="whole"), {W: Y}, "whole"
    )


def test_a_module_at_the_top_gets_the_parameters() -> None:
    inner = bound(rc.Add(A, W, name="f"), "inner", a=B, w=Y)
    outer = bound(rc.Add(inner, name="g"), "outer", b=array("xs", 3, 2))
    top = extract_symbols(outer, "w")
    assert (top.name, list(top.bindings.items())) == ("outer", [(B, array("xs", 3, 2)), (W, Y)])
    assert_same(value_of(top), value_of(outer))


def test_what_is_bound_within_its_arguments_moves_around_it() -> None:
    inner = bound(rc.Add(W, W, name="f"), "inner", w=Y)
    outer = bound(rc.Add(A, name="g"), "outer", a=inner)
    top = extract_symbols(outer, "w")
    assert (top.name, top.bindings, top.body.name) == ("outer", {W: Y}, "outer")
    assert_same(value_of(top), 2 * Y.value)


def test_what_is_bound_may_use_parameters_of_the_top() -> None:
    """The argument is batched there, as the top's own is, and shares its batch axis."""
    inner = bound(rc.Add(A, W, name="f"), "inner", a=B, w=rc.Add(B, B, name="twice"))
    outer = bound(rc.Add(inner, name="g"), "outer", b=array("xs", 3, 2))
    top = extract_symbols(outer, "w")
    assert top.bindings[W] is rc.Add(array("xs", 3, 2), array("xs", 3, 2), name="twice")
    assert_same(value_of(top), 3 * array("xs", 3, 2).value)


def test_calls_that_bind_different_things_use_different_parameters() -> None:
    spec = rc.ModuleSpec(rc.Add(A, W, name="f"), [A, W])
    whole = rc.Add(*(rc.Module(spec, f"b{i}", a=X, w=w) for i, w in enumerate([X, Y, X])), name="sum")
    top = extract_symbols(whole, "w", name="bind_w")
    assert (top.name, {s.name: arg for s, arg in top.bindings.items()}) == ("bind_w", {"b0.w": X, "b1.w": Y})
    assert_same(value_of(top), value_of(whole))


def test_a_chain_of_bindings_moves_as_one() -> None:
    """w of the inner is w of the outer: one parameter at the top, and it may be a symbol of another identity."""
    other = rc.Symbol.new_with_random_uuid((2,), "w")
    inner = rc.Module.from_bindings(rc.Add(other, A), {other: W, A: X}, "inner")
    outer = bound(rc.Add(inner, W), "outer", w=Y)
    top = extract_symbols(rc.Add(outer), "w")
    assert list(top.bindings.values()) == [Y]
    assert_same(value_of(top), value_of(outer))


def test_an_argument_with_batch_axes_keeps_its_parameter() -> None:
    heads = array("heads", 4, 2)
    inner = bound(rc.Einsum.from_string("a,a->", A, W), "head", a=array("xs", 4, 2), w=heads)
    top = extract_symbols(inner.sum(), "w")
    (made,) = top.bindings
    assert (made.shape, top.bindings[made]) == ((4, 2), heads)
    assert top.shape == ()
    assert_same(value_of(top), (array("xs", 4, 2).value * heads.value).sum())


def test_nodes_can_be_extracted_too() -> None:
    whole = rc.Add(bound(rc.Add(A, Y, name="f"), "call", a=X), Y, name="sum")
    top = extract_symbols(whole, rc.Array)
    assert {s.name: arg for s, arg in top.bindings.items()} == {"x": X, "y": Y}
    assert not top.body.get(rc.Array)
    assert_same(value_of(top), value_of(whole))


def test_what_depends_on_a_parameter_that_stays_is_an_error() -> None:
    inner = bound(rc.Add(W, name="f"), "inner", w=rc.Add(A, A, name="arg"))
    outer = rc.Add(bound(rc.Add(inner, A), "outer", a=X))
    with pytest.raises(
        rc.ModuleBindingError, match=r"(?s)'arg' .* depends on 'a', a parameter of a module around it.*extract that"
    ) as caught:
        extract_symbols(outer, "w")
    assert caught.value.found is A
    both = extract_symbols(outer, {"w", "a"})
    assert not modules_of(both.body)
    assert_same(value_of(both), 3 * X.value)


def test_finding_nothing_is_an_error() -> None:
    with pytest.raises(rc.MatchError, match=r"(?s)no module in 's' .* binds anything to Matcher\('w'\).*hint"):
        extract_symbols(rc.Add(W, name="s"), "w")


def test_no_capture_by_a_module_that_stays() -> None:
    """Both bind w, one of them with a batch, so that it stays: the other must not become its w."""
    inner = bound(rc.Add(W, W, name="f"), "inner", w=X)
    outer = bound(rc.Einsum((rc.Add(inner, W), (0,)), out_axes=(0,)), "outer", w=array("ws", 3, 2))
    top = extract_symbols(rc.Add(outer), "w")
    assert_same(value_of(top), array("ws", 3, 2).value + 2 * X.value)
    free = rc.Add(inner, W)
    assert extract_symbols(free, "w").free_symbols == (W,)
    assert_same(value_of(bound(extract_symbols(free, "w"), w=Y)), 2 * X.value + Y.value)


def test_generated() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=400)
    @given(calls(), st.data())
    def check(expr: rc.Expr, data: st.DataObject) -> None:
        names = sorted({str(s.name) for m in modules_of(expr) for s in m.bindings})
        if not names:
            return
        chosen = data.draw(st.sets(st.sampled_from(names), min_size=1))
        symbols = rc.Matcher(chosen) & rc.Matcher(rc.Symbol)
        try:
            top = extract_symbols(expr, symbols)
        except rc.MatchError:
            counts["nothing"] += 1
            return
        except rc.ModuleBindingError:
            counts["depends"] += 1
            return
        assert (top.shape, top.name, top.free_symbols) == (expr.shape, expr.name, ())
        assert len(top.spec.symbols) == len({s.name for s in top.bindings})
        assert_same(value_of(top), value_of(expr))
        assert_same(top.evaluate(), value_of(expr))
        for module in modules_of(top.body):
            for s, arg in module.bindings.items():
                assert not symbols(s) or arg in top.bindings
        counts["extracted"] += 1
        counts["several"] += len(top.bindings) > 1
        counts["modules left"] += bool(modules_of(top.body))

    check()
    assert counts["extracted"] >= 100, counts
    assert min(counts["several"], counts["modules left"]) >= 30, counts


def test_cost() -> None:
    """A thousand calls of one spec; bindings at every level of modules nested 300 deep."""
    x = rc.Array(torch.tensor(1.0, dtype=torch.float64), "x")
    s, w = symbol("s"), symbol("w")
    spec = rc.ModuleSpec(rc.Add(s, w), [s, w])
    expr: rc.Expr = x
    for i in range(1000):
        expr = rc.Module(spec, f"b{i}", s=expr, w=rc.Scalar(1.0, name=f"w{i % 500}"))
    nested: rc.Expr = rc.Add(w, ONE)
    for i in range(300):
        nested = rc.Module.from_bindings(rc.Add(nested, w), {w: rc.Scalar(float(i), name=f"w{i}")}, f"b{i}")
        nested = rc.Add(nested, w)
    nested = bound(nested, "top", w=x)
    assert len(extract_symbols(expr, "w").bindings) == 500
    top = extract_symbols(nested, "w")
    assert len(top.bindings) == 301
    assert_same(top.evaluate(), nested.evaluate())
