"""The syntax tree of a matcher's text, read against what a matcher can be made of; see `matcher_text.py`.

Python's own grammar parses the text, and nothing of it is run: the walk accepts the constructors in `FUNCTIONS`, the
methods in `METHODS`, node types and literals, and calls these itself. It goes with an explicit stack, and counts the
parts of what it makes, since `chain_many` in a short text can make 2 ** 100 of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from operator import invert
from typing import Any

from scrub.graph import NODES, Expr
from scrub.graph.errors import ParseError, ScrubError
from scrub.rewrite import iterative
from scrub.rewrite.iterative import IterativeMatcher
from scrub.rewrite.matcher import Matcher, Regex

MAX_CHARACTERS = 1_000_000
MAX_PARTS = 20_000
"""Of one matcher; what stands in two places counts twice."""
LITERALS = (str, int, bool, Regex)


@dataclass(frozen=True)
class Form:
    """What may be called, with how many positional arguments of which kind, and with which options."""

    make: Callable[..., Any]
    fewest: int = 0
    most: int | None = None
    options: Mapping[str, tuple[type, ...]] = field(default_factory=dict[str, tuple[type, ...]])
    takes: tuple[type, ...] = (object,)
    takes_text: str = "a condition"


_LIMITS = {"start_depth": (int,), "end_depth": (int, type(None)), "term_early_at": (object,)}
_IN_CHAIN = {"must_be_sub": (bool,)}


def _of_quoted(make: Callable[..., Any]) -> Form:
    return Form(make, 1, 1, takes=(str,), takes_text="text in quotes")


def _of_indices(make: Callable[..., Any]) -> Form:
    return Form(make, 1, 1, takes=(frozenset, tuple), takes_text="a set of ints, such as {0, 2}")


FUNCTIONS = {
    "IterativeMatcher": Form(IterativeMatcher),
    "IterativeMatcher.all": Form(IterativeMatcher.all),
    "IterativeMatcher.any": Form(IterativeMatcher.any),
    "Matcher": Form(Matcher),
    "Matcher.all": Form(Matcher.all),
    "Matcher.any": Form(Matcher.any),
    "Regex": _of_quoted(Regex),
    "children_matcher": _of_indices(iterative.children_matcher),
    "directly_below": Form(iterative.directly_below, 1, 1),
    "module_arg_matcher": _of_quoted(iterative.module_arg_matcher),
    "new_traversal": Form(iterative.new_traversal, 0, 0, _LIMITS),
    "not_through": Form(iterative.not_through, 1, 1),
    "restrict": Form(iterative.restrict, 1, 1, {**_LIMITS, "term_if_matches": (bool,)}),
    "set": Form(frozenset, 0, 0),  # the empty set of indices has no other text
    "spec_matcher": Form(iterative.spec_matcher, 0, 0),
}
METHODS = {
    "chain": Form(IterativeMatcher.chain, options=_IN_CHAIN),
    "chain_many": Form(
        IterativeMatcher.chain_many, options=_IN_CHAIN, takes=(tuple,), takes_text="lists, such as ['a', 'b'], to chain"
    ),
    "children_matcher": _of_indices(IterativeMatcher.children_matcher),
    "directly_below": Form(IterativeMatcher.directly_below, 1, 1),
    "filter_module_spec": Form(IterativeMatcher.filter_module_spec, 0, 0),
    "module_arg_matcher": _of_quoted(IterativeMatcher.module_arg_matcher),
    "not_through": Form(IterativeMatcher.not_through, 1, 1),
    "spec_matcher": Form(IterativeMatcher.spec_matcher, 0, 0),
}
_HINT = "it is made of matchers, names in quotes, node types, ints, True, False, None, sets, lists, and & | ~"
_SAID: dict[type[ast.expr], str] = {
    ast.Attribute: "an attribute",
    ast.BoolOp: "'and' or 'or'",
    ast.Compare: "a comparison",
    ast.Dict: "a dict",
    ast.IfExp: "an 'if'",
    ast.JoinedStr: "an f-string",
    ast.Lambda: "a lambda",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a starred argument",
    ast.Subscript: "an index",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
}


def node_type(name: str) -> type[Expr] | None:
    """The node type with this name."""
    return Expr if name == "Expr" else NODES.get(name)


def shortened(text: str) -> str:
    """Its first line, not too much of it."""
    first = text.split("\n", 1)[0]
    return first if len(first) <= 160 else first[:157] + "..."


class MatcherParser:
    """One text, and the walk over its syntax tree."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ParseError(f"parse_matcher: {shortened(repr(text))} is not text", found=text, hint="it reads a str")
        self.lines = _lines(text)
        self.code = text.lstrip(" \t\r\n\f")
        """The text without what Python would take for indentation."""
        *above, indent = _lines(text[: len(text) - len(self.code)])
        self.num_above, self.indent = len(above), len(indent)
        if len(text) > MAX_CHARACTERS:
            raise self._error(1, 0, f"the text has {len(text)} characters", f"at most {MAX_CHARACTERS} are read")

    def read(self) -> IterativeMatcher:
        """The matcher; operands are made first."""
        root = self._tree()
        work: list[tuple[ast.expr, bool]] = [(root, False)]
        values: list[tuple[Any, int]] = []
        while work:
            node, is_ready = work.pop()
            operands = self._operands(node)
            if not is_ready:
                work.append((node, True))
                work.extend((operand, False) for operand in reversed(operands))
                continue
            split = len(values) - len(operands)
            taken = values[split:]
            del values[split:]
            size = 1 + sum(size for _, size in taken)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "chain_many":
                size += taken[0][1] * len(node.args)  # every alternative is chained to a copy of the receiver
            if size > MAX_PARTS:
                raise self._error_at(node, "the matcher has too many parts", f"at most {MAX_PARTS} are read")
            values.append((self._make(node, [value for value, _ in taken]), size))
        return self._call(root, IterativeMatcher, [values[0][0]])

    def _tree(self) -> ast.expr:
        parse = partial(ast.parse, self.code, mode="eval")
        at = (self.num_above + 1, self.indent)
        try:
            try:
                return parse().body
            except RecursionError:  # the caller's frames count towards the limit; a fresh thread has none
                with ThreadPoolExecutor(1) as fresh:
                    return fresh.submit(parse).result().body
        except SyntaxError as error:
            line = max(error.lineno or 1, 1)
            column = max(error.offset or 1, 1) - 1 + (self.indent if line == 1 else 0)
            raise self._error(line + self.num_above, column, f"this is not Python: {error.msg}", _HINT) from error
        except (RecursionError, MemoryError) as error:
            raise self._error(*at, "nested too deeply", "about 100 brackets and 1,400 links can be read") from error
        except ValueError as error:  # a character that no source may have
            raise self._error(*at, f"this is not Python: {error}", _HINT) from error

    def _operands(self, node: ast.expr) -> list[ast.expr]:
        """What has to be made before it; an error if it is nothing that a matcher's text has."""
        if isinstance(node, ast.Name) and node_type(node.id) is not None:
            return []
        if isinstance(node, ast.Constant) and (node.value is None or type(node.value) in LITERALS):
            return []
        if isinstance(node, ast.Set | ast.List | ast.Tuple):
            return node.elts
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
            return _joined(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
            return [node.operand]
        if isinstance(node, ast.Call):
            receiver, _ = self._form(node)
            return [*receiver, *node.args, *(keyword.value for keyword in node.keywords)]
        raise self._error_at(node, f"a matcher's text cannot have {_said(node)}", _hint(node))

    def _form(self, node: ast.Call) -> tuple[list[ast.expr], Form]:
        """What a method is called on, if it is one, and the form of the call."""
        called = node.func
        if isinstance(called, ast.Name) and called.id in FUNCTIONS:
            return [], FUNCTIONS[called.id]
        if isinstance(called, ast.Attribute):
            owner, name = called.value, called.attr
            if isinstance(owner, ast.Name) and f"{owner.id}.{name}" in FUNCTIONS:
                return [], FUNCTIONS[f"{owner.id}.{name}"]
            if name in METHODS:
                return [owner], METHODS[name]
            hint = f"the methods of path matchers are {', '.join(METHODS)}"
            raise self._error_at(called, f"a matcher's text cannot have the attribute {shortened(name)!r}", hint)
        raise self._error_at(called, f"a matcher's text cannot call {_said(called)}", _hint(called))

    def _make(self, node: ast.expr, parts: list[Any]) -> Any:
        if isinstance(node, ast.Name):
            return node_type(node.id)
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Set):
            return frozenset(parts)
        if isinstance(node, ast.List | ast.Tuple):
            return tuple(parts)
        if isinstance(node, ast.Call):
            return self._make_call(node, parts)
        if not any(isinstance(part, Matcher | IterativeMatcher) for part in parts[:2]):
            raise self._error_at(node, "& | ~ combine matchers, and here is none", "write Matcher('a') | 'b'")
        if not isinstance(node, ast.BinOp):
            return self._call(node, invert, parts)
        kind = IterativeMatcher if any(isinstance(part, IterativeMatcher) for part in parts) else Matcher
        return self._call(node, kind.all if isinstance(node.op, ast.BitAnd) else kind.any, parts)

    def _make_call(self, node: ast.Call, parts: list[Any]) -> Any:
        receiver, form = self._form(node)
        name = shortened(node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", ""))
        if receiver and not isinstance(parts[0], IterativeMatcher):
            hint = f"only path matchers have methods: IterativeMatcher('a').{name}(...)"
            raise self._error_at(receiver[0], f"{name} is called on what is no path matcher", hint)
        split = len(receiver) + len(node.args)
        arguments, values = parts[len(receiver) : split], parts[split:]
        if len(arguments) < form.fewest or (form.most is not None and len(arguments) > form.most):
            problem = f"{name} takes {form.fewest} positional arguments, not {len(arguments)}"
            raise self._error_at(node, problem, f"its options are {', '.join(form.options) or 'none'}")
        for argument, at in zip(arguments, node.args, strict=True):
            if not isinstance(argument, form.takes):
                raise self._error_at(at, f"{name} does not take this", f"it takes {form.takes_text}")
        options = self._options(name, form, node.keywords, values)
        return self._call(node, partial(form.make, **options), [*parts[: len(receiver)], *arguments])

    def _options(self, name: str, form: Form, keywords: list[ast.keyword], values: list[Any]) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for keyword, value in zip(keywords, values, strict=True):
            option = keyword.arg or "**"
            kinds = form.options.get(option)
            if kinds is None or option in options:
                problem = f"{shortened(option)} stands twice" if kinds else f"{name} has no option {shortened(option)}"
                raise self._error_at(keyword, problem, f"its options are {', '.join(form.options) or 'none'}")
            if kinds != (object,) and type(value) not in kinds:  # True is no depth, 1 is no bool
                expected = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
                raise self._error_at(keyword.value, f"this is no value of {option}", f"it takes {expected}")
            options[option] = value
        return options

    def _call(self, node: ast.expr, make: Callable[..., Any], arguments: list[Any]) -> Any:
        """What `make` makes; its refusal becomes an error at this place of the text."""
        try:
            return make(*arguments)
        except ScrubError as error:
            raise self._error_at(node, shortened(error.problem), error.hint or _HINT) from error
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise self._error_at(node, f"this makes no matcher: {shortened(str(error))}", _HINT) from error

    def _error_at(self, node: ast.expr | ast.keyword, problem: str, hint: str) -> ParseError:
        line = self.num_above + node.lineno
        indent = self.indent if node.lineno == 1 else 0
        before = self.lines[line - 1][indent:].encode()[: node.col_offset]  # the tree counts bytes
        return self._error(line, indent + len(before.decode()), problem, hint)

    def _error(self, number: int, column: int, problem: str, hint: str) -> ParseError:
        line = self.lines[min(number, len(self.lines)) - 1]
        first = max(column - 60, 0)
        shown = line[first : first + 100].expandtabs(1)
        return ParseError(
            f"line {number}, column {column + 1}: {problem}\n    {shown}\n    {' ' * (column - first)}^",
            line_number=number,
            line=line,
            hint=hint,
        )


def _lines(text: str) -> list[str]:
    """Split where Python ends lines, which is at fewer characters than `str.splitlines` does."""
    return re.split(r"\r\n|\r|\n", text)


def _joined(node: ast.BinOp) -> list[ast.expr]:
    """What one operator joins: in `a | b | c` all three, so that they are combined once and not pair by pair."""
    right: list[ast.expr] = []
    left: ast.expr = node
    while isinstance(left, ast.BinOp) and type(left.op) is type(node.op):
        right.append(left.right)
        left = left.left
    return [left, *reversed(right)]


def _said(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return f"the name {shortened(node.id)!r}"
    if isinstance(node, ast.Constant):
        return f"the {type(node.value).__name__} {shortened(repr(node.value))}"
    if isinstance(node, ast.BinOp | ast.UnaryOp):
        return f"the operator {type(node.op).__name__}"
    return _SAID.get(type(node), f"a Python {type(node).__name__}")


def _hint(node: ast.expr) -> str:
    if not isinstance(node, ast.Name):
        return _HINT
    functions = [name for name in FUNCTIONS if "." not in name and name != "set"]
    return f"names are quoted; understood are {', '.join(functions)}; the node types {', '.join(sorted(NODES))}"
