"""`Trace`: the steps of a derivation, written down as they are taken, to be read, saved, and taken again.

A step is a rule with its options, applied either to the node at one place (and with it to every occurrence of that
node), or wherever a matcher finds it to apply. A place is the child numbers on a path from the root of the whole
expression, as that is before the step.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from scrub.graph import DiscreteVar, Expr, FileError, RewriteError, ScrubError, postorder, rebuild
from scrub.rewrite.iterative import IterativeMatcherIn
from scrub.rewrite.rule import REWRITES, Rule
from scrub.rewrite.search import get_paths, get_unique
from scrub.rewrite.trace_json import ByDigest, from_plain, to_plain

Path = tuple["Path", int] | None
"""Child numbers from the root, the last one first: shared between the places of a walk."""

_FORMAT = "scrub trace 1"


@dataclass(frozen=True)
class Step:
    """One application of a rule.

    Attributes:
        rule, options: name of the rule, and its options.
        before, after: digests of the node before and after; of the whole expression if `matcher` is given.
        path: to the node, from the root of the whole expression.
        matcher: where the rule was applied, if not at one place.
        text: the node before, in one line.
    """

    rule: str
    options: Mapping[str, Any]
    before: str
    after: str
    path: Path = None
    matcher: IterativeMatcherIn = None
    text: str = ""

    @property
    def place(self) -> tuple[int, ...]:
        """Child numbers from the root to the node."""
        numbers: list[int] = []
        path = self.path
        while path is not None:
            path, number = path
            numbers.append(number)
        return tuple(reversed(numbers))

    def __str__(self) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in self.options.items() if key != "dissolve")
        where = f"everywhere({self.matcher!r})" if self.matcher is not None else f"at {_short(self.place)}"
        return f"{self.rule}({options}) {where}: {self.text} {self.before[:8]} -> {self.after[:8]}"


@dataclass
class Trace:
    """Steps in the order they were taken. Pass one to `simplify` or `rule.everywhere`, or apply rules with it.

    >>> from scrub.graph import Add, Scalar
    >>> from scrub.rewrite.rules import flatten_sum
    >>> a, b, c = (Scalar(1.0, name=name) for name in "abc")
    >>> nested, trace = Add(Add(a, b), c, name="s"), Trace()
    >>> flat = trace.apply(flatten_sum, nested)
    >>> print(trace)
    1. flatten_sum() at root: 's' [] Add ... -> ...
    >>> Trace.from_json(trace.to_json()).replay(nested) is flat
    True
    """

    steps: list[Step] = field(default_factory=list[Step])

    def record(
        self,
        rule: Rule[...],
        options: Mapping[str, Any],
        *,
        before: Expr,
        after: Expr,
        path: Path = None,
        matcher: IterativeMatcherIn = None,
    ) -> None:
        """Write down a step that was taken."""
        given = dict(options)
        self.steps.append(Step(rule.name, given, before.digest, after.digest, path, matcher, repr(before)))

    def apply(self, rule: Rule[...], expr: Expr, at: IterativeMatcherIn = None, **options: Any) -> Expr:
        """Apply a rule to one node of an expression, everywhere this node occurs, and write it down.

        Args:
            rule: what to apply.
            expr: the whole expression.
            at: finds the one node to rewrite; the root if not given.
            options: of the rule.

        Raises:
            MatchError: `at` finds no node or several.
            RewriteError: the rule does not apply.
        """
        path: Path = None
        node = expr
        if at is not None:
            node = get_unique(expr, at)
            way = get_paths(expr, at)[node]
            for parent, child in itertools.pairwise(way):
                path = (path, parent.children.index(child))
        result = rule(node, **options)
        self.record(rule, options, before=node, after=result, path=path)
        return _replaced(expr, node, result)

    def replay(self, expr: Expr) -> Expr:
        """The same steps on this expression: that of the trace, or another that is built the same way.

        Costs a walk over the expression for each step.

        Raises:
            RewriteError: a step does not apply; the error says which, and why. Also if it starts from the node that was
                recorded and does not come to the one that was recorded.
        """
        for number, step in enumerate(self.steps, start=1):
            try:
                expr = _replay_step(step, expr)
            except ScrubError as error:
                raise RewriteError(
                    f"step {number} of {len(self.steps)}, {step}, cannot be repeated: {error.problem}",
                    nodes=error.nodes or [expr],
                    found=number,
                    hint="a trace can be replayed on expressions with the same structure where its steps apply",
                ) from error
        return expr

    def to_json(self) -> str:
        """As JSON text: only names, numbers and places, so that it can be read, edited and compared.

        Raises:
            RewriteError: an option or matcher is not made of such (a predicate of your own, for example).
        """
        steps = [
            {
                "rule": step.rule,
                "options": {
                    key: to_plain(value, f"option {key!r} of {step.rule}") for key, value in step.options.items()
                },
                "before": step.before,
                "after": step.after,
                "text": step.text,
            }
            | ({"place": _packed(step.place)} if step.matcher is None else {})
            | ({"matcher": to_plain(step.matcher, f"matcher of {step.rule}")} if step.matcher is not None else {})
            for step in self.steps
        ]
        return json.dumps({"format": _FORMAT, "steps": steps}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Trace:
        """The trace that `to_json` wrote.

        Raises:
            FileError: the text is not that of a trace.
        """
        try:
            data = json.loads(text)
            if data.get("format") != _FORMAT:
                raise ValueError(f"its format is {data.get('format')!r}, not {_FORMAT!r}")
            return cls([_step_from(entry) for entry in data["steps"]])
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise FileError(f"not a trace: {error}", hint="Trace.to_json() writes one") from error

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __str__(self) -> str:
        return "\n".join(f"{number}. {step}" for number, step in enumerate(self.steps, start=1))


def _replay_step(step: Step, expr: Expr) -> Expr:
    rule = REWRITES.get(step.rule)
    if rule is None:
        raise RewriteError(f"no rule named {step.rule!r} is registered")
    options = {key: _resolved(value, expr) for key, value in step.options.items()}
    if step.matcher is not None:
        result = rule.everywhere(expr, step.matcher, options=options)
        if result is expr:
            raise RewriteError("it applies nowhere", nodes=[expr])
        _check_same(step, expr, result)
        return result
    node = expr
    for number in step.place:
        if number >= len(node.children):
            raise RewriteError(f"there is no place {_short(step.place)}: {node!r} has no child {number}", nodes=[node])
        node = node.children[number]
    result = rule(node, **options)
    _check_same(step, node, result)
    return _replaced(expr, node, result)


def _check_same(step: Step, before: Expr, after: Expr) -> None:
    if before.digest == step.before and after.digest != step.after:
        raise RewriteError(
            f"it starts from the same node but makes another one of it: {after!r}", nodes=[before, after]
        )


def _replaced(expr: Expr, node: Expr, result: Expr) -> Expr:
    """The expression with every occurrence of a node replaced, but for those that make up a random group."""

    def transform(old: Expr, children: tuple[Expr, ...]) -> Expr:
        if old is node:
            return result
        if isinstance(old, DiscreteVar):
            children = (children[0], old.probs_and_group)
        return old.with_children(children)

    return rebuild([expr], transform)[expr]


def _step_from(entry: Mapping[str, Any]) -> Step:
    path: Path = None
    for number in _unpacked(entry.get("place", "")):
        path = (path, number)
    options = {str(key): from_plain(value) for key, value in entry["options"].items()}
    matcher = from_plain(entry["matcher"]) if "matcher" in entry else None
    return Step(entry["rule"], options, entry["before"], entry["after"], path, matcher, entry["text"])


def _packed(place: tuple[int, ...]) -> str:
    """Child numbers as text, repeats counted: (0, 0, 0, 1) as "0x3.1"."""
    runs: list[tuple[int, int]] = []
    for number in place:
        if runs and runs[-1][0] == number:
            runs[-1] = (number, runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return ".".join(str(number) if count == 1 else f"{number}x{count}" for number, count in runs)


def _unpacked(text: str) -> Iterator[int]:
    for run in text.split(".") if text else ():
        number, _, count = run.partition("x")
        yield from [int(number)] * int(count or 1)


def _short(place: tuple[int, ...]) -> str:
    text = _packed(place) or "root"
    return text if len(text) <= 40 else f"{text[:37]}..."


def _resolved(value: Any, expr: Expr) -> Any:
    """An expression that an option named by its digest, found in the expression at hand."""
    if not isinstance(value, ByDigest):
        return value
    for node in postorder([expr]):
        if node.digest == value.digest:
            return node
    raise RewriteError(f"an option is the expression {value.digest[:8]}, which is not there", nodes=[expr])
