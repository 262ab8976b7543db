"""New names on the paths to what a matcher finds, and nowhere else."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub.rewrite.modules import rename_on_replaced_path
from tests.independent import assert_same, value_of
from tests.rewrite.modules.calls import array, bound, calls, names_of, symbol
from tests.rewrite.test_scale import DEPTH, chain, doubling


def primed(node: rc.Expr) -> str:
    return f"{node.name}'"


def test_only_the_paths_change() -> None:
    x = array("x", 2)
    shared = rc.Add(x, name="shared")
    whole = rc.Add(rc.Add(shared, name="left"), rc.Add(shared, name="right"), name="sum")
    renamed = rename_on_replaced_path(whole, rc.IterativeMatcher("left").chain("shared"), primed)
    assert renamed is rc.Add(rc.Add(rc.Add(x, name="shared'"), name="left'"), rc.Add(shared, name="right"), name="sum'")


def test_leaves_keep_their_names() -> None:
    x, one = array("x", 2), rc.Scalar(1.0, name="one")
    whole = rc.Add(x, one, name="sum")
    assert rename_on_replaced_path(whole, {"x", "one"}, primed) is rc.Add(x, one, name="sum'")
    assert rename_on_replaced_path(x, "x", primed) is x


def test_a_call_gets_a_body_of_its_own() -> None:
    a, x = symbol("a", 2), array("x", 2)
    body = rc.Add(rc.Add(a, name="f"), name="body")
    whole = rc.Add(bound(body, "one", a=x), bound(body, "two", a=x), name="sum")
    renamed = rename_on_replaced_path(whole, rc.IterativeMatcher("one").chain("f"), primed)
    one = rc.Add(rc.Add(a, name="f'"), name="body'")
    assert renamed is rc.Add(bound(one, "one'", a=x), bound(body, "two", a=x), name="sum'")


def test_the_new_name_may_be_none_and_is_asked_for_once_a_node() -> None:
    seen: list[rc.Expr] = []
    whole = doubling(3)
    renamed = rename_on_replaced_path(whole, "x", seen.append)
    assert len(seen) == len(set(seen)) == 9
    assert names_of(renamed) == ["x"]


def test_finding_nothing_is_an_error_unless_allowed() -> None:
    whole = rc.Add(array("x", 2), name="sum")
    with pytest.raises(rc.MatchError, match="finds nothing"):
        rename_on_replaced_path(whole, "y", primed)
    assert rename_on_replaced_path(whole, "y", primed, assert_any_found=False) is whole


def test_it_renames_what_has_a_match_at_or_below_it() -> None:
    """Against all paths written out: what is on one of them to the second name has that name at or below it."""
    counts: Counter[str] = Counter()

    def expected(node: rc.Expr, names: set[str]) -> rc.Expr:
        new = node.with_children([expected(child, names) for child in node.children])
        is_on_path = any(below.name in names for below in rc.postorder([node]))
        is_leaf = isinstance(node, rc.Array | rc.Scalar | rc.Symbol)
        return new.rename(primed(node)) if is_on_path and not is_leaf else new

    @settings(max_examples=100)
    @given(calls(), st.data())
    def check(expr: rc.Expr, data: st.DataObject) -> None:
        names = data.draw(st.sets(st.sampled_from([*names_of(expr), "nobody"]), min_size=1, max_size=2))
        renamed = rename_on_replaced_path(expr, names, primed, assert_any_found=False)
        assert renamed is expected(expr, names)
        assert_same(value_of(renamed), value_of(expr))
        counts["renamed"] += renamed is not expr

    check()
    assert counts["renamed"] >= 50, counts


def test_cost_follows_distinct_places() -> None:
    assert len(names_of(rename_on_replaced_path(chain(), "start", lambda node: "c"))) == 3
    many = doubling()
    renamed = rename_on_replaced_path(many, rc.IterativeMatcher("right").chain("x"), primed)
    assert len(rc.to_text(renamed).splitlines()) < 1000
    assert DEPTH > len(list(rc.postorder([renamed]))) > 180
