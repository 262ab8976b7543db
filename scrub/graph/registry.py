"""The node types, by name. Registering one is all it takes to print, save, load, match and test it."""

from __future__ import annotations

from typing import TypeVar

from scrub.graph.expr import Expr

N = TypeVar("N", bound=type[Expr])

NODES: dict[str, type[Expr]] = {}


def node(cls: N) -> N:
    """Class decorator that registers a node type under its class name."""
    if cls.__name__ in NODES:
        raise TypeError(f"a node type named {cls.__name__} is registered already")
    NODES[cls.__name__] = cls
    return cls
