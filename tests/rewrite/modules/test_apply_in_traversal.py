"""Cutting out what a traversal covers: what is seen, what is put back, and that nothing else changes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub.rewrite.modules import apply_in_traversal
from tests.independent import assert_same, value_of
from tests.rewrite.modules.calls import array, bound, calls, modules_of, names_of, symbol
from tests.rewrite.test_scale import chain, doubling
from tests.strategies import NODE_NAMES, expressions


def shifted(node: rc.Expr) -> rc.Expr:
    return node.scale(-1.5).add(rc.Scalar(0.25))


def test_what_is_beyond_becomes_symbols_of_its_shape_and_name() -> None:
    x, y = array("x", 2), array("y", 3, 2)
    whole = rc.Add(rc.Add(x, y, name="inner"), x, name="sum")
    seen: list[rc.Expr] = []
    assert apply_in_traversal(whole, rc.new_traversal(end_depth=1), lambda cut: seen.append(cut) or cut) is whole
    (cut,) = seen
    assert (cut.name, [(s.name, s.shape) for s in cut.free_symbols]) == ("sum", [("inner", (3, 2)), ("x", (2,))])
    assert cut.children == cut.free_symbols


def test_a_node_can_be_covered_on_one_path_and_beyond_on_another() -> None:
    shared = rc.Add(array("x", 2), name="shared")
    whole = rc.Add(rc.Add(shared, name="near"), rc.Add(rc.Add(shared), name="far"), name="sum")
    result = apply_in_traversal(
        whole, rc.new_traversal(end_depth=3), lambda cut: cut.update(is_node("shared"), lambda n: n.rename("seen"))
    )
    assert [len(result.get(rc.IterativeMatcher(side).chain("seen"))) for side in ("near", "far")] == [1, 0]


def is_node(*names: str) -> rc.Matcher:
    return rc.Matcher(set(names)) & ~rc.Matcher(rc.Symbol)


def test_the_result_may_drop_repeat_and_batch() -> None:
    x, y = array("x", 2), array("y", 2)
    whole = rc.Add(x, y, name="sum")

    def stacked(cut: rc.Expr) -> rc.Expr:
        first = cut.children[0]
        return rc.Concat.stack(first, first, first, axis=0)

    result = apply_in_traversal(whole, rc.new_traversal(end_depth=1), stacked)
    assert_same(result.evaluate(), x.value.expand(3, 2))


def test_an_update_of_the_cut_is_an_update_limited_to_the_traversal() -> None:
    counts: Counter[str] = Counter()
    names = st.sets(st.sampled_from(NODE_NAMES), min_size=1, max_size=5)

    @settings(max_examples=150)
    @given(expressions(num_steps=10, with_modules=False), names, st.integers(1, 6), st.sampled_from(NODE_NAMES))
    def check(expr: rc.Expr, chosen: set[str], end_depth: int, early: str) -> None:
        limits = {"end_depth": end_depth, "term_early_at": early}
        expected = expr.update(rc.restrict(chosen, **limits), shifted, assert_any_found=False)
        actual = apply_in_traversal(
            expr,
            rc.new_traversal(**limits),
            lambda cut: cut.update(is_node(*chosen), shifted, assert_any_found=False),
        )
        assert actual is expected
        counts["changed"] += actual is not expr
        counts["limited"] += expr.update(chosen, shifted, assert_any_found=False) is not actual

    check()
    assert counts["changed"] >= 40, counts
    assert counts["limited"] >= 40, counts


def test_rewrites_of_the_cut_keep_the_value() -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=150)
    @given(calls(), st.integers(1, 5), st.data())
    def check(expr: rc.Expr, end_depth: int, data: st.DataObject) -> None:
        early = data.draw(st.sampled_from([*names_of(expr), "nobody"]))
        traversal = rc.new_traversal(end_depth=end_depth, term_early_at=early)
        assert apply_in_traversal(expr, traversal, lambda cut: cut) is expr
        result = apply_in_traversal(expr, traversal, rc.substitute_all_modules)
        assert result.shape == expr.shape
        assert_same(value_of(result), value_of(expr))
        counts["changed"] += result is not expr
        counts["kept some"] += result is not expr and bool(modules_of(result))

    check()
    assert counts["changed"] >= 60, counts
    assert counts["kept some"] >= 10, counts


def test_what_depends_on_a_covered_parameter_stays() -> None:
    a, x, y = symbol("a", 2), array("x", 2), array("y", 2)
    body = rc.Add(rc.Add(rc.Add(a, y, name="uses"), rc.Add(y, name="does not"), name="sum"), name="body")
    call = bound(body, "call", a=x)
    cuts: list[rc.Expr] = []
    result = apply_in_traversal(
        call, rc.new_traversal(end_depth=2), lambda cut: cuts.append(cut) or rc.substitute_all_modules(cut)
    )
    assert [s.name for s in cuts[0].free_symbols] == ["y", "does not"]  # x lies at depth 1
    assert result is call.substitute()


def test_what_is_random_below_a_cumulant_stays_random() -> None:
    """Or a transform would take it for a constant, whose covariance is zero."""
    dice = rc.DiscreteVar(array("faces", 6), name="dice")
    scaled = rc.Einsum((dice, ()), (rc.Add(array("c"), name="factor"), ()), out_axes=(), name="scaled")
    whole = rc.Add(rc.Cumulant(scaled, dice, name="cov"), scaled, name="sum")

    def drop_constants(cut: rc.Expr) -> rc.Expr:
        return cut.update(rc.Cumulant, lambda c: rc.Scalar(0.0) if any(x.is_constant for x in c.children) else c)

    seen: list[rc.Expr] = []
    traversal = rc.new_traversal(term_early_at="cov", end_depth=2)
    result = apply_in_traversal(whole, traversal, lambda cut: seen.append(cut) or drop_constants(cut))
    assert result is whole
    assert [s.name for s in seen[0].free_symbols] == ["factor", "dice"]  # dice itself only outside the cumulant


def test_a_part_put_back_is_not_captured() -> None:
    """The transform moves what was beyond into a module that binds a symbol of the same identity."""
    a, x = symbol("a", 2), array("x", 2)
    free = rc.Add(rc.Add(a, name="beyond"), rc.Scalar(1.0), name="top")

    def into_module(cut: rc.Expr) -> rc.Expr:
        return bound(rc.Add(cut, a), a=x)

    result = apply_in_traversal(free, rc.new_traversal(end_depth=1), into_module)
    assert result.free_symbols == (a,)
    value = value_of(bound(result, a=array("y", 2)))
    assert_same(value, array("y", 2).value + 1.0 + x.value)


def test_a_transform_that_returns_something_else_is_an_error() -> None:
    with pytest.raises(rc.ConstructionError, match="apply_in_traversal: the transform returned float, not an Expr"):
        apply_in_traversal(array("x"), True, lambda cut: 1.0)  # type: ignore[arg-type,return-value]


def test_cost_follows_distinct_places() -> None:
    deep = chain()
    assert apply_in_traversal(deep, rc.new_traversal(), lambda cut: cut) is deep
    many = doubling()
    traversal = rc.new_traversal(end_depth=40)
    assert apply_in_traversal(many, traversal, lambda cut: cut) is many
    assert apply_in_traversal(many, rc.restrict(True, term_early_at="left"), lambda cut: cut) is many


def test_leaf_names_are_untouched() -> None:
    x = array("x", 2)
    assert apply_in_traversal(rc.Add(x), rc.new_traversal(end_depth=1), shifted).get("x") == (x,)
