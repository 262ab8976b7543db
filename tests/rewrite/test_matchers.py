"""SPEC 5.1 to 5.6: matchers, paths, and the errors of matchers that find nothing or too much."""

from __future__ import annotations

import pytest

import scrub as rc
from scrub import IterativeMatcher, Matcher, Regex, new_traversal, restrict


def scalar(name: str, value: float = 1.0) -> rc.Scalar:
    return rc.Scalar(value, name=name)


X, Y = scalar("x"), scalar("y")
A, B = rc.Add(X, name="a1.h0"), rc.Add(X, Y, name="a1.h1")
TOP = rc.Add(A, B, name="top")


def names(expr: rc.Expr, matcher: object) -> set[str | None]:
    return {node.name for node in expr.get(matcher)}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("x", {"x"}),
        ({"x", "y", "nobody"}, {"x", "y"}),
        (rc.Add, {"a1.h0", "a1.h1", "top"}),
        ({rc.Scalar, "top"}, {"x", "y", "top"}),
        (A, {"a1.h0"}),
        ({A, X}, {"a1.h0", "x"}),
        (Regex("a1.h"), {"a1.h0", "a1.h1"}),
        (Regex(r"^a\.\.h"), {"a1.h0", "a1.h1"}),
        (Regex("a..h"), set()),
        (lambda node: len(node.children) == 2, {"a1.h1", "top"}),
        (True, {"x", "y", "a1.h0", "a1.h1", "top"}),
        (False, set()),
        (Matcher(), set()),
        (Matcher("x", B), {"x", "a1.h1"}),
        (Matcher("x") | "y", {"x", "y"}),
        (Matcher(rc.Add) & Regex("h1"), {"a1.h1"}),
        (~Matcher(rc.Add), {"x", "y"}),
        (~(Matcher("x") | rc.Add), {"y"}),
    ],
)
def test_5_1_conditions(condition: object, expected: set[str]) -> None:
    assert names(TOP, condition) == expected
    assert names(TOP, Matcher(condition)) == expected
    assert names(TOP, IterativeMatcher(condition)) == expected


def test_5_1_matchers_are_values() -> None:
    assert Matcher("a", "b") == Matcher({"b", "a"}) == Matcher("b") | "a"
    assert hash(Matcher("a", "b")) == hash(Matcher("b", "a"))
    assert Matcher("a") != ~Matcher("a") != Matcher("a") & "b"
    assert repr(Matcher("a", rc.Add)) == "Matcher('a', Add)"
    assert repr(~Matcher("a")) == "~Matcher('a')"
    assert repr(IterativeMatcher("a").chain("b", restrict("c", end_depth=3))) == (
        "IterativeMatcher('a').chain('b').chain(restrict('c', end_depth=3))"
    )


def test_5_1_errors() -> None:
    for matcher in (Matcher("x"), IterativeMatcher("x")):
        with pytest.raises(rc.ConstructionError, match="is neither true nor false"):
            bool(matcher)
    with pytest.raises(rc.ConstructionError, match=r"(?s)cannot match on 3.*IterativeMatcher goes where paths"):
        Matcher(3)
    with pytest.raises(rc.ConstructionError, match="int is not a node type"):
        Matcher(int)
    with pytest.raises(rc.ConstructionError, match=r"Regex: '\(' is malformed"):
        Regex("(")
    with pytest.raises(rc.ConstructionError, match=r"depths \[3, 2\) are empty"):
        restrict("x", start_depth=3, end_depth=2)


def test_5_3_new_traversal() -> None:
    leaf = scalar("B")
    a = rc.Add(leaf, scalar("C"), name="A")
    assert a.get(new_traversal(term_early_at=rc.Add).chain(rc.Add)) == (a,)
    assert new_traversal(term_early_at=rc.Add) == restrict(True, term_early_at=rc.Add)
    assert a.get(new_traversal(term_early_at=rc.Add)) == (a,)
    assert a.get(new_traversal(start_depth=1, term_early_at=rc.Add)) == ()
    assert names(a, new_traversal(start_depth=1)) == {"B", "C"}
    assert names(a, new_traversal(end_depth=1)) == {"A"}
    assert names(a, new_traversal(end_depth=0)) == set()
    nested = rc.Add(rc.Add(X, name="inner"), name="outer")
    assert names(nested, restrict(rc.Add, term_if_matches=True)) == {"outer"}


def test_5_3_three_different_matchers() -> None:
    below_p = rc.Add(rc.Add(scalar("B", 1.0), name="A"), scalar("B", 2.0), name="P")
    expr = rc.Add(rc.Add(rc.Add(scalar("B", 3.0), name="P"), name="A"), below_p)
    p = IterativeMatcher("P")
    inside = p.chain(restrict("B", term_early_at="A"))
    around = restrict(p.chain("B"), term_early_at="A")
    first = restrict(p, term_early_at="A").chain("B")
    found = [{node.cast(rc.Scalar).value for node in expr.get(m)} for m in (inside, around, first)]
    assert found == [{2.0, 3.0}, {2.0}, {1.0, 2.0}]
    assert len({inside, around, first}) == 3


def test_5_4_chain() -> None:
    assert names(TOP, IterativeMatcher("a1.h0").chain("y")) == set()
    assert names(TOP, IterativeMatcher("a1.h1").chain("y")) == {"y"}
    assert names(TOP, IterativeMatcher("top").chain(rc.Add)) == {"top", "a1.h0", "a1.h1"}
    assert names(TOP, IterativeMatcher("top").chain(rc.Add, must_be_sub=True)) == {"a1.h0", "a1.h1"}
    assert names(TOP, IterativeMatcher("top").chain_many(["a1.h0", "x"], ["y"])) == {"x", "y"}
    assert IterativeMatcher("top").chain("x") == IterativeMatcher("top").chain("x")
    assert IterativeMatcher("top").chain("x") != IterativeMatcher("top").chain("y")
    assert names(TOP, IterativeMatcher("a1.h0") | IterativeMatcher("a1.h1").chain("y")) == {"a1.h0", "y"}
    assert names(TOP, IterativeMatcher("a1.h1").chain("x") & IterativeMatcher("x")) == {"x"}


def test_5_5_children_and_modules() -> None:
    s = rc.Symbol.new_from_name((), "s")
    call = rc.Module(rc.ModuleSpec(rc.Add(s, Y, name="body"), [s]), "call", s=X)
    expr = rc.Add(call, A, name="top")
    assert names(expr, IterativeMatcher("top").children_matcher({1})) == {"a1.h0"}
    assert names(expr, IterativeMatcher("call").module_arg_matcher("s")) == {"x"}
    assert names(expr, IterativeMatcher("call").chain(rc.module_arg_matcher(s))) == {"x"}
    assert names(expr, IterativeMatcher(rc.Module).spec_matcher()) == {"body"}
    assert names(expr, IterativeMatcher(rc.Scalar)) == {"x", "y"}
    assert names(expr, IterativeMatcher(rc.Scalar).filter_module_spec()) == {"x"}
    assert names(expr, IterativeMatcher("top").module_arg_matcher("s")) == set()


def test_5_6_get_unique_and_paths() -> None:
    assert TOP.get(rc.Scalar) == (X, Y)
    assert TOP.get_unique("y") is Y
    assert TOP.get_paths("y") == {Y: (TOP, B, Y)}
    assert (TOP.are_any_found("y"), TOP.are_any_found("z")) == (True, False)
    with pytest.raises(
        rc.MatchError, match=r"(?s)finds 2 nodes where one was asked for.*'x'.*'y'.*hint: narrow it"
    ) as e:
        TOP.get_unique(rc.Scalar)
    assert (e.value.expected, e.value.found) == (1, 2)


def test_5_6_a_matcher_that_finds_nothing_shows_near_misses_and_how_far_it_got() -> None:
    with pytest.raises(rc.MatchError) as caught:
        TOP.update(IterativeMatcher("top").chain("a1.h9"), lambda n: n)
    message = str(caught.value)
    assert message.startswith("IterativeMatcher('top').chain('a1.h9') finds nothing in 'top' [] Add")
    assert "up to 'top': 1 found" in message
    assert "no node is named 'a1.h9'; similar: ['a1.h" in message
    assert "hint: " in message
    with pytest.raises(rc.MatchError, match="'y' exists, but not on the paths that are searched"):
        TOP.get_unique(IterativeMatcher("a1.h0").chain("y"))
    assert TOP.update("nobody", lambda n: n, assert_any_found=False) is TOP
