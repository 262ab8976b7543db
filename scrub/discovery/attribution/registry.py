"""The registry of attribution methods, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scrub.graph import DiscoveryError

if TYPE_CHECKING:
    from scrub.discovery.attribution.chunk import Chunk

Function = Callable[["Chunk"], None]
"""Adds the scores of each example of a chunk to `chunk.scores`."""

METHODS: dict[str, Method] = {}
"""Registered methods by name."""


@dataclass(frozen=True, eq=False)
class Method:
    """A way to give every edge, node or neuron a score for each example.

    Attributes:
        name: what it is called.
        function: adds the scores of a chunk of examples.
        has_steps: whether it follows a path, in `steps` steps by a `rule`.
        needs_gradient: whether it takes gradients of the metric.
        not_with: ablation -> why it cannot be had with that one.
        is_exact_where_linear: whether it gives the exact effects in a linear model.
    """

    name: str
    function: Function = field(repr=False)
    has_steps: bool = False
    needs_gradient: bool = True
    not_with: Mapping[str, str] = field(default_factory=dict[str, str])
    is_exact_where_linear: bool = True


def register(
    name: str,
    *,
    has_steps: bool = False,
    needs_gradient: bool = True,
    not_with: Mapping[str, str] | None = None,
    is_exact_where_linear: bool = True,
) -> Callable[[Function], Method]:
    """Decorator: the function becomes a `Method`, found by `method(name)`; arguments as in `Method`."""

    def registered(function: Function) -> Method:
        if name in METHODS:
            raise TypeError(f"an attribution method named {name} is registered already")
        METHODS[name] = Method(name, function, has_steps, needs_gradient, not_with or {}, is_exact_where_linear)
        return METHODS[name]

    return registered


def method(name: str) -> Method:
    """The registered method of that name.

    Raises:
        DiscoveryError: there is none.

    >>> method("EAP-IG-inputs").has_steps
    True
    """
    if name not in METHODS:
        by_lower = {known.lower(): known for known in METHODS}
        close = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
        raise DiscoveryError(
            f"there is no attribution method {name!r}",
            expected=tuple(METHODS),
            found=name,
            hint=f"did you mean {by_lower[close[0]]!r}?" if close else f"there are {', '.join(METHODS)}",
        )
    return METHODS[name]
