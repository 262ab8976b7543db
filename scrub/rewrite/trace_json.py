"""Options of rules and matchers as plain JSON values, and back. Nothing is run to read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from scrub.graph import NODES, Expr, RewriteError
from scrub.rewrite.iterative import IterativeMatcher
from scrub.rewrite.matcher import Matcher, Regex
from scrub.rewrite.names import is_named, is_unnamed
from scrub.rewrite.states import Nodes

_PREDICATES: dict[str, Callable[[Expr], bool]] = {"is_named": is_named, "is_unnamed": is_unnamed}


@dataclass(frozen=True)
class ByDigest:
    """Stands for the expression with this digest, to be found in the one a trace is replayed on."""

    digest: str


def to_plain(value: Any, what: str) -> Any:
    """The value as JSON has it; what JSON does not have is an object with one key that says what it is.

    >>> to_plain((1, slice(0, 2)), "")
    {'tuple': [1, {'slice': [0, 2, None]}]}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        parts: list[Any] = list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        if isinstance(value, set | frozenset):
            parts.sort(key=repr)
        kind = type(value).__name__  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        return {kind: [to_plain(part, what) for part in parts]}
    if isinstance(value, dict):
        items: list[tuple[Any, Any]] = list(value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return {"dict": [[to_plain(key, what), to_plain(item, what)] for key, item in items]}
    if isinstance(value, slice):
        ends: list[Any] = [value.start, value.stop, value.step]
        return {"slice": ends}
    if isinstance(value, Expr | ByDigest):
        return {"expr": value.digest}
    if isinstance(value, torch.Tensor):
        content: Any = value.tolist()  # pyright: ignore[reportUnknownVariableType]
        return {"tensor": [str(value.dtype).removeprefix("torch."), content]}
    if isinstance(value, Regex):
        return {"regex": value.pattern}
    if isinstance(value, IterativeMatcher) and isinstance(value.state, Nodes):
        return to_plain(value.state.key[0], what)
    if isinstance(value, Matcher):
        return {"matcher": [value.rule, [to_plain(part, what) for part in value.parts]]}
    if isinstance(value, type) and value.__name__ in NODES:
        return {"type": value.__name__}
    known = next((name for name, predicate in _PREDICATES.items() if predicate is value), None)
    if known is not None:
        return {"predicate": known}
    raise RewriteError(
        f"{what} cannot be written down: {value!r}",
        found=value,
        hint="names, sets of names, node types, Regex and Matchers of these can, predicates and path matchers cannot",
    )


def from_plain(value: Any) -> Any:
    """What `to_plain` was given; `ValueError` if it does not come from there."""
    if isinstance(value, list):
        raise ValueError(f"an unexpected list: {value!r}")
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()  # pyright: ignore[reportUnknownVariableType]
    readers: dict[str, Callable[[Any], Any]] = {
        "list": lambda parts: [from_plain(part) for part in parts],
        "tuple": lambda parts: tuple(from_plain(part) for part in parts),
        "set": lambda parts: {from_plain(part) for part in parts},
        "frozenset": lambda parts: frozenset(from_plain(part) for part in parts),
        "dict": lambda items: {from_plain(key): from_plain(item) for key, item in items},
        "slice": lambda parts: slice(*parts),
        "expr": ByDigest,
        "tensor": lambda parts: torch.tensor(parts[1], dtype=getattr(torch, parts[0])),
        "regex": Regex,
        "matcher": lambda parts: _matcher(parts[0], [from_plain(part) for part in parts[1]]),
        "type": lambda name: NODES[name],
        "predicate": lambda name: _PREDICATES[name],
    }
    if kind not in readers:
        raise ValueError(f"an unknown kind of value: {kind!r}")
    return readers[kind](content)


def _matcher(rule: str, parts: list[Any]) -> Matcher:
    if rule == "not":
        return ~parts[0]
    result = parts[0] if rule == "all" else Matcher(*parts)
    for part in parts[1:] if rule == "all" else ():
        result = result & part
    return result
