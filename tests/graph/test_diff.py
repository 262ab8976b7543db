"""`diff`: changed, added and removed nodes, aligned by structure, in time that follows the difference."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.graph import diff
from scrub.rewrite.testing import Maker
from tests.steps import num_steps

X, Y, Z = (rc.Array(torch.full((2,), value), name) for value, name in [(1.0, "x"), (2.0, "y"), (3.0, "z")])


def chain(count: int, leaf: rc.Expr, *, is_named: bool) -> rc.Expr:
    for i in range(count):
        leaf = rc.Add(leaf, X, name=f"n{i}" if is_named else None)
    return leaf


def what(before: rc.Expr, after: rc.Expr) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(rc.display_name(c.before), rc.display_name(c.after), c.what) for c in diff(before, after).changes]


def test_no_difference() -> None:
    found = diff(rc.Add(X), rc.Add(X))
    assert not found
    assert (found.summary, found.to_text(), found.changes) == ("no difference", "no difference", ())


def test_a_renamed_node() -> None:
    before, after = rc.Add(X, Y, name="s"), rc.Add(X, Y.rename("w"), name="s")
    assert what(before, after) == [("'y'", "'w'", ("name",))]
    digest = Y.frozen.digest[:8]
    assert diff(before, after).to_text().splitlines() == [
        "1 node changed",
        "  's' [2] Add",
        "    'x'",
        f"-   'y' [2] Array {digest}",
        f"+   'w' [2] Array {digest}  (name)",
    ]


def test_changed_parameters() -> None:
    assert what(rc.Add(rc.Scalar(1.0)), rc.Add(rc.Scalar(2.0))) == [("1.0", "2.0", ("params",))]
    assert what(rc.Scalar(0.0, name="a"), rc.Scalar(-0.0, name="a")) == [("'a'", "'a'", ("params",))]
    assert what(rc.Index(X, (0,), "i"), rc.Index(X, (1,), "i")) == [("'i'", "'i'", ("params",))]


def test_a_changed_type() -> None:
    tanh, exp = rc.elementwise("tanh", X, "f"), rc.Add(X, name="f")
    assert what(tanh, exp) == [("'f'", "'f'", ("type", "params"))]


def test_added_and_removed_children() -> None:
    before, after = rc.Add(X, Y, name="s"), rc.Add(X, Z, Y, name="s")
    found = diff(before, after)
    assert (found.added, found.removed) == ((Z,), ())
    assert what(before, after) == [("'s'", "'s'", ("children",))]
    assert found.summary == "1 node changed, 1 added"
    assert found.to_text().splitlines()[2:] == ["    'x'", f"+   'z' [2] Array {Z.frozen.digest[:8]}", "    'y'"]
    back = diff(after, before)
    assert (back.added, back.removed, back.summary) == ((), (Z,), "1 node changed, 1 removed")
    assert back.to_text().splitlines()[3][0] == "-"


def test_reordered_children() -> None:
    found = diff(rc.Add(X, Y, name="s"), rc.Add(Y, X, name="s"))
    assert [change.what for change in found.changes] == [("children",)]
    assert (found.added, found.removed) == ((), ())


def test_one_child_more_of_the_same() -> None:
    assert what(rc.Add(X, name="s"), rc.Add(X, X, name="s")) == [("'s'", "'s'", ("children",))]


def test_something_put_around_a_node() -> None:
    inner = rc.Add(X, Y, name="s")
    scaled = inner.scale(2.0, name="scaled")
    found = diff(rc.Add(inner, name="top"), rc.Add(scaled, name="top"))
    assert set(found.added) == {scaled, scaled.children[1]}
    assert (found.removed, found.changes) == ((), ())
    back = diff(rc.Add(scaled, name="top"), rc.Add(inner, name="top"))
    assert set(back.removed) == {scaled, scaled.children[1]}
    assert (back.added, back.changes) == ((), ())


def test_a_change_inside_something_put_around() -> None:
    before = rc.Add(X, Y, name="s")
    after = rc.Add(X, Z, name="s").scale(2.0, name="scaled")
    found = diff(before, after)
    assert [(c.before, c.after) for c in found.changes] == [(Y, Z)]
    assert set(found.added) == {after, after.children[1]}


def test_shapes_that_follow_are_counted_apart() -> None:
    def build(size: int) -> rc.Expr:
        x = rc.Array(torch.zeros(size, 2), "x")
        return rc.Add(rc.elementwise("tanh", x, "t"), name="top")

    found = diff(build(3), build(4))
    assert [(c.after.name, c.what, c.is_own) for c in found.changes] == [
        ("top", ("shape",), False),
        ("t", ("shape",), False),
        ("x", ("params", "shape"), True),
    ]
    assert found.summary == "1 node changed, 2 of another shape or dtype because of it"


def test_modules() -> None:
    s = rc.Symbol.new_from_name((2,), "in")
    call = rc.Module(rc.ModuleSpec(rc.Add(s, Y, name="body"), [s]), "call", **{"in": X})
    changed = call.update("y", lambda _: Z.rename("y"))
    assert what(call, changed) == [("'y'", "'y'", ("params",))]
    inlined = rc.substitute_all_modules(call)
    found = diff(call, inlined)
    assert found.summary.startswith("1 node changed")
    assert {node.name for node in found.removed} == {"body", "in"}


@pytest.mark.parametrize("is_named", [True, False])
def test_a_leaf_of_10_000_nodes(is_named: bool) -> None:
    before, after = (chain(10_000, leaf, is_named=is_named) for leaf in (Y, Z.rename("y")))
    found = diff(before, after)
    text = found.to_text()
    assert [(c.before, c.after) for c in found.changes] == [(Y, Z.rename("y"))]
    assert found.summary == "1 node changed"
    assert len(text.splitlines()) < 20
    assert re.search(r"\.\.\. 999\d levels", text)


@pytest.mark.parametrize("is_aligned", [True, False])
def test_cost_grows_with_the_number_of_nodes_alone(is_aligned: bool) -> None:
    def steps(count: int) -> int:
        before = chain(count, Y, is_named=True)
        after = chain(count, Z, is_named=True) if is_aligned else chain(count + 1, Z, is_named=False)
        return num_steps(lambda: diff(before, after).to_text())

    assert steps(5_000) < 11 * steps(500)


def test_2_to_the_60_paths() -> None:
    def doubling(node: rc.Expr) -> rc.Expr:
        for i in range(60):
            node = rc.Add(rc.Add(node, name=f"left{i}"), rc.Add(node, name=f"right{i}"))
        return node

    found = diff(doubling(Y), doubling(Z))
    assert len(found.to_text().splitlines()) < 1000
    assert found.summary == "1 node changed"


def test_many_equal_siblings_are_folded() -> None:
    same = [rc.Scalar(float(i), (2,), f"c{i}") for i in range(1000)]
    text = diff(rc.Add(*same, Y, name="s"), rc.Add(*same, Z, name="s")).to_text()
    assert "    ... 998 not changed" in text.splitlines()
    assert len(text.splitlines()) == 7


def test_colors_and_notebooks() -> None:
    found = diff(rc.Add(X, Y, name="<s>"), rc.Add(X, Z, name="<s>"))
    assert "\033[31m'y'" in found.to_text(color=True)
    assert re.sub(r"\033\[\d+m", "", found.to_text(color=True)) == found.to_text() == str(found)
    assert "&lt;s&gt;" in found._repr_html_()
    assert repr(found) == "<Diff: 1 node changed>"


def test_printing(capsys: pytest.CaptureFixture[str]) -> None:
    found = diff(rc.Add(X, Y), rc.Add(X, Z))
    found.print()
    assert capsys.readouterr().out == found.to_text() + "\n"


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_every_node_of_one_side_is_accounted_for(first: int, second: int) -> None:
    """What only one of the two has is changed, added, removed, or differs below only; and going back mirrors it."""
    before, after = Maker(first).expr((2, 3)), Maker(second).expr((2, 3))
    if second % 2:  # most of the time, not two strangers
        leaves = [n for n in rc.postorder([before]) if not n.children]
        leaf = leaves[second % len(leaves)]
        after = before.update(leaf, lambda n: n.rename("changed"))
    found = diff(before, after)
    old, new = (set(rc.postorder([expr])) for expr in (before, after))
    assert bool(found) == (before is not after)
    assert set(found.added) <= new - old
    assert set(found.removed) <= old - new
    assert {c.before for c in found.changes} <= old
    assert {c.after for c in found.changes} <= new
    text = found.to_text()
    assert text.splitlines()[0] == found.summary
    for mark, nodes in (("+", found.added), ("-", found.removed)):
        shown = [line for line in text.splitlines() if line.startswith(mark)]
        assert len(shown) >= min(1, len(nodes))
    back = diff(after, before)
    assert (len(back.added) > 0) == (len(found.removed) > 0)
    if second % 2 and found:
        assert [c.after.name for c in found.changes] == ["changed"]
