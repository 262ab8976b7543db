"""`Parser`: the text of expressions, read back to the same objects.

The format is one node a line, and each line is regular; so this reads it with one regular expression a line and a stack
of open nodes. A general grammar (lark) would read the same a hundred times slower, and could not say on which line
something is missing any better. Nothing in the text is evaluated: a line can only become a registered node type, with
parameters that are numbers, strings, tuples, tensors that were given, and registered functions.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn, cast

import torch

from scrub.graph.axis_names import AxisNames
from scrub.graph.errors import ParseError, ScrubError
from scrub.graph.expr import Expr, Shape
from scrub.graph.frozen_tensor import FrozenTensor
from scrub.graph.identifiers import Identifiers
from scrub.graph.registry import NODES
from scrub.graph.text.names import QUOTED, unquoted
from scrub.graph.text.params import Parts, read_params
from scrub.graph.text.sizes import parse_shape
from scrub.graph.text.values import parse_values

_INDENT = re.compile(r"(?:(\d{1,9})\|)?([ │├└]*)")
_LINE = re.compile(
    rf"(?:({QUOTED})(?= |$) ?)?"  # name
    r"(?:@(\w+)(?: |$))?"  # label
    r"(?:\[([^\[\]]*)\](?: |$))?"  # shape
    r"(?:([A-Za-z_]\w*)(?: |$))?"  # type
    r"([^#!{}'\"]*)"  # parameters, and the marks of what was cut or folded
    rf"(?:\{{((?:[^'\"{{}}]|{QUOTED})*)\}} ?)?"  # parameters in braces
    rf"(?:! ({QUOTED}) ?)?"  # the parameter of the module above that this is bound to
    r"(\.\.\.(?: x \d{1,9})?)?"
    r"\s*(?:#.*)?"
)
_MARK = re.compile(r"(?:^| )\.\.\.( x \d{1,9})?$")
_TAIL = re.compile(r"(?: ! .*|  #.*)$")
_DERIVED = re.compile(rf"((?:[^'\"\[]|{QUOTED}|\[)*?) (?=(?:@\w+ )?\[[^\[\]]*\] ([A-Za-z_]\w*)(?: |$))")
_MAX_FOLDED = 10_000_000
_GENERAL_HINT = "the parameters on this line and the nodes below it do not fit together"


class _Open(NamedTuple):
    """A node whose children are still being read."""

    number: int
    line: str
    head: str
    name: str | None
    label: str | None
    shape: Shape | None
    axis_names: AxisNames
    kind: str
    params: str
    braces: str | None
    argument: str | None
    times: int
    children: list[Expr]
    arguments: list[str | None]


class Parser:
    """Reads what `print` and `to_text` write, and what people write by hand in that form.

    The exact form (`to_text(expr, exact=True)`) needs to be given the tensors only. In the short form, digests and
    uuids are abbreviated: they are looked up among `tensors` and below `known`. A symbol without a uuid is
    `Symbol.new_from_name`.

    Args:
        tensors: tensors by whatever names, or in a row; told apart by content.
        known: expressions whose tensors, symbols and tags the text may refer to.
        random: seed of the values of tensors that are not given; without it they are an error. The values depend on
            the seed, the digest and the shape alone.
        dtype: of such tensors.

    Raises:
        ParseError: what is wrong, on which line, and what to do.

    >>> text = '''
    ... 'y' [2] Einsum ab,b->a
    ...   'w' [2, 2] Array 6f3c2a11
    ...   'x' [2] Symbol
    ... '''
    >>> Parser(random=0)(text)
    'y' [2] Einsum ab,b->a
    """

    def __init__(
        self,
        *,
        tensors: Mapping[str, torch.Tensor] | Iterable[torch.Tensor] = (),
        known: Iterable[Expr] = (),
        random: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        given = cast("Iterable[torch.Tensor]", tensors.values() if isinstance(tensors, Mapping) else tensors)
        self._identifiers = Identifiers([FrozenTensor(tensor) for tensor in given], known, random=random, dtype=dtype)

    @classmethod
    def with_frozen(cls, tensors: Iterable[FrozenTensor]) -> Parser:
        """A parser that is given tensors whose digests are known already."""
        parser = cls()
        parser._identifiers = Identifiers(tensors, (), random=None, dtype=torch.float32)
        return parser

    def __call__(self, text: str) -> Expr:
        """The only expression in the text."""
        roots = self.parse_many(text)
        if len(roots) != 1:
            raise ParseError(
                f"the text holds {len(roots)} expressions",
                expected=1,
                found=len(roots),
                hint="parse_many reads several; what is below a node is indented by two spaces",
            )
        return roots[0]

    def parse_many(self, text: str) -> list[Expr]:
        """All expressions in the text, in order.

        >>> Parser().parse_many("'a' [] Scalar 1.0\\n'b' [] Scalar 2.0")
        ['a' [] Scalar 1.0, 'b' [] Scalar 2.0]
        """
        return _Reading(self._identifiers).read(text)


class _Reading:
    """One run over a text."""

    def __init__(self, identifiers: Identifiers) -> None:
        self.identifiers = identifiers
        self.roots: list[Expr] = []
        self.stack: list[_Open] = []
        self.by_head: dict[str, list[tuple[Expr, int]]] = {}
        self.by_label: dict[str, Expr] = {}
        self.num_folded = 0

    def read(self, text: str) -> list[Expr]:
        base: int | None = None
        stack = self.stack
        for number, raw in enumerate(text.split("\n"), start=1):
            line = raw.rstrip()
            indent = _INDENT.match(line)
            assert indent is not None
            rest = line[indent.end() :]
            if rest.startswith("\t"):
                self._fail(number, line, "indented with a tab", hint="two spaces a level")
            if not rest or rest[0] == "#":
                continue
            width = len(indent[2])
            if base is None:
                base = width
            if (width - base) % 2 or width < (0 if indent[1] else base):
                self._fail(number, line, f"indented by {width} spaces", hint="two spaces a level")
            depth = int(indent[1]) + width // 2 if indent[1] else (width - base) // 2
            while len(stack) > depth:
                self._close()
            if depth > len(stack):
                what = "the first line" if not stack else "its parent"
                self._fail(
                    number, line, f"indented {depth - len(stack)} levels too deep", hint=f"one level below {what}"
                )
            self._line(number, line, rest)
        while stack:
            self._close()
        return self.roots

    def _line(self, number: int, line: str, rest: str) -> None:
        match = _LINE.fullmatch(rest)
        groups: tuple[Any, ...] | None = match.groups() if match is not None else None
        head: str | None = None
        if groups is None or not self._is_regular(groups):
            found = self._derived(rest)
            if found is None:
                self._no_such_line(number, line, rest)
            head, groups = found
        name, label, shape, kind, params, braces, argument, mark = groups
        params = params.strip()
        dots = None if mark is not None else _MARK.search(params)
        if dots is not None:
            mark, params = dots[0].strip(), params[: dots.start()]
        count = self._count(number, line, mark)
        try:
            given = unquoted(name) if name is not None else None
            bound = unquoted(argument) if argument is not None else None
        except ValueError as error:
            self._fail(number, line, str(error), hint="write the name as Python's repr does")
        if kind is None:
            if params or shape is not None or braces is not None:
                self._fail(number, line, "expected a node type", hint="'name' [shape] Type parameters")
            node = self._referred(number, line, name if head is None else head, label)
            self._add(node, bound, count)
            return
        try:
            sizes, names = (None, ()) if shape is None else parse_shape(shape)
        except ValueError as error:
            self._fail(number, line, str(error), hint="a shape is written [2, 3]; a scalar's is []")
        own = head or name or ""
        self.stack.append(
            _Open(number, line, own, given, label, sizes, names, kind, params, braces, bound, count, [], [])
        )

    def _is_regular(self, groups: tuple[Any, ...]) -> bool:
        """Whether this is a line with a name in quotes or without; else it begins with a derived name."""
        name, label, shape, kind, params, _, _, _ = groups
        if kind is None:
            has_more = _MARK.sub("", params.strip()) != ""
            return (name is not None or label is not None or shape is not None) and not has_more
        if shape is not None or name is not None:
            return kind in NODES
        head, at, _ = _MARK.sub("", f"{kind} {params}".strip()).partition(" @")  # may be a derived name all the same
        return kind in NODES and not at and head not in self.by_head and " [" not in f" {params}"

    def _derived(self, rest: str) -> tuple[str, tuple[Any, ...]] | None:
        """The derived name that the line begins with, and the groups of what follows."""
        for found in _DERIVED.finditer(rest):
            match = _LINE.fullmatch(rest, found.end())
            if found[2] in NODES and match is not None and found.start() == 0:
                return found[1], match.groups()
        bare = _TAIL.sub("", rest)
        for text in (bare, _MARK.sub("", bare)):  # a derived name may itself end in dots
            head, at, label = text.partition(" @")
            match = _LINE.fullmatch(rest[len(text) :].strip())
            if match is not None and (re.fullmatch(r"\w+", label) if at else head in self.by_head):
                return head, (None, label or None, None, None, *match.groups()[4:])
        return None

    def _no_such_line(self, number: int, line: str, rest: str) -> NoReturn:
        unquoted_part = re.sub(QUOTED, "", rest)
        if unquoted_part.count("'") + unquoted_part.count('"'):
            self._fail(number, line, "a quote is not closed", hint="write names as Python's repr does")
        words = re.findall(r"[A-Za-z_]\w*", unquoted_part)
        kind = next((word for word in words if word not in NODES), "")
        close = difflib.get_close_matches(kind, sorted(NODES), n=1) if kind else []
        hint = f"did you mean {close[0]!r}? " if close else ""
        self._fail(
            number,
            line,
            f"expected 'name' [shape] Type parameters, found {f'the unknown type {kind!r}' if kind else repr(rest)}",
            hint=f"{hint}the types are {', '.join(sorted(NODES))}; a name alone refers to a line above",
            expected=sorted(NODES),
            found=kind or rest,
        )

    def _count(self, number: int, line: str, mark: str | None) -> int:
        if mark is None:
            return 1
        if mark == "...":
            self._fail(
                number,
                line,
                "the text was cut here, what is below is missing",
                hint="print it without max_depth, descend and traversal",
            )
        count = int(mark.removeprefix("... x "))
        self.num_folded += count
        if self.num_folded > _MAX_FOLDED:
            self._fail(number, line, f"more than {_MAX_FOLDED:,} children are folded", hint="is the number right?")
        return count

    def _referred(self, number: int, line: str, head: str | None, label: str | None) -> Expr:
        if label is not None:
            node = self.by_label.get(label)
            if node is None:
                self._fail(number, line, f"no line above has the label @{label}", hint="write the node out, with it")
            return node
        candidates = self.by_head.get(head or "", [])
        if not candidates:
            names = difflib.get_close_matches(head or "", list(self.by_head), n=3)
            similar = f"; similar: {', '.join(names)}" if names else ""
            self._fail(
                number,
                line,
                f"no line above is named {head}{similar}",
                hint="a name alone refers to a node that is written out above it",
                found=head,
            )
        if len(candidates) > 1:
            where = " and ".join(str(at) for _, at in candidates[:3])
            self._fail(
                number,
                line,
                f"{head} is ambiguous: lines {where} are different nodes of that name",
                hint=f"label the one that is meant, {head} @1 ..., and refer to it as {head} @1",
            )
        return candidates[0][0]

    def _close(self) -> None:
        """Build the innermost open node, whose children are complete."""
        part = self.stack.pop()
        children = tuple(part.children)
        parts = Parts(
            part.name,
            part.shape,
            children,
            part.arguments,
            self.identifiers.tensor,
            self.identifiers.uuid,
            part.axis_names,
        )
        try:
            if part.braces is not None:
                params = parse_values(part.braces, self.identifiers.tensor)
            else:
                params = read_params(part.kind, part.params, parts)
        except ScrubError as error:
            self._fail(part.number, part.line, error.problem, hint=error.hint or _GENERAL_HINT, cause=error)
        except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
            self._fail(part.number, part.line, str(error), hint=_GENERAL_HINT, cause=error)
        try:
            node = NODES[part.kind].make(children, params, part.name)
        except ScrubError as error:
            self._fail(part.number, part.line, error.problem, hint=error.hint or _GENERAL_HINT, cause=error)
        except Exception as error:  # a type's rules are made for parts that its constructor accepted
            problem = f"{part.kind} does not take {len(children)} children with these parameters ({error})"
            self._fail(part.number, part.line, problem, hint=_GENERAL_HINT, cause=error)
        if part.shape is not None and node.shape != part.shape:
            self._fail(
                part.number,
                part.line,
                f"written with shape {list(part.shape)}, but what is below gives {list(node.shape)}",
                hint="correct the one that is wrong; the shape may be left out",
                expected=part.shape,
                found=node.shape,
            )
        if any(part.axis_names) and node.axis_names != part.axis_names:
            self._fail(
                part.number,
                part.line,
                f"written with axes named {list(part.axis_names)}, but what is below gives {list(node.axis_names)}",
                hint="only leaves and SetSymbolicShape name axes; elsewhere the names may be left out",
                expected=part.axis_names,
                found=node.axis_names,
            )
        if part.label is not None:
            if self.by_label.setdefault(part.label, node) is not node:
                self._fail(part.number, part.line, f"the label @{part.label} is taken", hint="use another one")
        elif part.head:
            known = self.by_head.setdefault(part.head, [])
            if all(node is not other for other, _ in known):
                known[2:] = []  # two are enough to be ambiguous
                known.append((node, part.number))
        self._add(node, part.argument, part.times)

    def _add(self, node: Expr, argument: str | None, count: int) -> None:
        if self.stack:
            self.stack[-1].children.extend([node] * count)
            self.stack[-1].arguments.extend([argument] * count)
        else:
            self.roots.extend([node] * count)

    def _fail(
        self,
        number: int,
        line: str,
        problem: str,
        *,
        hint: str | None,
        expected: object = None,
        found: object = None,
        cause: Exception | None = None,
    ) -> NoReturn:
        shown = line.strip()
        shown = shown if len(shown) <= 200 else shown[:197] + "..."
        nodes = cause.nodes if isinstance(cause, ScrubError) else ()
        raise ParseError(
            f"line {number}: {problem}\n    {shown}",
            line_number=number,
            line=line,
            nodes=nodes,
            expected=expected,
            found=found,
            hint=hint,
        ) from cause
