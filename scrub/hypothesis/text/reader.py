"""The lines of a hypothesis's text, read into nodes; see `text.py` for what they hold."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, get_args

from scrub.graph import HypothesisError, ParseError
from scrub.graph.text.names import QUOTED, unquoted
from scrub.hypothesis.hypothesis import HandedDown, Hypothesis, Unimportant
from scrub.hypothesis.interpretation import Correspondence, InterpNode
from scrub.hypothesis.text.calls import Call, SamplerReader, read_call, read_options, split_options
from scrub.hypothesis.text.samplers import BUILT_IN
from scrub.rewrite import IterativeMatcher
from scrub.rewrite.matcher_text import parse_matcher

_HEADER = re.compile(rf"hypothesis\s+({QUOTED})\s*(?:,(.*))?")
_NODE = re.compile(rf"({QUOTED})\s*:")
_OTHERS = re.compile(r"\s*,\s*other inputs\b")
_ARROW = re.compile(r"\s*<-\s*")
_CHOICES: dict[str, tuple[Any, ...]] = {"unimportant": get_args(Unimportant), "handed_down": get_args(HandedDown)}
_HEADER_FORM = "hypothesis 'name', unimportant='node', handed_down='drawn'"
_NODE_FORM = "'name': ExactSampler() <- IterativeMatcher('place')"


class _Numbered(NamedTuple):
    """A line of the text, without what is around it.

    Attributes:
        number: counted from 1.
        indent: spaces in front.
        text: what follows.
    """

    number: int
    indent: int
    text: str

    def error(self, problem: str, *, hint: str | None = None, **facts: Any) -> ParseError:
        """The error about this line."""
        shown = f"line {self.number}: {problem}\n    {self.text}"
        return ParseError(shown, line_number=self.number, line=" " * self.indent + self.text, hint=hint, **facts)


class _Node(NamedTuple):
    """A node's line, read."""

    line: _Numbered
    name: str
    sampler: Call
    others: Call | None
    matcher: IterativeMatcher


def read_hypothesis(text: str, reader: SamplerReader) -> Hypothesis:
    """The hypothesis that a text says. Raises `ParseError`."""
    header, *rest = _lines(text)
    name, choices = _header(header)
    if not rest:
        raise header.error("no node follows", expected=_NODE_FORM, hint=f"the root is a line such as {_NODE_FORM}")
    nodes = [_node(line) for line in rest]
    _check_handed_over(nodes, reader)
    correspondence = Correspondence()
    above: list[InterpNode] = []
    for node in nodes:
        made = _placed(node, above, reader)
        del above[node.line.indent // 2 :]
        above.append(made)
        correspondence.add(made, node.matcher)
    return Hypothesis(correspondence, name, **choices)


def _lines(text: str) -> list[_Numbered]:
    """The lines that mean something."""
    lines: list[_Numbered] = []
    for number, whole in enumerate(text.split("\n"), start=1):
        line = whole.rstrip()
        inner = line.lstrip(" ")
        if inner and not inner.startswith("#"):
            lines.append(_Numbered(number, len(line) - len(inner), inner))
    if not lines:
        raise ParseError("the text is empty", expected=_HEADER_FORM, hint=f"it begins with {_HEADER_FORM}")
    return lines


def _header(line: _Numbered) -> tuple[str, dict[str, Any]]:
    match = _HEADER.fullmatch(line.text)
    if match is None:
        raise line.error(f"expected {_HEADER_FORM}", expected=_HEADER_FORM, found=line.text)
    try:
        name = unquoted(match[1])
        choices = read_options(split_options(match[2])) if match[2] is not None else {}
    except ValueError as error:
        raise line.error(str(error), expected=_HEADER_FORM, hint=f"expected {_HEADER_FORM}") from error
    for key, value in choices.items():
        if value not in _CHOICES.get(key, ()):
            known = " or ".join(f"{choice}={value!r}" for choice, values in _CHOICES.items() for value in values)
            raise line.error(f"expected {known}, found {key}={value!r}", expected=known, found=(key, value))
    return name, choices


def _node(line: _Numbered) -> _Node:
    match = _NODE.match(line.text)
    if match is None:
        hint = "names are quoted as Python does"
        raise line.error(f"expected {_NODE_FORM}", expected=_NODE_FORM, found=line.text, hint=hint)
    try:
        name = unquoted(match[1])
        sampler, position = read_call(line.text, match.end())
        others = None
        if comma := _OTHERS.match(line.text, position):
            others, position = read_call(line.text, comma.end())
    except ValueError as error:
        raise line.error(str(error), expected=_NODE_FORM, hint=f"a line is such as {_NODE_FORM}") from error
    arrow = _ARROW.match(line.text, position)
    if arrow is None:
        found = line.text[position:].strip()
        expected = "<- and a matcher" if others else ", other inputs and a sampler, or <- and a matcher"
        raise line.error(f"expected {expected}, found {found!r}", expected=expected, found=found)
    return _Node(line, name, sampler, others, _matcher(line, arrow.end()))


def _matcher(line: _Numbered, position: int) -> IterativeMatcher:
    if position == len(line.text):
        raise line.error("expected a matcher behind <-", expected="IterativeMatcher('place')")
    try:
        return parse_matcher(" " * (line.indent + position) + line.text[position:])  # so that columns are the line's
    except ParseError as error:
        problem = error.problem.replace("line 1, ", f"line {line.number}, ", 1)
        whole = " " * line.indent + line.text
        raise ParseError(
            problem, line_number=line.number, line=whole, expected=error.expected, found=error.found, hint=error.hint
        ) from error


def _check_handed_over(nodes: list[_Node], reader: SamplerReader) -> None:
    """Raise an error with all that is missing."""
    missing: dict[str, tuple[_Node, Call]] = {}
    for node in nodes:
        for call in (node.sampler, node.others):
            problem = None if call is None else reader.missing(call)
            if call is not None and problem is not None:
                missing.setdefault(problem, (node, call))
    if not missing:
        return
    wanted: dict[str, list[str]] = {"functions": [], "datasets": [], "samplers": []}
    for _, call in missing.values():
        if call.name not in BUILT_IN:
            wanted["samplers"].append(call.name)
        else:
            kind = "functions" if "function" in call.options else "datasets"
            name = call.options.get("function" if kind == "functions" else "dataset")
            wanted[kind].append(f"{name or 'any name'!r}: ...")
    said = [
        f"{kind}=[{', '.join(names)}]" if kind == "samplers" else f"{kind}={{{', '.join(names)}}}"
        for kind, names in wanted.items()
        if names
    ]
    first = next(iter(missing.values()))[0].line
    raise first.error(
        f"the hypothesis needs what was not handed over: {', '.join(missing)}",
        expected=list(missing),
        found={"functions": sorted(reader.functions), "datasets": sorted(reader.datasets)},
        hint=f"parse_hypothesis(text, {', '.join(said)})",
    )


def _placed(node: _Node, above: list[InterpNode], reader: SamplerReader) -> InterpNode:
    """The node, below the last one that is two spaces further out."""
    line = node.line
    depth, odd = divmod(line.indent, 2)
    if odd or depth > len(above) or (not depth and above):
        fine = "no spaces" if not above else f"{', '.join(str(2 * k) for k in range(1, len(above) + 1))} spaces"
        what = "the root" if not above else "a node below the root"
        raise line.error(
            f"expected {fine} in front of {what}, found {line.indent}",
            expected=fine,
            found=line.indent,
            hint="a child stands two spaces further in than its parent; there is one root",
        )
    try:
        sampler = reader.make(node.sampler)
        others = None if node.others is None else reader.make(node.others)
        if not depth:
            return InterpNode(sampler, node.name, other_inputs_sampler=others)
        return above[depth - 1].make_descendant(sampler, node.name, other_inputs_sampler=others)
    except ValueError as error:
        raise line.error(str(error)) from error
    except HypothesisError as error:
        raise line.error(error.problem, hint=error.hint) from error
