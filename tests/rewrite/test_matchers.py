"""SPEC 5.1 to 5.6: matchers, paths, and the errors of matchers that find nothing or too much."""

from __future__ import annotations

import copy
import pickle

import pytest

import scrub as rc
from scrub import IterativeMatcher, Matcher, Regex, new_traversal, restrict
from scrub.rewrite import count_paths, directly_below, get_all_paths, iter_paths, not_through


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
    assert repr(Matcher({"c", "a", "b"})) == "Matcher('a', 'b', 'c')"
    assert repr(Matcher(rc.Add) & Regex("a.b") & ~Matcher(False)) == "Matcher.all(Matcher(Add), Matcher(Regex('a.b')))"
    assert Matcher.any("a", "b") == Matcher("a", "b")
    assert Matcher.all("a", Matcher("b"), True) == Matcher("a") & "b"
    assert ~~Matcher("a") == Matcher("a")
    assert Matcher(False) == Matcher() == ~Matcher(True) == Matcher.all("a", False)
    assert Matcher(True, "a") == Matcher(True) == Matcher.all()
    assert "a" | Matcher("b") == Matcher("a", "b")
    assert rc.Add & Matcher("b") == Matcher.all(rc.Add, "b")
    assert repr(~Matcher("a")) == "~Matcher('a')"
    assert repr(IterativeMatcher("a").chain("b", restrict("c", end_depth=3))) == (
        "IterativeMatcher('a').chain('b').chain(restrict('c', end_depth=3))"
    )


@pytest.mark.parametrize(
    "matcher",
    [
        Matcher(),
        Matcher("it's", 'a "b"', rc.Add, Regex(r"^a\.\.h"), True),
        ~(Matcher("a", rc.Module) & Regex("x$")) | "b",
        Matcher.all(rc.Add, ~Matcher("a"), ~(Matcher("b") & Regex("c"))),
        IterativeMatcher(),
        IterativeMatcher("a", rc.Add).chain("b", {"c", "d"}).chain(rc.Module, must_be_sub=True),
        restrict(IterativeMatcher("a").chain("b"), term_early_at={"x", rc.Add}, start_depth=1, end_depth=4),
        restrict("a", term_if_matches=True),
        restrict(restrict("a", end_depth=3), start_depth=1),
        new_traversal(end_depth=2),
        new_traversal(term_early_at=~Matcher("a")),
        IterativeMatcher("a").chain_many(["b", "c"], [Regex("d")]),
        IterativeMatcher("a").children_matcher({0, 2}).module_arg_matcher("s").spec_matcher(),
        rc.children_matcher(()),
        (IterativeMatcher("a") | IterativeMatcher("b").chain("c")) & ~Matcher("d"),
        IterativeMatcher(rc.Add).filter_module_spec().chain("a").filter_module_spec(),
        IterativeMatcher("a").directly_below("b").not_through(IterativeMatcher("c").chain("d")),
        directly_below(not_through("a")),
    ],
)
def test_5_1_matchers_print_as_what_makes_them(matcher: object) -> None:
    scope = vars(rc) | {"directly_below": directly_below, "not_through": not_through}
    again = eval(repr(matcher), dict(scope))
    assert again == matcher
    assert (hash(again), repr(again)) == (hash(matcher), repr(matcher))
    assert pickle.loads(pickle.dumps(matcher)) == copy.deepcopy(matcher) == copy.copy(matcher) == matcher


def test_5_1_regex() -> None:
    """Searches; a dot is a literal dot, `\\.` any character; also among other escapes and in classes."""
    assert Regex("a.h").matches("b a.h0")
    assert not Regex("a.h").matches("axh")
    assert not Regex("^h").matches("a.h")
    assert Regex(r"^a\..h\.$").matches("a1.h0")
    assert not Regex(r"^a\..h\.$").matches("a1xh0")
    assert Regex(r"\d\.h").matches("a1.h")
    assert Regex("[.]h").matches("a.h")
    assert not Regex("[.]h").matches("ah")
    assert Regex(r"\\.h").matches("a\\.h")
    assert not Regex("x").matches(None)


def test_5_1_errors() -> None:
    for matcher in (Matcher("x"), IterativeMatcher("x")):
        with pytest.raises(rc.ConstructionError, match="is neither true nor false"):
            bool(matcher)
    with pytest.raises(rc.ConstructionError, match=r"(?s)cannot match on 3.*IterativeMatcher goes where paths"):
        Matcher(3)
    with pytest.raises(rc.ConstructionError, match=r"(?s)cannot match on None.*node.name is None"):
        Matcher(None)
    with pytest.raises(rc.ConstructionError, match="int is not a node type"):
        Matcher(int)
    with pytest.raises(rc.ConstructionError, match=r"Regex: '\(' is malformed"):
        Regex("(")
    with pytest.raises(rc.ConstructionError, match=r"IterativeMatcher\('x'\) matches paths, not single nodes"):
        Matcher({IterativeMatcher("x")})
    with pytest.raises(rc.ConstructionError, match=r"(?s)matches paths, which cannot be negated.*not_through"):
        ~IterativeMatcher("x")

    class Picky:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, node: rc.Expr) -> bool:
            return True

    with pytest.raises(rc.ConstructionError, match="is not hashable"):
        Matcher(Picky())


def test_5_3_errors() -> None:
    with pytest.raises(rc.ConstructionError, match=r"depths \[3, 2\) are empty"):
        restrict("x", start_depth=3, end_depth=2)
    with pytest.raises(rc.ConstructionError, match="True is not a depth"):
        restrict("x", start_depth=True)
    with pytest.raises(rc.ConstructionError, match=r"(?s)term_early_at is a condition on nodes.*not_through"):
        restrict("x", term_early_at=IterativeMatcher("a").chain("b"))


def test_5_5_errors() -> None:
    with pytest.raises(rc.ConstructionError, match=r"(?s)0 is not a set of indices.*children_matcher\(\{0\}\)"):
        rc.children_matcher(0)  # type: ignore[arg-type]
    with pytest.raises(rc.ConstructionError, match="-1 is no index of a child"):
        rc.children_matcher({-1})
    with pytest.raises(rc.ConstructionError, match="neither a Symbol nor a parameter's name"):
        rc.module_arg_matcher(X)  # type: ignore[arg-type]
    with pytest.raises(rc.ConstructionError, match="'ab' is not a list of matchers to chain"):
        IterativeMatcher("top").chain_many("ab")


def test_5_2_a_state_says_what_is_found_and_how_each_child_goes_on() -> None:
    start = IterativeMatcher("top").chain("x").state
    found, below = start.step(TOP)
    assert not found
    assert below is start.step(TOP)[1]
    assert below is not start
    assert IterativeMatcher("top").chain("x").state is start
    assert restrict("x", end_depth=1).state.step(TOP) == (False, None)
    (none, here) = rc.children_matcher({1}).state.step(TOP)[1]  # type: ignore[misc]
    assert none is None
    assert here.step(TOP) == (True, None)  # type: ignore[union-attr]
    with pytest.raises(AttributeError):
        IterativeMatcher("x").text = "y"  # type: ignore[attr-defined]


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
    assert names(TOP, "a1.h0" | IterativeMatcher("y")) == {"a1.h0", "y"}
    assert names(TOP, Matcher("a1.h0") | IterativeMatcher("y")) == {"a1.h0", "y"}
    assert names(TOP, {"x", "y"} & IterativeMatcher("a1.h0").chain(True)) == {"x"}
    assert IterativeMatcher("a").chain(IterativeMatcher("b").chain("c")) == IterativeMatcher("a").chain("b").chain("c")
    assert IterativeMatcher("a") | "b" == IterativeMatcher("b", "a")
    assert restrict("x") == IterativeMatcher("x")


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


def paths(expr: rc.Expr, matcher: object, *, see_through: bool = False) -> list[str]:
    return [" ".join(node.name or "-" for node in path) for path in iter_paths(expr, matcher, see_through=see_through)]


def test_5_5_any_and_all() -> None:
    h0, h1 = IterativeMatcher("a1.h0").chain(rc.Scalar), IterativeMatcher("a1.h1").chain(rc.Scalar)
    assert paths(TOP, IterativeMatcher.any(h0, h1)) == ["top a1.h0 x", "top a1.h1 x", "top a1.h1 y"]
    assert paths(TOP, IterativeMatcher.all(h1, "x")) == ["top a1.h1 x"]
    assert paths(TOP, IterativeMatcher.all(h0, h1)) == []
    assert IterativeMatcher.all(h0, h1) == h1 & h0
    assert IterativeMatcher.any(h0, h1) == h1 | h0
    assert IterativeMatcher.any() == IterativeMatcher(False)
    assert IterativeMatcher.all() == IterativeMatcher(True)


def test_5_5_directly_below_and_not_through() -> None:
    deep = rc.Add(rc.Add(B, name="mid"), X, name="root")
    assert paths(deep, IterativeMatcher("x").directly_below("root")) == ["root x"]
    assert paths(deep, directly_below("mid")) == ["root mid a1.h1"]
    assert paths(deep, IterativeMatcher("mid").chain(directly_below("a1.h1"))) == [
        "root mid a1.h1 x",
        "root mid a1.h1 y",
    ]
    assert paths(deep, IterativeMatcher("x").not_through("mid")) == ["root x"]
    assert paths(deep, not_through("mid")) == ["root", "root mid", "root x"]
    assert paths(deep, IterativeMatcher("mid").not_through("mid")) == ["root mid"]
    assert paths(deep, IterativeMatcher("mid").chain(not_through("mid"))) == ["root mid"]
    assert paths(deep, not_through(IterativeMatcher("mid").chain("a1.h1")))[-2:] == ["root mid a1.h1", "root x"]
    for names_ in ({"mid"}, {"mid", "x"}, {"root"}):
        assert paths(deep, not_through(names_)) == paths(deep, new_traversal(term_early_at=names_))


def called(x: rc.Expr) -> tuple[rc.Expr, rc.Symbol]:
    """outer(x) = inner(x + 1) + x, with the parameter of both named "s"."""
    s, t = rc.Symbol.new_from_name((), "s"), rc.Symbol.new_with_random_uuid((), "s")
    inner = rc.Module(rc.ModuleSpec(rc.Add(s, Y, name="core"), [s]), "inner", s=rc.Add(t, name="plus"))
    return rc.Module(rc.ModuleSpec(rc.Add(inner, t, name="body"), [t]), "outer", s=x), t


def test_5_5_and_4_4_children_and_arguments_are_reached_seeing_through() -> None:
    call, _ = called(X)

    def seen(matcher: object) -> list[str]:
        return paths(call, matcher, see_through=True)

    outer, inner = IterativeMatcher("outer"), IterativeMatcher("inner")
    through_inner = "outer body inner core s plus s x"
    assert seen(outer.module_arg_matcher("s")) == [through_inner, "outer body s x"]
    assert seen(outer.children_matcher({1})) == [through_inner, "outer body s x"]
    assert seen(inner.module_arg_matcher("s")) == ["outer body inner core s plus"]
    assert seen(inner.children_matcher({0, 1})) == ["outer body inner core", "outer body inner core s plus"]
    assert seen(outer.spec_matcher()) == ["outer body"]
    assert seen(IterativeMatcher(True).filter_module_spec()) == ["outer", through_inner, "outer body s x"]
    assert seen(IterativeMatcher("x").directly_below("body")) == ["outer body s x"]
    assert seen(IterativeMatcher("plus").directly_below("core")) == ["outer body inner core s plus"]
    # a bound symbol counts as what is bound to it
    assert seen(IterativeMatcher("core").chain("s").children_matcher({0})) == [through_inner]


def test_5_5_an_argument_bound_through_several_parameters_of_one_name() -> None:
    s = rc.Symbol.new_from_name((), "s")
    twice = rc.ModuleSpec(rc.Add(s, s, name="s + s"), [s])
    expr = rc.Module(twice, "first", s=rc.Module(twice, "second", s=X))
    second = IterativeMatcher("second").module_arg_matcher("s")
    first = IterativeMatcher("first").chain(rc.module_arg_matcher(s))
    assert count_paths(expr, second, see_through=True) == 4
    assert expr.get(second, see_through=True) == (X,)
    assert count_paths(expr, first, see_through=True) == 2
    assert [n.name for n in expr.get(first, see_through=True)] == ["second"]


def test_5_5_a_module_inside_that_binds_the_same_symbol_has_arguments_of_its_own() -> None:
    s, t = rc.Symbol.new_from_name((), "s"), rc.Symbol.new_from_name((), "t")
    inner = rc.Module(rc.ModuleSpec(rc.Add(s, t, name="core"), [s, t]), "inner", s=Y, t=s)
    outer = rc.Module(rc.ModuleSpec(rc.Add(s, inner), [s]), "outer", s=X)
    for matcher, found in ((IterativeMatcher("outer"), X), (IterativeMatcher("inner"), Y)):
        assert outer.get(matcher.module_arg_matcher("s"), see_through=True) == (found,)


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


def test_5_6_count_iter_and_all_paths() -> None:
    twice = rc.Add(X, X, name="twice")
    expr = rc.Add(twice, TOP, name="root")
    assert count_paths(expr, "x") == 4
    assert paths(expr, "x") == ["root twice x", "root twice x", "root top a1.h0 x", "root top a1.h1 x"]
    assert list(iter_paths(expr, "x", limit=1)) == [(expr, twice, X)]
    assert list(iter_paths(expr, "x", limit=0)) == []
    every = expr.get_all_paths({"x", "y"})
    assert {node.name: len(found) for node, found in every.items()} == {"x": 4, "y": 1}
    assert every[Y] == [(expr, TOP, B, Y)]
    with pytest.raises(
        rc.MatchError, match=r"(?s)finds something on 4 paths, the limit is 3.*hint: .*iter_paths"
    ) as caught:
        get_all_paths(expr, "x", limit=3)
    assert caught.value.found == 4
    with pytest.raises(rc.ConstructionError, match="the limit is -1"):
        iter_paths(expr, "x", limit=-1)
    assert (count_paths(expr, "nobody"), list(iter_paths(expr, "nobody")), get_all_paths(expr, "nobody")) == (0, [], {})


def test_5_6_seen_through_a_symbol_and_what_is_bound_to_it_are_one_place() -> None:
    call, t = called(X)
    assert count_paths(call, {"s", "x"}, see_through=True) == 3  # plus, and x twice
    assert call.get(t, see_through=True) == (X,)
    assert paths(call, t, see_through=True)[-1] == "outer body s x"


def test_5_6_a_matcher_that_finds_nothing_shows_near_misses_and_how_far_it_got() -> None:
    with pytest.raises(rc.MatchError) as caught:
        TOP.update(IterativeMatcher("top").chain("a1.h9"), lambda n: n)
    assert str(caught.value).splitlines() == [
        "IterativeMatcher('top').chain('a1.h9') finds nothing in 'top' [] Add",
        "    'top': matches 1 node, finds 1",
        "    'a1.h9': matches no nodes, finds none",
        "why: no node is named 'a1.h9'; similar: 'a1.h0', 'a1.h1'",
        "hint: 'a1.h0' instead of 'a1.h9' finds 1 node",
    ]
    with pytest.raises(
        rc.MatchError, match=r"why: 'y' is not at or below 'a1.h0', only on other paths: top > a1.h1 > y"
    ):
        TOP.get_unique(IterativeMatcher("a1.h0").chain("y"))
    assert TOP.update("nobody", lambda n: n, assert_any_found=False) is TOP
