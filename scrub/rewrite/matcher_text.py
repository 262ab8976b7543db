"""Matchers as text and back: `matcher_text` writes the code that makes a matcher, `parse_matcher` reads it (SPEC 5).

The text of a matcher is what it prints as, where that says all of it. Reading it runs no code; `matcher_parser.py` says
what is understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from scrub.graph import Expr
from scrub.graph.errors import MatchError, ParseError
from scrub.rewrite.compound import Chain
from scrub.rewrite.iterative import IterativeMatcher, IterativeMatcherIn
from scrub.rewrite.matcher import Matcher, Regex
from scrub.rewrite.matcher_parser import LITERALS, MAX_PARTS, MatcherParser, node_type, shortened
from scrub.rewrite.selection import ArgumentOf, Body, ChildrenAt
from scrub.rewrite.states import State


def matcher_text(matcher: IterativeMatcherIn) -> str:
    """The code that makes a matcher, for `parse_matcher`: equal matchers have one text, the same in every process.

    A node matcher, or a condition such as a name or a set of names, is written as `Matcher(...)`, and is read back as
    the path matcher that finds the nodes it matches.

    Raises:
        MatchError: the matcher holds what has no such text (a function, an expression, a symbol); `found` is that.

    >>> from scrub import restrict
    >>> matcher_text(IterativeMatcher("B").chain(restrict({"y", "x"}, end_depth=2)))
    "IterativeMatcher('B').chain(restrict(Matcher('x', 'y'), end_depth=2))"
    >>> parse_matcher(matcher_text(Matcher("x") & ~Matcher("y"))) == IterativeMatcher(Matcher("x") & ~Matcher("y"))
    True
    """
    written = matcher if isinstance(matcher, IterativeMatcher) else Matcher(matcher)
    _check_writable(written.state if isinstance(written, IterativeMatcher) else written)
    try:
        text = repr(written)
        is_same = parse_matcher(text) == IterativeMatcher(written)
    except (ParseError, RecursionError) as error:
        reason = error.problem if isinstance(error, ParseError) else "it is nested too deeply"
        raise MatchError(
            f"matcher_text: the text of the matcher could not be read back: {reason}",
            found=matcher,
            hint="write what it is made of one by one",
        ) from error
    if not is_same:  # such as the state in the middle of a walk
        raise MatchError(f"matcher_text: {shortened(text)} would be read back as another matcher", found=matcher)
    return text


def parse_matcher(text: str) -> IterativeMatcher:
    """The matcher that the text makes. Nothing is evaluated: what is not the code of a matcher is an error.

    Understood are what matchers print as, and what else the constructors of matchers, `&`, `|`, `~` on them, names in
    quotes, node types, ints, True, False, None, sets, lists and tuples can say. A chain may have about 1,400 links.

    Raises:
        ParseError: the text is something else. The message says where, `line_number` and `line` too.

    >>> parse_matcher("IterativeMatcher('a').chain({'x', Add}, must_be_sub=True) | Matcher('y')")
    IterativeMatcher.any('y', IterativeMatcher('a').chain(Matcher('x', Add), must_be_sub=True))
    >>> parse_matcher("IterativeMatcher(lambda node: True)")
    Traceback (most recent call last):
        ...
    scrub.graph.errors.ParseError: line 1, column 18: a matcher's text cannot have a lambda
        IterativeMatcher(lambda node: True)
                         ^
    hint: it is made of matchers, names in quotes, node types, ints, True, False, None, sets, lists, and & | ~
    """
    return MatcherParser(text).read()


def _check_writable(start: State | Matcher) -> None:
    """Refuse what has no text, and what is so often shared that its text would not end."""
    sizes: dict[int, int] = {}
    stack: list[tuple[State | Matcher, bool]] = [(start, False)]
    while stack:
        item, is_ready = stack.pop()
        if id(item) in sizes:
            continue
        inner = [part for part in _held(item) if isinstance(part, State | Matcher)]
        if is_ready:
            sizes[id(item)] = 1 + sum(sizes[id(part)] for part in inner)
            continue
        for part in _held(item):
            if (problem := _unwritable(part)) is not None:
                shown, hint = problem
                raise MatchError(f"matcher_text: {shown} cannot be written as text", found=part, hint=hint)
        stack.append((item, True))
        stack.extend((part, False) for part in inner)
    if sizes[id(start)] > MAX_PARTS:
        raise MatchError(
            "matcher_text: the text of the matcher would be too long: what stands in several places is written again",
            expected=MAX_PARTS,
            found=sizes[id(start)],
            hint="write what it is made of one by one",
        )


def _held(item: State | Matcher) -> Iterator[Any]:
    """What it is made of: other states, matchers, conditions, options."""
    if isinstance(item, Matcher):
        yield from item.parts
        return
    stack: list[Any] = [item.key[0] if isinstance(item, Chain) else item.key]
    while stack:
        part = stack.pop()
        if isinstance(part, tuple | frozenset):
            stack.extend(cast("tuple[Any, ...]", part))
        else:
            yield part


def _unwritable(part: Any) -> tuple[str, str] | None:
    """(How to call it, what to do) if it has no text."""
    if isinstance(part, ArgumentOf) and not isinstance(part.symbol, str):
        return f"the symbol {part.symbol!r} of a module_arg_matcher", (
            f"module_arg_matcher({part.symbol.name!r}) says it by the parameter's name"
        )
    if isinstance(part, Expr):
        by_name = f"{part.name!r} matches it by its name" if part.name else "give it a name and match that"
        return f"the expression {part!r}", by_name
    if isinstance(part, type):
        is_known = node_type(part.__name__) is part
        return None if is_known else (f"the type {part.__name__}", "node types are registered with @node")
    if isinstance(part, State | Matcher | ChildrenAt | ArgumentOf | Body) or type(part) in LITERALS or part is None:
        return None
    if isinstance(part, str | int | Regex):
        return f"{part!r}, a {type(part).__name__},", f"a plain {'Regex' if isinstance(part, Regex) else 'value'} can"
    name = getattr(part, "__qualname__", None) or shortened(repr(part))
    return f"the function {name!r} of {getattr(part, '__module__', None) or type(part).__module__}", (
        "names, node types and Regex say which nodes are meant in a way that can be written"
    )
