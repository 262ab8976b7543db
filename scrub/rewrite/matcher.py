"""`Matcher`: a predicate on one node, as a value that compares, hashes and prints (SPEC 5.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn, cast

from scrub.graph import ConstructionError, Expr

MatcherIn = Any
"""What `Matcher(...)` accepts: bool, name, node type, `Expr`, `Regex`, `Matcher`, predicate, or a set of these."""

Test = Callable[[Expr], bool]


@dataclass(frozen=True)
class Regex:
    """A regular expression searched for in given names. `.` is literal unless escaped, since names are full of dots.

    >>> Regex(r"a.h0").matches("blocks a.h0"), Regex(r"a.h0").matches("axh0"), Regex(r"a\\.h0").matches("axh0")
    (True, False, True)
    """

    pattern: str

    def __post_init__(self) -> None:
        try:
            _compiled(self.pattern)
        except (re.error, TypeError, OverflowError, RecursionError) as error:
            raise ConstructionError(
                f"Regex: {self.pattern!r} is malformed: {error}", found=self.pattern, hint="see Python's re module"
            ) from error

    def __repr__(self) -> str:
        return f"Regex({self.pattern!r})"

    def matches(self, name: str | None) -> bool:
        """Whether the pattern occurs in the name."""
        return name is not None and _compiled(self.pattern).search(name) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """With the meanings of `.` and `\\\\.` swapped."""
    swap = {".": r"\.", r"\.": "."}
    return re.compile(re.sub(r"\\.|\.", lambda m: swap.get(m[0], m[0]), pattern, flags=re.DOTALL))


class Matcher:
    """Any of the given conditions; none given matches nothing. Combine with `&`, `|`, `~`.

    Immutable; structurally equal matchers are equal, and print as what makes them (functions and expressions among
    the conditions print as themselves).

    >>> from scrub.graph import Add, Scalar
    >>> one = Scalar(1.0, name="one")
    >>> Matcher("one")(one), Matcher({"two", "three"})(one), (~Matcher(Add))(one)
    (True, False, True)
    >>> Matcher("a", Add) & ~Matcher("b")
    Matcher.all(Matcher('a', Add), ~Matcher('b'))
    """

    __slots__ = ("_hash", "parts", "rule", "test")

    rule: str
    parts: tuple[Any, ...]
    test: Test
    """The matcher as a plain function."""

    def __init__(self, *conditions: MatcherIn) -> None:
        parts = tuple(dict.fromkeys(part for part in _flatten(conditions) if part is not False))
        if any(part is True for part in parts):
            parts = (True,)
        if len(parts) == 1 and isinstance(parts[0], Matcher):
            self._fill(parts[0].rule, parts[0].parts)
        else:
            self._fill("any", parts)

    def _fill(self, rule: str, parts: tuple[Any, ...]) -> None:
        self.rule = rule
        self.parts = parts
        self._hash = hash((rule, frozenset(parts)))
        self.test = _test_of(rule, parts)

    @classmethod
    def _of(cls, rule: str, parts: tuple[Any, ...]) -> Matcher:
        made = object.__new__(cls)
        made._fill(rule, parts)
        return made

    @staticmethod
    def any(*conditions: MatcherIn) -> Matcher:
        """Matches where any of the conditions does: the same as `Matcher(*conditions)`."""
        return Matcher(*conditions)

    @staticmethod
    def all(*conditions: MatcherIn) -> Matcher:
        """Matches where every one of the conditions does; none given matches everything.

        >>> from scrub.graph import Add, Scalar
        >>> Matcher.all(Add, "x")(Scalar(1.0, name="x"))
        False
        """
        parts: dict[Matcher, None] = {}
        for condition in map(Matcher, conditions):
            parts.update(dict.fromkeys(condition.parts if condition.rule == "all" else (condition,)))
        parts.pop(EVERYTHING, None)
        if NOTHING in parts:
            return NOTHING
        if len(parts) <= 1:
            return next(iter(parts), EVERYTHING)
        return Matcher._of("all", tuple(parts))

    def __call__(self, node: Expr) -> bool:
        """Whether the node matches."""
        return self.test(node)

    def __or__(self, other: MatcherIn) -> Matcher:
        return NotImplemented if is_path_matcher(other) else Matcher(self, other)

    def __ror__(self, other: MatcherIn) -> Matcher:
        return Matcher(other, self)

    def __and__(self, other: MatcherIn) -> Matcher:
        return NotImplemented if is_path_matcher(other) else Matcher.all(self, other)

    def __rand__(self, other: MatcherIn) -> Matcher:
        return Matcher.all(other, self)

    def __invert__(self) -> Matcher:
        if self.rule == "not":
            return self.parts[0]
        if self in (EVERYTHING, NOTHING):
            return NOTHING if self == EVERYTHING else EVERYTHING
        return Matcher._of("not", (self,))

    def __bool__(self) -> NoReturn:
        raise ConstructionError(
            f"{self!r} is neither true nor false", hint="combine matchers with & | ~; ask m(node) or expr.get(m)"
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Matcher) and self.rule == other.rule and frozenset(self.parts) == frozenset(other.parts)
        )

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return Matcher._of, (self.rule, self.parts)

    def __deepcopy__(self, memo: dict[int, Any]) -> Matcher:
        return self

    def __repr__(self) -> str:
        if self.rule == "not":
            return f"~{self.parts[0]!r}"
        if self.rule == "all":
            return f"Matcher.all({', '.join(sorted(map(repr, self.parts)))})"
        return f"Matcher({self.conditions_text()})"

    def conditions_text(self) -> str:
        """The conditions as they stand between the parentheses of `Matcher(...)`, sorted, so equal ones print alike."""
        return (", ".join(sorted(map(_show, self.parts))) or "False") if self.rule == "any" else repr(self)

    def argument_text(self) -> str:
        """How to write it where a matcher is expected: the condition itself if it is only one."""
        return _show(self.parts[0]) if self.rule == "any" and len(self.parts) == 1 else self.short_text()

    def short_text(self) -> str:
        """`False` for what matches nothing, else as printed."""
        return "False" if self == NOTHING else repr(self)

    def conditions(self) -> Iterator[Any]:
        """The simple conditions it is made of, but for those under a negation."""
        for part in self.parts if self.rule != "not" else ():
            if isinstance(part, Matcher):
                yield from part.conditions()
            else:
                yield part


def is_path_matcher(value: object) -> bool:
    """Whether it is an `IterativeMatcher`, which is defined above this file."""
    return getattr(value, "is_path_matcher", False) is True


def _flatten(conditions: Iterable[MatcherIn]) -> Iterator[Any]:
    for condition in conditions:
        if isinstance(condition, Matcher) and condition.rule == "any":
            yield from condition.parts
        elif isinstance(condition, set | frozenset):
            yield from _flatten(sorted(cast(Iterable[Any], condition), key=_show))  # prints the same in every process
        elif isinstance(condition, tuple | list):
            yield from _flatten(cast(Iterable[Any], condition))
        else:
            yield _checked(condition)


def _checked(condition: Any) -> Any:
    if is_path_matcher(condition):
        raise ConstructionError(
            f"Matcher: {condition!r} matches paths, not single nodes",
            expected="a condition on one node",
            found=condition,
            hint="an IterativeMatcher goes where paths are matched: get, update, chain, any, all, not_through",
        )
    if isinstance(condition, type):
        if issubclass(condition, Expr):
            return condition
        raise ConstructionError(
            f"Matcher: {condition.__name__} is not a node type",
            expected=Expr,
            found=condition.__name__,
            hint="node types are Add, Einsum, Module, ...; a predicate is a function of a node",
        )
    if not (isinstance(condition, bool | str | Expr | Regex | Matcher) or callable(condition)):
        raise ConstructionError(
            f"Matcher: cannot match on {condition!r}",
            expected="bool, name, node type, Expr, Regex, Matcher, predicate, or a set of these",
            found=condition,
            hint="an unnamed node is matched by a predicate: lambda node: node.name is None"
            if condition is None
            else "an IterativeMatcher goes where paths are matched: get, update, chain",
        )
    try:
        hash(condition)
    except TypeError as error:
        raise ConstructionError(
            f"Matcher: the predicate {condition!r} is not hashable",
            found=condition,
            hint="matchers are compared and hashed: pass a function, or give its class a __hash__",
        ) from error
    return condition


def _test_of(rule: str, parts: tuple[Any, ...]) -> Test:
    """One plain function for all conditions: it is called at every node of every walk."""
    if rule == "not":
        inner = parts[0].test
        return lambda node: not inner(node)
    if rule == "all":
        tests = [part.test for part in parts]
        return lambda node: all(test(node) for test in tests)
    names = frozenset(part for part in parts if isinstance(part, str))
    nodes = frozenset(part for part in parts if isinstance(part, Expr))
    types = tuple(part for part in parts if isinstance(part, type))
    others = [_function_of(part) for part in parts if not isinstance(part, str | Expr | type)]
    tests: list[Test] = []
    if names:
        (first, *more) = names
        tests.append((lambda node: node.name in names) if more else (lambda node: node.name == first))
    if nodes:
        tests.append(lambda node: node in nodes)
    if types:
        tests.append(lambda node: isinstance(node, types))
    tests.extend(others)
    if len(tests) == 1:
        return tests[0]
    return (lambda node: any(test(node) for test in tests)) if tests else (lambda node: False)


def _function_of(part: bool | Regex | Matcher | Test) -> Test:
    if isinstance(part, bool):
        return lambda node: part
    if isinstance(part, Matcher):
        return part.test
    if isinstance(part, Regex):
        return lambda node: part.matches(node.name)
    return lambda node: bool(part(node))


def _show(part: Any) -> str:
    if isinstance(part, type):
        return part.__name__
    if isinstance(part, Matcher | Regex) or not callable(part):
        return repr(part)
    return getattr(part, "__name__", None) or repr(part)


NOTHING = Matcher()
EVERYTHING = Matcher(True)
