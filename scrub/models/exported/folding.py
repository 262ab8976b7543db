"""What of a traced graph must be lowered: what the outputs depend on, less what depends on nothing that is open.

Positions, rotary tables and masks are computed here, once, with torch itself; so is what needs no more than the shape
of an argument. Weights are left open, so that the expression shows everything that the state dict holds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node, map_arg

from scrub.graph import CheckpointError
from scrub.models.exported.registry import ATEN, operator_name
from scrub.models.exported.tracing import Traced, is_getitem

_LIKE = ("full_like", "zeros_like", "ones_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty")
SHAPE_ONLY = frozenset(f"aten.{name}.default" for name in (*_LIKE, "new_empty_strided"))
"""Operators that use nothing of their first argument but its shape, dtype and device."""

_EMPTY = ("empty.memory_format", "empty_permuted.default", "empty_strided.default", "empty_like.default")
_UNINITIALISED = frozenset(f"aten.{name}" for name in (*_EMPTY, "new_empty.default", "new_empty_strided.default"))


@dataclass(frozen=True)
class Folded:
    """A traced graph, sorted.

    Attributes:
        live: nodes to lower, in order.
        known: node -> value, of placeholders and nodes that depend on nothing open.
    """

    live: list[Node]
    known: dict[Node, Any]


def fold(traced: Traced) -> Folded:
    """Compute what is known, leave out what is not needed.

    Raises:
        CheckpointError: lists all operators that are not registered.
    """
    needed = _needed(traced)
    known = dict(traced.known)
    live: list[Node] = []
    unknown: list[Node] = []
    for node in traced.nodes:
        if node not in needed:
            continue
        if node.op != "call_function":
            continue  # the graph of a branch or a loop: the operator that runs it is not known
        name = operator_name(node.target)
        if name not in ATEN and _is_random(node):
            unknown.append(node)
        elif name in SHAPE_ONLY and all(arg in known for arg in node.all_input_nodes[1:]):
            known[node] = _computed(node, known, stand_in=node.all_input_nodes[0])
        elif all(arg in known for arg in node.all_input_nodes):
            known[node] = _computed(node, known)
        else:
            live.append(node)
            if not is_getitem(node) and name not in ATEN:
                unknown.append(node)
    if unknown:
        raise _unknown_operators(unknown)
    return Folded(live, known)


def path_of(node: Node) -> str:
    """Qualified name of the submodule in whose forward a node was called."""
    stack: dict[Any, tuple[Any, Any]] = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def _needed(traced: Traced) -> set[Node]:
    needed: set[Node] = set()
    stack = list(traced.outputs.values())
    while stack:
        node = stack.pop()
        if node not in needed:
            needed.add(node)
            stack.extend(node.all_input_nodes)
    return needed


def _is_random(node: Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _computed(node: Node, known: dict[Node, Any], stand_in: Node | None = None) -> Any:
    def value_of(arg: Node) -> Any:
        if arg is not stand_in or arg in known:
            return known[arg]
        like = arg.meta["val"]
        return torch.empty((), dtype=like.dtype, device=like.device).expand(like.shape)

    args, kwargs = map_arg((node.args, node.kwargs), value_of)
    target: Any = node.target
    with torch.no_grad():
        value: Any = target(*args, **kwargs)
    if operator_name(node.target) in _UNINITIALISED:
        value.zero_()
    return value


def _unknown_operators(nodes: list[Node]) -> CheckpointError:
    counts = Counter(operator_name(node.target) for node in nodes)
    lines: list[str] = []
    for name, count in counts.most_common():
        places = list(
            dict.fromkeys(path_of(node) or "the module itself" for node in nodes if operator_name(node.target) == name)
        )
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        lines.append(f"\n    {name}, {count} times, in {', '.join(places[:3])}{more}{_why(name)}")
    first = next((name for name in counts if name.startswith("aten.")), next(iter(counts)))
    return CheckpointError(
        f"{len(counts)} operators of this module are not known:" + "".join(lines),
        expected=sorted(ATEN),
        found=dict(counts),
        hint=f'register each: @scrub.models.exported.aten("{first}") above a function of a Call and the operator\'s '
        "arguments that returns an expression (docs/exported.md)",
    )


def _why(name: str) -> str:
    if name.startswith("higher_order."):
        return " (control flow, or a function of a function: an expression has none)"
    if (
        name.startswith("aten.")
        and name not in ATEN
        and ("rand" in name or "bernoulli" in name or "multinomial" in name)
    ):
        return " (draws random numbers: pass them in as an argument)"
    return ""
