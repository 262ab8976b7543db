"""Every error a user can cause. Each names the node, what was expected, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class ScrubError(Exception):
    """Base of all errors raised on purpose.

    The facts are attributes, so that programs need not parse the message:

    Attributes:
        problem: the first line of the message.
        nodes: the expressions involved, each shown as `'name' [shape] Type` on a line of its own.
        axis, expected, found: what did not fit, where the error is about such a thing.
        hint: what to do, on the last line.

    >>> import scrub as rc
    >>> try:
    ...     rc.Einsum((rc.Scalar(1.0, (2,)), (0,)), (rc.Scalar(1.0, (3,)), (0,)), out_axes=())
    ... except rc.ScrubError as error:
    ...     error.expected, error.found
    (2, 3)
    """

    def __init__(
        self,
        problem: str,
        *,
        nodes: Iterable[object] = (),
        axis: object = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> None:
        self.problem = problem
        self.nodes = tuple(nodes)
        self.axis = axis
        self.expected = expected
        self.found = found
        self.hint = hint
        lines = [problem, *(f"    {node!r}" for node in dict.fromkeys(self.nodes))]
        if hint:
            lines.append(f"hint: {hint}")
        super().__init__("\n".join(lines))


class ShapeError(ScrubError):
    """Sizes or ranks that do not fit together."""


class DtypeError(ScrubError):
    """Element types that a node does not accept or will not mix."""


class DeviceError(ScrubError):
    """Tensors of one expression that lie on different devices."""


class ConstructionError(ScrubError):
    """Arguments from which no node can be built (a malformed spec, a wrong kind of argument)."""


class FunctionError(ScrubError):
    """A registered function that does not compute what it declares; `found` holds every mismatch."""


class BatchError(ScrubError):
    """Batch axes that a node cannot take, or that disagree between children."""


class UnboundSymbolError(ScrubError):
    """A value was asked for, but the expression still has symbols nobody bound."""


class RandomVariableError(ScrubError):
    """A value was asked for, but the expression still has random variables nobody sampled."""


class ModuleBindingError(ScrubError):
    """Arguments of a module call that do not match its parameters, or that would be captured."""


class MatchError(ScrubError):
    """A matcher found nothing, or several nodes where one was asked for."""


class RewriteError(ScrubError):
    """A rewrite that does not apply where it was asked for, or that did not keep its promise."""


class SampleSpecError(ScrubError):
    """A sample spec that does not cover, or cannot draw, the variables of an expression."""


class EstimateError(ScrubError):
    """An estimate that the given draws cannot give."""


class UndefinedRatioError(ScrubError):
    """A ratio whose denominator is within its own error of zero."""


class MemoryLimitError(ScrubError):
    """A memory limit that a program cannot meet; `expected` is one that it can, in bytes, `found` the one asked for."""


class NonFiniteError(ScrubError):
    """NaN or infinity in a result; `nodes` holds what produced it first, `found` how many elements of that."""


class HeadSplitError(ScrubError):
    """Head groups that do not partition the heads, or heads and layers that do not exist."""


class SplitError(ScrubError):
    """Groups, directions or axes that do not fit what they are to split."""


class DatasetError(ScrubError):
    """Arrays that make no dataset, or a dataset without what was asked of it."""


class HypothesisError(ScrubError):
    """A hypothesis that says something impossible, or that does not fit the model; `found` has every mismatch."""


class TaskError(ScrubError):
    """Prompts, answers or positions that make no task: of several tokens, of different lengths, or absent."""


class DiscoveryError(ScrubError):
    """A component, edge, score or circuit that is not there or not of this graph, or a metric that does not fit."""


class CheckpointError(ScrubError):
    """Weights or a config from which no model can be lowered."""


class FileError(ScrubError):
    """A file that is not, or no longer, what was saved."""


class ParseError(ScrubError):
    """Text that is not an expression. `line_number` and `line` say where (None where it is the text as a whole)."""

    def __init__(self, problem: str, *, line_number: int | None = None, line: str | None = None, **facts: Any) -> None:
        super().__init__(problem, **facts)
        self.line_number = line_number
        self.line = line


class FrozenError(ScrubError, AttributeError):
    """An attempt to change an expression in place."""
