"""`Metric`: a number for each example from the logits where predictions are read. The registry of metrics, by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import torch

from scrub.discovery.metrics.checks import checked_result, no_absent, require_fitting, require_needs
from scrub.graph import DiscoveryError

if TYPE_CHECKING:
    from scrub.tasks.task import Task

Need: TypeAlias = Literal["answers", "wrong", "original"]
Function: TypeAlias = "Callable[[torch.Tensor, Task, torch.Tensor | None], torch.Tensor]"

METRICS: dict[str, Metric] = {}
"""Registered metrics by name."""


@dataclass(frozen=True, eq=False)
class Metric:
    """A number for each example of a task, from the logits at its prediction places.

    Calling it gives float [b]. Logits of half precision are taken as float32 first. What stands where
    `batch.positions` is -1 has no part in the result or in its gradient, NaN included.

    Attributes:
        name: what it is called in tables and errors.
        larger_is_better: its direction.
        function: (logits [b, k, V], batch, original logits [b, k, V] or None) -> [b]. It is given 0 for the logits
            where there is no prediction place.
        needs: what it cannot do without: "answers", "wrong" (of the batch), "original" (logits of the model itself).
        is_differentiable: whether its gradient says anything; not that of a count.

    >>> from scrub.discovery.metrics import logit_difference
    >>> from scrub.tasks.task import Task
    >>> task = Task.from_tokens("two", torch.tensor([[5, 6], [7, 8]]), answers=[0, 1], wrong=[1, 0])
    >>> logit_difference(torch.tensor([[[2.0, 0.5]], [[3.0, 0.0]]]), task)
    tensor([ 1.5000, -3.0000])
    """

    name: str
    larger_is_better: bool
    function: Function = field(repr=False)
    needs: frozenset[Need] = frozenset()
    is_differentiable: bool = True

    def __post_init__(self) -> None:
        unknown = sorted(set(self.needs) - set(get_args(Need)))
        if unknown:
            raise DiscoveryError(
                f"metric {self.name!r} needs {', '.join(map(repr, unknown))}, which nothing provides",
                expected=get_args(Need),
                found=tuple(unknown),
                hint="needs={'answers', 'wrong', 'original'} or fewer",
            )
        if inspect.isfunction(self.function):  # its documentation is the metric's, for help() and doctest
            self.__dict__.update(
                __doc__=self.function.__doc__, __module__=self.function.__module__, __wrapped__=self.function
            )

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Registered metrics are copied and pickled by name, and stay the same object."""
        return (metric, (self.name,)) if METRICS.get(self.name) is self else super().__reduce__()

    def __call__(self, logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
        """The metric of each example, float [b].

        Args:
            logits: [b, k, V], those at `batch.positions`.
            batch: the b examples.
            original: [b, k, V], the logits of the model itself, for metrics that compare with them.

        Raises:
            DiscoveryError: shapes or devices do not fit, something needed is missing, or a result is NaN.
        """
        require_fitting(self.name, logits, batch, original)
        require_needs(self.name, self.needs, logits, batch, original)
        present = batch.positions.to(logits.device) >= 0
        shown = no_absent(logits, present)
        reference = None if original is None else no_absent(original, present)
        return checked_result(self.name, self.function(shown, batch, reference), logits, present)


def register(
    *, larger_is_better: bool, needs: Iterable[Need] = (), is_differentiable: bool = True
) -> Callable[[Function], Metric]:
    """Decorator: the function becomes a `Metric` of its own name, found by `metric(name)`.

    Args:
        larger_is_better, needs, is_differentiable: as in `Metric`.
    """

    def registered(function: Function) -> Metric:
        name = cast(Any, function).__name__
        if name in METRICS:
            raise TypeError(f"a metric named {name} is registered already")
        METRICS[name] = Metric(name, larger_is_better, function, frozenset(needs), is_differentiable)
        return METRICS[name]

    return registered


def metric(name: str) -> Metric:
    """The registered metric of that name.

    Raises:
        DiscoveryError: there is none.

    >>> metric("kl_divergence").larger_is_better
    False
    """
    if name not in METRICS:
        close = difflib.get_close_matches(name, METRICS, n=1)
        raise DiscoveryError(
            f"there is no metric {name!r}",
            expected=tuple(sorted(METRICS)),
            found=name,
            hint=f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(METRICS))}",
        )
    return METRICS[name]


def as_metric(
    given: Metric | str | Callable[..., torch.Tensor],
    *,
    name: str | None = None,
    larger_is_better: bool | None = None,
    needs: Iterable[Need] = (),
    is_differentiable: bool = True,
) -> Metric:
    """A metric from its name, from a metric (itself), or from any callable.

    Args:
        given: a callable takes (logits [b, k, V], batch) or (logits, batch, original) and returns [b].
        name: of a callable, if not its own.
        larger_is_better: direction of a callable; it must be stated.
        needs, is_differentiable: of a callable, as in `Metric`.

    Raises:
        DiscoveryError: no such name, no direction, or a callable that takes something else.

    >>> first = as_metric(lambda logits, batch: logits[:, 0, 0], name="first", larger_is_better=True)
    >>> first.name, as_metric("accuracy").name
    ('first', 'accuracy')
    """
    if isinstance(given, Metric):
        return given
    if isinstance(given, str):
        return metric(given)
    label = name or getattr(given, "__name__", type(given).__name__)
    if larger_is_better is None:
        raise DiscoveryError(
            f"metric {label!r} does not say whether larger values are better",
            expected="larger_is_better=True or False",
            found=None,
            hint=f"as_metric(..., name={label!r}, larger_is_better=True)",
        )
    return Metric(label, larger_is_better, _of_three(label, given), frozenset(needs), is_differentiable)


def _of_three(name: str, given: Callable[..., torch.Tensor]) -> Function:
    """The callable with arguments (logits, batch, original)."""
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError):  # not every built-in callable has one
        return given
    for count in (3, 2):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return given if count == 3 else _WithoutOriginal(given)
    raise DiscoveryError(
        f"metric {name!r} takes {signature}",
        expected="(logits, batch) or (logits, batch, original)",
        found=str(signature),
        hint="logits are [b, k, V] at batch.positions, batch is a Task; return one number for each example",
    )


@dataclass(frozen=True)
class _WithoutOriginal:
    """A callable of (logits, batch) that is given, and does not look at, the original logits."""

    given: Callable[..., torch.Tensor]

    def __call__(self, logits: torch.Tensor, batch: Task, original: torch.Tensor | None) -> torch.Tensor:
        return self.given(logits, batch)
