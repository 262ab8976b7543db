"""Section 5 of the specification, sentence by sentence: matchers and paths."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub import IterativeMatcher, Matcher, Regex, new_traversal, restrict
from scrub.rewrite import count_paths, directly_below, explain, iter_paths, not_through


def leaf(name: str, value: float = 1.0) -> rc.Scalar:
    return rc.Scalar(value, name=name)


def paths(expr: rc.Expr, matcher: object) -> list[str]:
    return [" ".join(str(node.name) for node in path) for path in iter_paths(expr, matcher)]


X, Y = leaf("x"), leaf("y", 2.0)
LEFT, RIGHT = rc.Add(X, name="a1.left"), rc.Add(X, Y, name="a1.right")
TOP = rc.Add(LEFT, RIGHT, name="top")


# ---- 5.1 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ((True,), {"top", "a1.left", "a1.right", "x", "y"}),  # bool
        ((False,), set()),
        (("x",), {"x"}),  # exact name
        (("a1",), set()),
        (({"x", "top"},), {"x", "top"}),  # set of names
        ((rc.Scalar,), {"x", "y"}),  # node type
        ((RIGHT,), {"a1.right"}),  # Expr
        (({RIGHT, X},), {"a1.right", "x"}),  # set of those
        (({rc.Scalar, "top"},), {"x", "y", "top"}),
        ((Regex("right"),), {"a1.right"}),  # Regex
        ((Matcher("x"),), {"x"}),  # another matcher
        ((lambda node: node.ndim == 0 and len(node.children) == 2,), {"top", "a1.right"}),  # predicate
        (("x", LEFT, Regex("^t")), {"x", "a1.left", "top"}),  # several = any
        ((), set()),  # none = never
    ],
)
def test_5_1_what_a_matcher_is_made_of(conditions: tuple[object, ...], found: set[str]) -> None:
    """SPEC 5.1: every kind of condition; "several = any; none = never"."""
    nodes = {"top": TOP, "a1.left": LEFT, "a1.right": RIGHT, "x": X, "y": Y}
    assert {name for name, node in nodes.items() if Matcher(*conditions)(node)} == found
    assert {node.name for node in TOP.get(Matcher(*conditions))} == found


def test_5_1_and_or_not() -> None:
    """SPEC 5.1: `& | ~`."""
    nodes = (TOP, LEFT, RIGHT, X, Y)
    add, named = Matcher(rc.Add), Matcher(Regex("a1"))
    for node in nodes:
        assert (add & named)(node) == (add(node) and named(node))
        assert (add | "x")(node) == (add(node) or node is X)
        assert (~add)(node) == (not add(node))


def test_5_1_a_matcher_is_no_bool() -> None:
    """SPEC 5.1: "Using one as a bool is an error"."""
    for use in (lambda: bool(Matcher("x")), lambda: Matcher("x") and True, lambda: bool(IterativeMatcher("x"))):
        with pytest.raises(rc.ConstructionError, match="is neither true nor false"):
            use()


def test_5_1_regex_searches_and_a_dot_is_literal_unless_escaped() -> None:
    """SPEC 5.1: "`Regex` searches; `.` is literal unless escaped (names are full of dots)"."""
    assert Regex("b.c").matches("a.b.c.d")
    assert not Regex("b.c").matches("abxcd")
    assert Regex(r"b\.c").matches("abxcd")


def test_5_1_matchers_print_themselves() -> None:
    """SPEC 5.1: "Matchers print themselves"."""
    assert repr(Matcher("a", rc.Add)) == "Matcher('a', Add)"
    assert repr(IterativeMatcher("top").chain("leaf")) == "IterativeMatcher('top').chain('leaf')"
    assert repr(restrict("a", term_early_at="b")) == "restrict('a', term_early_at='b')"


# ---- 5.2 -----------------------------------------------------------------------------------------------------------


def test_5_2_a_state_answers_found_here_and_what_for_each_child() -> None:
    """SPEC 5.2: "found here? and what matcher for each child (same, finished, one for all, one each)"."""
    start = IterativeMatcher("x").state
    assert start.step(TOP) == (False, start)  # same
    assert start.step(X) == (True, start)
    assert restrict("top", term_if_matches=True).state.step(TOP) == (True, None)  # finished
    found, below = IterativeMatcher("top").chain("x").state.step(TOP)  # another one for all
    assert not found
    assert below is not None
    assert below is not IterativeMatcher("top").chain("x").state
    found, (first, second) = rc.children_matcher({1}).state.step(TOP)  # type: ignore[misc] # one each
    assert not found
    assert first is None
    assert second.step(RIGHT)[0]


MATCHERS = [
    lambda: IterativeMatcher("top", rc.Add).chain("x"),
    lambda: restrict(IterativeMatcher("top").chain("x"), start_depth=1, end_depth=4, term_early_at={"a", "b"}),
    lambda: IterativeMatcher("top").chain_many(["a"], ["b", "c"]),
    lambda: (IterativeMatcher("a") | IterativeMatcher("b").chain("c")) & Matcher(rc.Add),
    lambda: IterativeMatcher("a").children_matcher({0, 2}).module_arg_matcher("s").spec_matcher(),
    lambda: IterativeMatcher("a").filter_module_spec().directly_below("b").not_through("c"),
]


@pytest.mark.parametrize("make", MATCHERS)
def test_5_2_matchers_are_immutable_and_hashable(make) -> None:  # type: ignore[no-untyped-def]
    """SPEC 5.2: "It is immutable, hashable and memoised"; 5.4: "Structurally equal matchers are equal"."""
    one, other = make(), make()
    assert one == other
    assert hash(one) == hash(other)
    assert {one: "value"}[other] == "value"
    assert one.state is other.state
    with pytest.raises(AttributeError):
        one.anything = 1
    assert len({made() for made in MATCHERS}) == len(MATCHERS)


def test_5_2_a_walk_is_memoised_on_node_and_state() -> None:
    """SPEC 5.2: a condition is asked once per (node, state), not once per path, of which there are 2^60."""
    asked: list[rc.Expr] = []

    def is_x(node: rc.Expr) -> bool:
        asked.append(node)
        return node.name == "x"

    expr: rc.Expr = X
    for i in range(60):
        expr = rc.Add(expr, expr, name=f"n{i}")
    assert expr.get(IterativeMatcher(is_x)) == (X,)
    assert len(asked) == 61
    asked.clear()
    assert expr.get(IterativeMatcher("n30").chain(is_x)) == (X,)
    assert len(asked) == 32  # n30, n29, ..., n0 and x
    asked.clear()
    assert expr.update(is_x, lambda node: node.rename("z")).get("z")
    assert len(asked) == 61


# ---- 5.3 -----------------------------------------------------------------------------------------------------------


def test_5_3_new_traversal_is_restrict_of_everything() -> None:
    """SPEC 5.3: "`new_traversal(...)` is `restrict(True, ...)`"."""
    assert new_traversal(start_depth=1, end_depth=3, term_early_at="a") == restrict(
        True, start_depth=1, end_depth=3, term_early_at="a"
    )


def test_5_3_depth_counts_from_where_it_began_and_the_end_is_exclusive() -> None:
    """SPEC 5.3: "Depth counts from where this restrict began, `end_depth` exclusive"."""
    chain: rc.Expr = leaf("n4")
    for i in reversed(range(4)):
        chain = rc.Add(chain, name=f"n{i}")
    assert paths(chain, new_traversal(start_depth=1, end_depth=3)) == ["n0 n1", "n0 n1 n2"]
    below = IterativeMatcher("n1").chain(new_traversal(start_depth=1, end_depth=3))
    assert [node.name for node in chain.get(below)] == ["n2", "n3"]


def test_5_3_a_node_that_ends_a_path_can_still_be_found() -> None:
    """SPEC 5.3: "`new_traversal(term_early_at=Add).get(A)` on `A = Add(B, C)` => {A}; with `start_depth=1` => {}"."""
    a = rc.Add(leaf("B"), leaf("C"), name="A")
    assert set(a.get(new_traversal(term_early_at=rc.Add))) == {a}
    assert set(a.get(new_traversal(start_depth=1, term_early_at=rc.Add))) == set()


def test_5_3_term_if_matches_finishes_where_something_was_found() -> None:
    """SPEC 5.3: "found only if depth >= start_depth; finish after this node if found and `term_if_matches`"."""
    nested = rc.Add(rc.Add(rc.Add(X, name="inner"), name="middle"), name="outer")
    assert paths(nested, restrict(rc.Add, term_if_matches=True)) == ["outer"]
    # the root matches but is not found, being too high up, so the path goes on
    assert paths(nested, restrict(rc.Add, term_if_matches=True, start_depth=1)) == ["outer middle"]


def test_5_3_three_different_matchers() -> None:
    """SPEC 5.3: `P.chain(restrict(B, term_early_at=A))`, `restrict(P.chain(B), term_early_at=A)`,
    `restrict(P, term_early_at=A).chain(B)`: on P over A, A over P, and P alone."""
    expr = rc.Add(
        rc.Add(rc.Add(leaf("B", 1.0), name="A"), name="P"),
        rc.Add(rc.Add(leaf("B", 2.0), name="P"), name="A"),
        rc.Add(leaf("B", 3.0), name="P"),
        name="root",
    )
    p = IterativeMatcher("P")
    matchers = [
        p.chain(restrict("B", term_early_at="A")),  # no A between P and B
        restrict(p.chain("B"), term_early_at="A"),  # no A between the root and B
        restrict(p, term_early_at="A").chain("B"),  # no A between the root and P
    ]
    found = [{node.cast(rc.Scalar).value for node in expr.get(matcher)} for matcher in matchers]
    assert found == [{2.0, 3.0}, {3.0}, {1.0, 3.0}]
    assert len(set(matchers)) == 3


# ---- 5.4 and 5.5 ---------------------------------------------------------------------------------------------------


def test_5_4_the_next_starts_at_the_node_itself() -> None:
    """SPEC 5.4: "b starts **at n itself** (so one node can satisfy both; `must_be_sub=True` starts below)"."""
    assert TOP.get(IterativeMatcher("top").chain(rc.Add)) == (TOP, LEFT, RIGHT)
    assert TOP.get(IterativeMatcher("top").chain(rc.Add, must_be_sub=True)) == (LEFT, RIGHT)


def test_5_4_a_goes_on_being_searched() -> None:
    """SPEC 5.4: "and a goes on being searched": below a first "a", a second one starts b again."""
    second = rc.Add(rc.Add(leaf("b"), name="deeper"), name="a")
    expr = rc.Add(rc.Add(second, name="between"), name="a")
    one_below = restrict("b", start_depth=2, end_depth=3)  # a b exactly two below its a
    assert paths(expr, IterativeMatcher("a").chain(one_below)) == ["a between a deeper b"]


def test_5_4_the_worked_example() -> None:
    """SPEC 5.4: "finds every `leaf` with `top` at or above it on the path"."""
    inside, outside = leaf("leaf", 1.0), leaf("leaf", 2.0)
    expr = rc.Add(rc.Add(rc.Add(inside, name="middle"), name="top"), outside, name="root")
    assert expr.get(IterativeMatcher("top").chain("leaf")) == (inside,)


def test_5_4_chain_many_is_the_union() -> None:
    """SPEC 5.4: "`chain_many([..], [..])` is the union"."""
    many = IterativeMatcher("top").chain_many(["a1.left", "x"], ["y"])
    union = IterativeMatcher("top").chain("a1.left", "x") | IterativeMatcher("top").chain("y")
    assert many == union
    assert paths(TOP, many) == ["top a1.left x", "top a1.right y"]


def test_5_5_children_arguments_and_bodies() -> None:
    """SPEC 5.5: `children_matcher({i})`, `module_arg_matcher(symbol)`, `spec_matcher()`, `filter_module_spec()`."""
    s = rc.Symbol.new_from_name((), "s")
    call = rc.Module(rc.ModuleSpec(rc.Add(s, Y, name="body"), [s]), "call", s=X)
    assert TOP.get(rc.children_matcher({1})) == (RIGHT,)
    assert TOP.get(IterativeMatcher(RIGHT).chain(rc.children_matcher({0}))) == (X,)
    assert call.get(rc.module_arg_matcher(s)) == call.get(rc.module_arg_matcher("s")) == (X,)
    assert call.get(rc.spec_matcher()) == (call.body,)
    assert call.get(rc.Scalar) == (Y, X)
    assert call.get(IterativeMatcher(rc.Scalar).filter_module_spec()) == (X,)


def test_5_5_any_and_all() -> None:
    """SPEC 5.5: `any`, `all`, `|`, `&`, path by path."""
    left, right = IterativeMatcher("a1.left").chain("x"), IterativeMatcher("a1.right").chain(rc.Scalar)
    assert IterativeMatcher.any(left, right) == left | right
    assert IterativeMatcher.all(left, right) == left & right
    assert paths(TOP, left | right) == ["top a1.left x", "top a1.right x", "top a1.right y"]
    assert paths(TOP, right & IterativeMatcher("x")) == ["top a1.right x"]
    assert paths(TOP, left & right) == []  # x is found by both, on different paths


def test_5_5_when_depth_windows_are_brittle() -> None:
    """SPEC 5.5: `directly_below(parent)`, `not_through(matcher)`."""
    expr = rc.Add(rc.Add(X, name="wrapper"), X, name="root")
    assert paths(expr, IterativeMatcher("x").directly_below("root")) == ["root x"]
    assert paths(expr, directly_below("root")) == ["root wrapper", "root x"]
    assert paths(expr, IterativeMatcher("x").not_through("wrapper")) == ["root x"]
    assert paths(expr, not_through("wrapper")) == ["root", "root wrapper", "root x"]


# ---- 5.6 -----------------------------------------------------------------------------------------------------------


def test_5_6_get_is_a_deterministic_ordered_set() -> None:
    """SPEC 5.6: "`get` (a deterministic ordered set)": each node once, by first visit, whatever was built first."""
    expr = rc.Add(RIGHT, LEFT, RIGHT, name="again")
    for _ in range(3):
        assert expr.get(True) == (expr, RIGHT, X, Y, LEFT)
    assert expr.get({"y", "x"}) == expr.get({"x", "y"}) == (X, Y)


def test_5_6_get_unique() -> None:
    """SPEC 5.6: "`get_unique` (zero or several is an error listing what was found)"."""
    assert TOP.get_unique("y") is Y
    with pytest.raises(rc.MatchError, match="finds nothing in 'top'"):
        TOP.get_unique("nobody")
    with pytest.raises(rc.MatchError, match=r"(?s)finds 2 nodes.*\n    'x' \[\] Scalar 1\.0\n    'y' \[\] Scalar 2\.0"):
        TOP.get_unique(rc.Scalar)


def test_5_6_get_paths_and_are_any_found() -> None:
    """SPEC 5.6: `get_paths`, `are_any_found`."""
    assert TOP.get_paths({"x", "y"}) == {X: (TOP, LEFT, X), Y: (TOP, RIGHT, Y)}
    assert TOP.are_any_found("y")
    assert not TOP.are_any_found("nobody")


def test_5_6_paths_are_counted_without_enumeration() -> None:
    """SPEC 5.6: "`count_paths` (by dynamic programming, never by enumeration), `iter_paths(limit=)`"."""
    asked = 0

    def is_x(node: rc.Expr) -> bool:
        nonlocal asked
        asked += 1
        return node.name == "x"

    expr: rc.Expr = X
    for i in range(200):
        expr = rc.Add(expr, expr, expr, name=f"n{i}")
    assert count_paths(expr, is_x) == 3**200
    assert asked == 201
    assert count_paths(expr, IterativeMatcher("n9").chain("x")) == 3**200
    first = list(iter_paths(expr, "x", limit=5))
    assert len(first) == 5
    assert all(path[0] is expr and path[-1] is X and len(path) == 201 for path in first)
    assert count_paths(TOP, "x") == len(list(iter_paths(TOP, "x"))) == 2


def test_5_6_explain_says_where_paths_stopped_and_how_often_each_part_hit() -> None:
    """SPEC 5.6: "`m.explain(expr)` prints where each path stopped and how often each part of the matcher hit"."""
    s = rc.Symbol.new_from_name((), "s")
    call = rc.Module(rc.ModuleSpec(rc.Add(s, name="head"), [s]), "call", s=X)
    matcher = IterativeMatcher("head").chain("x")
    lines = str(matcher.explain(call)).splitlines()
    assert lines == str(explain(call, matcher)).splitlines()
    assert lines[1:3] == ["    'head': matches 1 node, finds 1", "    'x': matches 1 node, finds none"]
    assert "paths end at parameter 's' of 'call'" in lines[3]


@pytest.mark.parametrize(
    "ask",
    [
        lambda: TOP.get_unique(IterativeMatcher("top").chain("a1.lef")),
        lambda: TOP.update(IterativeMatcher("top").chain("a1.lef"), lambda node: node),
        lambda: TOP.update(IterativeMatcher("top").chain("a1.lef"), lambda node: node, assert_any_found=True),
    ],
)
def test_5_6_an_error_shows_the_explanation_and_near_misses(ask) -> None:  # type: ignore[no-untyped-def]
    """SPEC 5.6: "... that matches nothing shows that explanation and near-miss names in its error"."""
    with pytest.raises(rc.MatchError) as caught:
        ask()
    message = str(caught.value)
    assert "'top': matches 1 node, finds 1" in message
    assert "'a1.lef': matches no nodes, finds none" in message
    assert "similar: 'a1.left'" in message


# ---- 5.7 -----------------------------------------------------------------------------------------------------------

A, B = rc.Add(X, name="A"), rc.Add(X, name="B")
C = rc.Add(A, B, name="C")


def f(node: rc.Expr) -> rc.Expr:
    return node.scale(2.0, name="f(x)")


def test_5_7_an_update_changes_every_place_or_those_below_a() -> None:
    """SPEC 5.7: "`C.update("x", f)` changes both"; with "A" above, "x below A only, and both x and f(x) are then
    present"."""
    assert C.update("x", f) is rc.Add(rc.Add(f(X), name="A"), rc.Add(f(X), name="B"), name="C")
    below_a = C.update(IterativeMatcher("A").chain("x"), f)
    assert below_a is rc.Add(rc.Add(f(X), name="A"), B, name="C")
    assert below_a.are_any_found("x")
    assert below_a.are_any_found("f(x)")
    assert below_a.children[1].get_unique("x") is X


def test_5_7_children_are_rebuilt_first() -> None:
    """SPEC 5.7: "`P = Add(Q)`, `P.update(Add, rename+"!")` => both renamed"; f receives the rebuilt node."""
    received: list[rc.Expr] = []

    def renamed(node: rc.Expr) -> rc.Expr:
        received.append(node)
        return node.rename(f"{node.name}!")

    p = rc.Add(rc.Add(X, name="Q"), name="P")
    assert p.update(rc.Add, renamed) is rc.Add(rc.Add(X, name="Q!"), name="P!")
    assert received == [rc.Add(X, name="Q"), rc.Add(rc.Add(X, name="Q!"), name="P")]


def test_5_7_matching_is_decided_on_the_original() -> None:
    """SPEC 5.7: "matching is decided on the **original** graph"; "Results are not matched again"."""
    swapped = rc.Add(X, Y, name="s").update({"x", "y"}, lambda node: Y if node is X else X)
    assert swapped is rc.Add(Y, X, name="s")
    grown = C.update("x", lambda node: rc.Add(node, node, name="x"))
    assert len(grown.get(rc.Scalar)) == 1  # the x inside what x became was not replaced again
    was_two = rc.Add(rc.Add(X, Y, name="n"), name="m")  # found by its children as they were, not as they became
    made = was_two.update(
        lambda node: node is Y or Y in node.children, lambda n: n.rename("was found") if n is not Y else X
    )
    assert made is rc.Add(rc.Add(X, X, name="was found"), name="m")


def test_5_7_f_runs_once_per_distinct_rebuilt_node() -> None:
    """SPEC 5.7: "f runs once per distinct rebuilt node (so an f that makes a fresh uuid makes one)"."""
    runs: list[rc.Expr] = []

    def fresh(node: rc.Expr) -> rc.Expr:
        runs.append(node)
        return rc.Tag.new_with_random_uuid(node)

    tagged = C.update("x", fresh)
    assert runs == [X]
    assert len(tagged.get(rc.Tag)) == 1
    either = IterativeMatcher("A").chain("x") | IterativeMatcher("B").chain(restrict("x", end_depth=2))
    assert len(C.update(either, fresh).get(rc.Tag)) == 1  # two states of the matcher, one node
    assert len(runs) == 2


def test_5_7_values_of_the_worked_example() -> None:
    """SPEC 5.7: the same example by value."""
    x = rc.Array(torch.tensor([1.0, 2.0]), "x")
    c = rc.Add(rc.Add(x, name="A"), rc.Add(x, name="B"), name="C")
    assert c.update("x", f).evaluate().tolist() == [4.0, 8.0]
    assert c.update(IterativeMatcher("A").chain("x"), f).evaluate().tolist() == [3.0, 6.0]
