"""Calls of calls as one, equal arguments as one, and parameters that nobody uses dropped. Values: `test_rules.py`."""

from __future__ import annotations

import pytest

import scrub as rc
from scrub.graph import RewriteError
from scrub.rewrite.modules import fuse, fuse_arguments, remove_unused_inputs
from tests.independent import assert_same, value_of
from tests.rewrite.modules.calls import array, bound, modules_of, symbol

A, B, S = symbol("a", 2), symbol("b", 2), symbol("s", 2)
X, Y = array("x", 2), array("y", 2)


def test_parameters_are_united() -> None:
    body = rc.Add(A, B, name="body")
    inner = bound(body, "inner", a=rc.Add(S, S, name="arg"))
    fused = fuse(rc.Module.from_bindings(inner, {S: X, B: Y}, "outer"))
    assert fused is rc.Module.from_bindings(body, {A: rc.Add(X, X, name="arg"), B: Y}, "outer")


def test_a_parameter_of_the_same_name_gets_a_number() -> None:
    other = rc.Symbol.new_with_random_uuid((2,), "a")
    inner = rc.Module.from_bindings(rc.Add(A, other.scale(2.0)), {A: X}, "inner")
    fused = fuse(rc.Module.from_bindings(inner, {other: Y}, "outer")).cast(rc.Module)
    assert [s.name for s in fused.spec.symbols] == ["a", "a.1"]
    assert_same(value_of(fused), X.value + 2 * Y.value)


def test_a_shadowed_parameter_is_not_confused_with_the_inner_one() -> None:
    inner = bound(rc.Add(A, A, name="body"), "inner", a=A.scale(3.0))
    fused = fuse(bound(inner, "outer", a=X)).cast(rc.Module)
    assert list(fused.bindings) == [A]
    assert_same(value_of(fused), 6 * X.value)


def test_batch_axes_of_both_stay_two_axes() -> None:
    """The outer argument (5) is used by the body that the inner argument (3) batches, and by that argument's side."""
    inner = bound(rc.Add(A, B, name="sum"), "inner", a=array("ys", 3, 2))
    outer = bound(inner, "outer", b=array("xs", 5, 2))
    fused = fuse(outer)
    assert fused.shape == (5, 3, 2)
    assert_same(value_of(fused), array("xs", 5, 2).value[:, None] + array("ys", 3, 2).value)


def test_4_2_the_batch_of_an_outer_argument_that_is_not_used_stays() -> None:
    inner = bound(rc.Add(A, A), "inner", a=array("ys", 3, 2))
    outer = rc.Module.from_bindings(inner, {B: array("xs", 5, 2)}, "outer")
    fused = fuse(outer)
    assert fused.shape == (5, 3, 2)
    assert_same(value_of(fused), (2 * array("ys", 3, 2).value).expand(5, 3, 2))


def test_fuse_says_why_not() -> None:
    inner = bound(rc.Add(A, B), "inner", a=X)
    with pytest.raises(RewriteError, match="its body is not a module"):
        fuse(inner)
    with pytest.raises(RewriteError, match=r"its body 'inner' \[2\] Module may not be taken apart"):
        fuse(bound(inner, "outer", b=Y), dissolve="other")
    cumulant = bound(rc.Add(A), "inner", a=rc.Cumulant(rc.Scalar(1.0), B))
    with pytest.raises(RewriteError, match="cannot take the batch axes: Cumulant None: only its first argument"):
        fuse(bound(cumulant, "outer", b=array("xs", 5, 2)))


def test_fusing_everywhere_leaves_no_call_of_a_call() -> None:
    expr: rc.Expr = rc.Add(A, S)
    for i in range(300):
        expr = rc.Module.from_bindings(expr, {A: rc.Add(A, B)}, f"call {i}")
    expr = bound(expr, "top", a=X, b=Y, s=X)
    fused = fuse.everywhere(expr)
    assert modules_of(fused) == [fused]
    assert_same(fused.evaluate(), expr.evaluate())


def test_equal_arguments_become_one_parameter() -> None:
    call = bound(rc.Einsum.from_string("a,a,a->", A, B, S), "call", a=X, b=Y, s=X)
    fused = fuse_arguments(call).cast(rc.Module)
    assert fused.bindings == {A: X, B: Y}
    assert fused.body is rc.Einsum.from_string("a,a,a->", A, B, A)


def test_equal_arguments_of_parameters_of_different_shape_stay_two() -> None:
    scalar = symbol("t")
    call = bound(rc.Add(A, scalar), "call", a=X, t=X)  # t takes an axis of x as batch
    with pytest.raises(RewriteError, match="no two parameters of the same shape"):
        fuse_arguments(call)


def test_a_fused_parameter_is_as_strict_as_the_strictest() -> None:
    specs = [rc.ModuleArgSpec(A), rc.ModuleArgSpec(B, batchable=False), rc.ModuleArgSpec(S, expandable=False)]
    call = rc.Module(rc.ModuleSpec(rc.Add(A, B, S), specs), "call", a=X, b=X, s=X)
    (spec,) = fuse_arguments(call).cast(rc.Module).params
    assert (spec.symbol, spec.batchable, spec.expandable) == (A, False, False)


def test_unused_parameters_go() -> None:
    call = rc.Module.from_bindings(rc.Add(B, name="body"), {A: X, B: Y}, "call")
    assert remove_unused_inputs(call) is rc.Module.from_bindings(rc.Add(B, name="body"), {B: Y}, "call")
    none = rc.Module.from_bindings(rc.Add(Y, name="body"), {A: X}, "call")
    assert remove_unused_inputs(none) is rc.Add(Y, name="call")
    with pytest.raises(RewriteError, match="the body uses every parameter"):
        remove_unused_inputs(bound(rc.Add(A), "call", a=X))


def test_4_2_unused_batch_axes_stay() -> None:
    many, some = array("many", 4, 5, 2), array("some", 5, 2)
    call = rc.Module.from_bindings(rc.Add(B, B), {A: many, B: some}, "call")
    removed = remove_unused_inputs(call)
    assert (removed.name, removed.shape) == ("call", (4, 5, 2))
    assert not removed.get("many")
    assert_same(value_of(removed), (2 * some.value).expand(4, 5, 2))
