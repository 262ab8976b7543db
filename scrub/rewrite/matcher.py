"""`Matcher`: a predicate on one node, as a value that compares, hashes and prints (SPEC 5.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from scrub.graph import ConstructionError, Expr

MatcherIn = Any
"""What `Matcher(...)` accepts: bool, name, node type, `Expr`, `Regex`, `Matcher`, predicate, or a set of these."""


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
        except re.error as error:
            raise ConstructionError(
                f"Regex: {self.pattern!r} is malformed: {error}", found=self.pattern, hint="see Python's re module"
            ) from error

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

    >>> from scrub.graph import Add, Scalar
    >>> one = Scalar(1.0, name="one")
    >>> Matcher("one")(one), Matcher({"two", "three"})(one), (~Matcher(Add))(one)
    (True, False, True)
    """

    __slots__ = ("_hash", "parts", "rule")

    def __init__(self, *conditions: MatcherIn) -> None:
        self._fill("any", tuple(dict.fromkeys(_flatten(conditions))))

    def _fill(self, rule: str, parts: tuple[Any, ...]) -> None:
        self.rule = rule
        self.parts = parts
        self._hash = hash((rule, frozenset(parts)))

    @classmethod
    def _of(cls, rule: str, parts: tuple[Any, ...]) -> Matcher:
        made = object.__new__(cls)
        made._fill(rule, parts)
        return made

    def __call__(self, node: Expr) -> bool:
        """Whether the node matches."""
        if self.rule == "any":
            return any(_holds(part, node) for part in self.parts)
        if self.rule == "all":
            return all(part(node) for part in self.parts)
        return not self.parts[0](node)

    def __or__(self, other: MatcherIn) -> Matcher:
        return Matcher(self, other)

    def __and__(self, other: MatcherIn) -> Matcher:
        return Matcher._of("all", (self, Matcher(other)))

    def __invert__(self) -> Matcher:
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

    def __repr__(self) -> str:
        if self.rule == "not":
            return f"~{self.parts[0]!r}"
        if self.rule == "all":
            return "(" + " & ".join(map(repr, self.parts)) + ")"
        return f"Matcher({', '.join(map(_show, self.parts))})"

    def names(self) -> Iterator[str]:
        """Names that occur in the conditions."""
        for part in self.parts:
            if isinstance(part, str):
                yield part
            elif isinstance(part, Matcher):
                yield from part.names()


def _flatten(conditions: Iterable[MatcherIn]) -> Iterator[Any]:
    for condition in conditions:
        if isinstance(condition, Matcher) and condition.rule == "any":
            yield from condition.parts
        elif isinstance(condition, set | frozenset | tuple | list):
            yield from _flatten(condition)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(condition, bool | str | Expr | Regex | Matcher | type) or callable(condition):
            if isinstance(condition, type) and not issubclass(condition, Expr):
                raise ConstructionError(
                    f"Matcher: {condition.__name__} is not a node type",
                    expected=Expr,
                    found=str(condition),  # pyright: ignore[reportUnknownArgumentType]
                    hint="node types are Add, Einsum, Module, ...; a predicate is a function of a node",
                )
            yield condition
        else:
            raise ConstructionError(
                f"Matcher: cannot match on {condition!r}",
                expected="bool, name, node type, Expr, Regex, Matcher, predicate, or a set of these",
                found=condition,
                hint="an IterativeMatcher goes where paths are matched: get, update, chain",
            )


def _holds(part: str | bool | Expr | Regex | type[Expr] | Callable[[Expr], bool], node: Expr) -> bool:
    if isinstance(part, str):
        return node.name == part
    if isinstance(part, bool):
        return part
    if isinstance(part, Expr):
        return node is part
    if isinstance(part, type):
        return isinstance(node, part)
    if isinstance(part, Regex):
        return part.matches(node.name)
    return bool(part(node))


def _show(part: Any) -> str:
    if isinstance(part, type):
        return part.__name__
    return getattr(part, "__name__", None) or repr(part) if callable(part) else repr(part)
