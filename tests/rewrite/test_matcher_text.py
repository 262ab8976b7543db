"""Matchers written as text and read back, and the texts that are no matchers."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scrub as rc
from scrub import IterativeMatcher, Matcher, Regex, new_traversal, restrict
from scrub.rewrite import directly_below, iter_paths, not_through
from scrub.rewrite.matcher_text import matcher_text, parse_matcher

X, Y = rc.Scalar(1.0, name="x"), rc.Scalar(2.0, name="y")
S = rc.Symbol.new_from_name((), "s")
INNER = rc.Add(X, Y, name="a")
CALL = rc.Module(rc.ModuleSpec(rc.Add(S, rc.Scalar(3.0, name="b"), name="a.h0"), [S]), "c", s=INNER)
EXPRESSIONS = [
    rc.Add(CALL, rc.Add(INNER, X, name="b"), Y, name="x"),
    rc.Add(rc.Add(rc.Add(rc.Add(X, name="a"), name="b"), name="a"), X, X, name="c"),
    rc.Einsum((rc.Scalar(1.0, (2,), name="a"), (0,)), (rc.Scalar(2.0, (2,), name="b"), (0,)), out_axes=(), name="y"),
]

NAMES = st.sampled_from(["a", "b", "c", "x", "y", "a.h0"])
ANY_TEXT = st.text(max_size=5)
REGEXES = st.builds(Regex, st.sampled_from(["a", r"^a\..h", "[xy]$", "(?i)A.H0", "'\"\\\\"]))
TYPES = st.sampled_from([rc.Add, rc.Einsum, rc.Module, rc.Scalar, rc.Symbol, rc.Expr])
SIMPLE = NAMES | ANY_TEXT | REGEXES | TYPES | st.booleans()
CONDITIONS = SIMPLE | st.sets(SIMPLE, max_size=3) | st.lists(SIMPLE, max_size=3) | st.tuples(SIMPLE, SIMPLE)


def combined_conditions(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    matchers = st.builds(Matcher, inner)
    return (
        st.builds(lambda m: ~m, matchers)
        | st.builds(lambda m, n: m & n, matchers, inner)
        | st.builds(lambda m, n: m | n, matchers, inner)
        | st.builds(Matcher.all, inner, inner)
        | st.builds(Matcher, inner, inner)
    )


NODE_MATCHERS = st.builds(Matcher, st.recursive(CONDITIONS, combined_conditions, max_leaves=4))
INDICES = st.sets(st.integers(0, 3), max_size=3)
LEAVES = (
    st.builds(IterativeMatcher, CONDITIONS | NODE_MATCHERS)
    | st.builds(rc.children_matcher, INDICES)
    | st.builds(rc.module_arg_matcher, NAMES | ANY_TEXT | st.just("s"))
    | st.builds(rc.spec_matcher)
)


@st.composite
def limits(draw: st.DrawFn) -> dict[str, Any]:
    start = draw(st.integers(0, 2))
    return {
        "start_depth": start,
        "end_depth": draw(st.none() | st.integers(start, 5)),
        "term_early_at": draw(st.just(False) | CONDITIONS | NODE_MATCHERS),
    }


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    anything = inner | CONDITIONS | NODE_MATCHERS
    chains = st.lists(st.lists(anything, max_size=2), max_size=2)

    def limited(m: Any, options: dict[str, Any], term: bool) -> IterativeMatcher:
        return restrict(m, term_if_matches=term, **options)

    return (
        st.builds(lambda m, ns, below: m.chain(*ns, must_be_sub=below), inner, st.lists(anything), st.booleans())
        | st.builds(lambda m, ns, below: m.chain_many(*ns, must_be_sub=below), inner, chains, st.booleans())
        | st.builds(limited, anything, limits(), st.booleans())
        | st.builds(lambda options: new_traversal(**options), limits())
        | st.builds(IterativeMatcher.any, anything, anything)
        | st.builds(IterativeMatcher.all, anything, anything)
        | st.builds(lambda m, n: m | n, inner, anything)
        | st.builds(lambda m, n: m & n, inner, anything)
        | st.builds(directly_below, anything)
        | st.builds(not_through, anything)
        | st.builds(lambda m, n: m.directly_below(n), inner, anything)
        | st.builds(lambda m, n: m.not_through(n), inner, anything)
        | st.builds(lambda m, at: m.children_matcher(at), inner, INDICES)
        | st.builds(lambda m, name: m.module_arg_matcher(name), inner, st.just("s"))
        | st.builds(lambda m: m.spec_matcher(), inner)
        | st.builds(lambda m: m.filter_module_spec(), inner)
    )


MATCHERS = st.recursive(LEAVES, combined, max_leaves=8)


def found(expr: rc.Expr, matcher: Any) -> list[tuple[rc.Expr, ...]]:
    return list(iter_paths(expr, matcher))


@settings(max_examples=400, deadline=None)
@given(MATCHERS)
def test_every_matcher_comes_back_from_its_text(matcher: IterativeMatcher) -> None:
    text = matcher_text(matcher)
    again = parse_matcher(text)
    assert again == matcher
    assert matcher_text(again) == text == repr(matcher)
    for expr in EXPRESSIONS:
        assert found(expr, again) == found(expr, matcher)


@settings(max_examples=200, deadline=None)
@given(NODE_MATCHERS)
def test_node_matchers_come_back_as_the_path_matcher_of_them(matcher: Matcher) -> None:
    again = parse_matcher(matcher_text(matcher))
    assert again == IterativeMatcher(matcher)
    nodes = [node for expr in EXPRESSIONS for node in expr.get(True)]
    assert {node for node in nodes if matcher(node)} == {n for expr in EXPRESSIONS for n in expr.get(again)}


SCOPE = {
    **{name: getattr(rc, name) for name in ("IterativeMatcher", "Matcher", "Regex", "restrict", "new_traversal")},
    **{name: getattr(rc, name) for name in ("children_matcher", "module_arg_matcher", "spec_matcher")},
    **{name: getattr(rc, name) for name in ("Add", "Einsum", "Module")},
    "directly_below": directly_below,
    "not_through": not_through,
}


@pytest.mark.parametrize(
    "text",
    [
        "IterativeMatcher()",
        "IterativeMatcher({'a', 'b'}, [Add, ('x',)], set())",
        "IterativeMatcher('a').chain('b', 'c', must_be_sub=True).chain(Add)",
        "IterativeMatcher('a').chain_many(['b', Add], ('c',), [], must_be_sub=False)",
        "IterativeMatcher.any() | Matcher.any('a', Einsum) | 'b'",
        "IterativeMatcher.all('a', IterativeMatcher('b').chain('c')) & ~Matcher('d') & Add",
        "Matcher('a') | 'b' & Matcher(Add) | IterativeMatcher('c').chain('x') | 'y' | ~Matcher('z')",
        "IterativeMatcher('a').chain('b') & Matcher('b', 'c') & Add & IterativeMatcher('c') & True & Matcher('b')",
        "Matcher('a') & Add & ~Matcher('b') & (Matcher('c') & 'd' | 'e')",
        "Add & ~Matcher.all(Regex(r'^a\\.h'), ~Matcher('b'))",
        "'a' | Matcher('b') & {'c', Module}",
        "restrict(True, term_if_matches=True, start_depth=1, end_depth=None, term_early_at={'a', Add})",
        "new_traversal(end_depth=3, term_early_at=~Matcher('a'))",
        "children_matcher([0, 1]).chain(spec_matcher()).module_arg_matcher('s').children_matcher(set())",
        "not_through('a').directly_below(directly_below('b')).not_through('c').filter_module_spec()",
        "  \n\t'é' 'ü'\n",
        "IterativeMatcher(  # which one\n    'a'\n).chain(\n'b')",
    ],
)
def test_reads_what_python_would(text: str) -> None:
    assert parse_matcher(text) == IterativeMatcher(eval(text.strip(), dict(SCOPE)))


def test_equal_matchers_have_one_text() -> None:
    """The order in which conditions were given, and which matcher of the process came first, do not show."""
    assert matcher_text(Matcher("b", "a") & rc.Add) == matcher_text(rc.Add & Matcher("a", "b"))
    kept = IterativeMatcher("z", "y", rc.Add)
    assert matcher_text(kept) == "IterativeMatcher('y', 'z', Add)"
    assert matcher_text(IterativeMatcher("y") | rc.Add | "z") == matcher_text(kept)
    assert matcher_text({"q", "p", "o"}) == "Matcher('o', 'p', 'q')"
    assert matcher_text("a") == "Matcher('a')"


def nested_call(depth: int, then: Callable[[], Any]) -> Any:
    return then() if depth == 0 else nested_call(depth - 1, then)


def test_a_chain_of_a_thousand_links() -> None:
    matcher = IterativeMatcher("n0").chain(*(f"n{i}" for i in range(1, 1001)))
    text = matcher_text(matcher)
    assert text.count(".chain(") == 1000
    assert parse_matcher(text) == matcher
    assert nested_call(sys.getrecursionlimit() // 2, lambda: parse_matcher(text)) == matcher


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("__import__('os').system('x')", 1, "attribute 'system'"),
        ("__import__('os')", 1, "call the name '__import__'"),
        ("IterativeMatcher.__class__", 1, "an attribute"),
        ("IterativeMatcher('a').state", 1, "an attribute"),
        ("IterativeMatcher('a').explain('a')", 1, "the attribute 'explain'"),
        ("IterativeMatcher.from_state('a')", 1, "the attribute 'from_state'"),
        ("IterativeMatcher.chain('a')", 1, "the name 'IterativeMatcher'"),
        ("Matcher", 1, "the name 'Matcher'"),
        ("IterativeMatcher(lambda n: True)", 18, "a lambda"),
        ("IterativeMatcher(*['a'])", 18, "a starred argument"),
        ("IterativeMatcher([n for n in 'ab'])", 18, "a comprehension"),
        ("IterativeMatcher('a', f'{1}')", 23, "an f-string"),
        ("IterativeMatcher('é', hello)", 23, "the name 'hello'"),
        ("IterativeMatcher('a', (b := 'c'))", 24, "an assignment"),
        ("IterativeMatcher(b'a')", 18, "the bytes b'a'"),
        ("IterativeMatcher(1.5)", 18, "the float 1.5"),
        ("IterativeMatcher(...)", 18, "the ellipsis Ellipsis"),
        ("IterativeMatcher('a' + 'b')", 18, "the operator Add"),
        ("IterativeMatcher(-1)", 18, "the operator USub"),
        ("IterativeMatcher({'a': 1})", 18, "a dict"),
        ("IterativeMatcher('a' if 1 else 'b')", 18, "an 'if'"),
        ("IterativeMatcher('a')['b']", 1, "an index"),
        ("IterativeMatcher('a')('b')", 1, "cannot call a Python Call"),
        ("(lambda: 1)()", 2, "cannot call a lambda"),
        ("IterativeMatcher(3)", 1, "cannot match on 3"),
        ("IterativeMatcher('a') & None", 1, "cannot match on None"),
        ("3", 1, "cannot match on 3"),
        ("Matcher(IterativeMatcher('x'))", 1, "matches paths, not single nodes"),
        ("'b' | ~IterativeMatcher('x')", 7, "cannot be negated"),
        ("{'a'} | {'b'}", 1, "combine matchers, and here is none"),
        ("Add | Einsum | Matcher('a')", 1, "combine matchers, and here is none"),
        ("~True", 1, "combine matchers, and here is none"),
        ("Matcher('a').chain('b')", 1, "no path matcher"),
        ("restrict('a', end_depth=True)", 25, "no value of end_depth"),
        ("restrict('a', start_depth=None)", 27, "no value of start_depth"),
        ("restrict('a', term_if_matches=1)", 31, "no value of term_if_matches"),
        ("restrict('a', start_depth=2, end_depth=1)", 1, "are empty or negative"),
        ("restrict('a', depth=1)", 15, "restrict has no option depth"),
        ("restrict('a', end_depth=1, end_depth=2)", 28, "end_depth stands twice"),
        ("restrict('a', **{})", 17, "a dict"),
        ("restrict('a', **'b')", 15, r"no option \*\*"),
        ("restrict('a', 'b')", 1, "restrict takes 1 positional arguments, not 2"),
        ("restrict()", 1, "restrict takes 1 positional arguments, not 0"),
        ("new_traversal('a')", 1, "new_traversal takes 0"),
        ("Regex('(')", 1, "is malformed"),
        ("Regex('a{99999999999999999999}')", 1, "is malformed"),
        ("Regex(1)", 7, "Regex does not take this"),
        ("module_arg_matcher(Add)", 20, "module_arg_matcher does not take this"),
        ("children_matcher('01')", 18, "children_matcher does not take this"),
        ("children_matcher({'a'})", 1, "'a' is no index"),
        ("IterativeMatcher('a').chain_many({'b', 'c'})", 34, "chain_many does not take this"),
        ("IterativeMatcher('a').chain('b', must_be_sub='c')", 46, "no value of must_be_sub"),
        ("IterativeMatcher('a'", 17, "this is not Python"),
        ("IterativeMatcher('a'); 'b'", 22, "this is not Python"),
        ("import os", 1, "this is not Python"),
        ("", 1, "this is not Python"),
        ("'a\0'", 1, "this is not Python"),
        ("'\ud800'", 1, "this is not Python"),
        ("9" * 5000, 1, "this is not Python"),
        ("not_through(" * 1000 + "'a'" + ")" * 1000, None, "too many nested parentheses"),
        ("~" * 100_000 + "Matcher('a')", 1, "nested too deeply"),
        ("IterativeMatcher('a')" + ".chain('a')" * 20_000, 1, "nested too deeply"),
        ("'a'" + " " * 1_000_000, 1, "the text has 1000003 characters"),
        ("IterativeMatcher(" + "'a'," * 50_000 + ")", 1, "too many parts"),
        ("IterativeMatcher('a')" + ".chain_many(['a'], ['b']).spec_matcher()" * 100, 1, "too many parts"),
        ("~(IterativeMatcher('a')" + ".chain_many(['a'], ['b']).spec_matcher()" * 100 + ")", 3, "too many parts"),
    ],
)
def test_other_texts_are_refused_with_their_place(text: str, column: int | None, problem: str) -> None:
    place = rf"^line 1, column {r'[0-9]+' if column is None else column}: .*({problem})"
    with pytest.raises(rc.ParseError, match=place) as caught:
        parse_matcher(text)
    assert (caught.value.line_number, caught.value.line) == (1, text)
    assert caught.value.hint
    assert len(str(caught.value)) < 1500


def test_the_place_in_a_text_of_several_lines() -> None:
    with pytest.raises(rc.ParseError) as caught:
        parse_matcher("\n  IterativeMatcher(\n    'a',\n    'ü', wrong)")
    assert str(caught.value).splitlines()[:3] == [
        "line 4, column 10: a matcher's text cannot have the name 'wrong'",
        "        'ü', wrong)",
        "             ^",
    ]
    assert (caught.value.line_number, caught.value.line) == (4, "    'ü', wrong)")
    with pytest.raises(rc.ParseError, match="line 2, column 7: a matcher's text cannot have a lambda"):
        parse_matcher("\n  'ü',lambda: 1")
    with pytest.raises(rc.ParseError, match="line 2, column 3: a matcher's text cannot have the name 'wrong'"):
        parse_matcher("\n  wrong")
    with pytest.raises(rc.ParseError, match="3 is not text"):
        parse_matcher(3)  # type: ignore[arg-type]


NAMES_OF_CODE = [
    "IterativeMatcher",
    "Matcher",
    "Regex",
    "restrict",
    ".chain",
    ".chain_many",
    ".any",
    "not_through",
    "os",
]
VALUES = ["'a'", "1", "True", "None", "Add", "set()", "f'{1}'", "(children_matcher({0}))"]
MARKS = [
    "(",
    ")",
    "()",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&",
    "|",
    "~",
    ".",
    "#",
    "\\",
    "\0",
    "é",
    " ",
    "\n",
    "*",
    "**",
    "lambda:",
]
TOKENS = st.sampled_from([*NAMES_OF_CODE, *VALUES, *MARKS, "end_depth=", "must_be_sub="])


@settings(max_examples=400, deadline=None)
@given(st.lists(TOKENS, max_size=12).map("".join) | st.text(max_size=20))
def test_every_text_is_a_matcher_or_a_parse_error(text: str) -> None:
    refused: rc.ParseError | None = None
    try:
        matcher = parse_matcher(text)
    except rc.ParseError as error:
        refused = error
    if refused is None:
        assert parse_matcher(matcher_text(matcher)) == matcher
    else:
        assert str(refused).startswith(f"line {refused.line_number}, column ")
        assert refused.line is not None
        assert refused.line in text


def named_function(node: rc.Expr) -> bool:
    return True


class Kind(enum.StrEnum):
    QUERY = "q"


class Lookalike(Regex):
    pass


@pytest.mark.parametrize(
    ("matcher", "culprit", "problem"),
    [
        (Matcher(named_function), named_function, "the function 'named_function' of .*test_matcher_text"),
        (IterativeMatcher("a").chain(~Matcher(named_function)), named_function, "the function 'named_function'"),
        (restrict("a", term_early_at={named_function, "b"}), named_function, "the function 'named_function'"),
        (not_through(IterativeMatcher.all(rc.spec_matcher(), X)), X, "the expression 'x' .* Scalar 1.0"),
        (directly_below(rc.Scalar(7.0)), rc.Scalar(7.0), "the expression .*Scalar 7.0"),
        (Matcher(Kind.QUERY), Kind.QUERY, "a Kind,"),
        (Matcher(Lookalike("a")), Lookalike("a"), "a Lookalike,"),
    ],
)
def test_what_has_no_text_is_named(matcher: Any, culprit: object, problem: str) -> None:
    with pytest.raises(rc.MatchError, match=problem) as caught:
        matcher_text(matcher)
    assert caught.value.found == culprit
    assert caught.value.hint


def test_a_symbol_has_no_text_and_its_name_has() -> None:
    with pytest.raises(rc.MatchError, match=r"(?s)the symbol 's' .*hint: module_arg_matcher\('s'\)"):
        matcher_text(rc.module_arg_matcher(S))
    assert parse_matcher(matcher_text(rc.module_arg_matcher("s"))) == rc.module_arg_matcher("s")


def test_what_is_too_large_or_too_deep_has_no_text() -> None:
    doubled = IterativeMatcher("a")
    for _ in range(60):
        doubled = not_through(doubled) | directly_below(doubled)
    with pytest.raises(rc.MatchError, match="would be too long"):
        matcher_text(doubled)
    for depth in (300, 5000):
        deep = IterativeMatcher("a")
        for _ in range(depth):
            deep = not_through(deep)
        with pytest.raises(rc.MatchError, match="nested"):
            matcher_text(deep)


def test_the_middle_of_a_walk_has_no_text() -> None:
    expr = rc.Add(rc.Add(X, name="b"), name="a")
    _, below = IterativeMatcher("a").chain(restrict("b", end_depth=2)).state.step(expr)
    with pytest.raises(rc.MatchError, match="read back as another matcher"):
        matcher_text(IterativeMatcher.from_state(below))  # type: ignore[arg-type]
    here = rc.children_matcher({0}).state.step(expr)[1][0]  # type: ignore[index]
    with pytest.raises(rc.MatchError, match="Here"):
        matcher_text(IterativeMatcher.from_state(here))  # type: ignore[arg-type]
