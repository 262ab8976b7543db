"""The calls of submodules in a traced graph: what each one contains, takes and gives.

A call is executed as a whole, so its nodes follow each other in the graph; they carry the stack of calls they belong
to. A *region* is such a run of nodes. Its parameters are the values from outside that it uses, and the weights. What is
known (a mask, a table of positions) is no parameter: it stands in the body, which layers share that agree on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch.fx import Node

from scrub.models.exported.folding import Folded
from scrub.models.exported.tracing import RETURNED, Traced

Key = tuple[str, ...]
Keep = Callable[[str], bool]


@dataclass(eq=False)
class Region:
    """A call of a submodule.

    Attributes:
        key: tells calls apart: the calls around it and itself, as the graph calls them.
        path, kind: of the submodule: its qualified name and its class.
        level: how many calls around it are of the same class.
        items: its nodes and the calls in it, in order.
        inputs, outputs: values that cross its border, in the order of first use and of computation.
        weights: placeholders of weights that are used in it.
    """

    key: Key
    path: str
    kind: str
    level: int = 0
    items: list[Node | Region] = field(default_factory=list["Node | Region"])
    inputs: dict[Node, None] = field(default_factory=dict[Node, None])
    outputs: dict[Node, None] = field(default_factory=dict[Node, None])
    weights: dict[Node, None] = field(default_factory=dict[Node, None])


@dataclass(frozen=True)
class Regions:
    """All calls of a graph.

    Attributes:
        innermost_first: every region after those in it; the last one is the whole graph.
        names: key of a call -> value -> what the call's code calls it; of results under the key and `RETURNED`.
        known: value that is known -> what some call's code calls it, or what it was made of.
    """

    innermost_first: list[Region]
    names: dict[Key, dict[Node, str]]
    known: dict[Node, str]


def find_regions(traced: Traced, folded: Folded, keep: Keep) -> Regions:
    """The calls for whose submodules `keep(path)` holds, with what they take and give."""
    chains, done = _nested(folded.live, keep)
    for node in folded.live:
        chain = chains[node]
        for arg in node.all_input_nodes:
            if arg in traced.weights:
                _add(arg, "weights", chain[1:])
            elif arg in traced.inputs:
                _add(arg, "inputs", chain[1:])
            elif arg not in folded.known:
                home = chains[arg]
                shared = sum(a is b for a, b in zip(home, chain, strict=False))
                _add(arg, "inputs", chain[shared:])
                _add(arg, "outputs", home[shared:])
    for node in traced.outputs.values():
        if node in chains:
            _add(node, "outputs", chains[node][1:])
    return Regions(done, _names(traced, keep), _known_names(traced, folded))


def stack_of(node: Node) -> list[tuple[str, str, str]]:
    """The calls that a node belongs to, outermost first: (name of the call, path, class)."""
    stack: dict[Any, tuple[Any, Any]] = node.meta.get("nn_module_stack") or {}
    return [(str(key), str(path), str(kind)) for key, (path, kind) in stack.items()]


def _nested(live: list[Node], keep: Keep) -> tuple[dict[Node, tuple[Region, ...]], list[Region]]:
    """The regions around each node, outermost first; and all regions, innermost first."""
    root = Region((), "", "")
    around = [root]
    done: list[Region] = []
    chains: dict[Node, tuple[Region, ...]] = {}
    for node in live:
        stack = [call for call in stack_of(node) if call[1] and keep(call[1])] if stack_of(node) else None
        if stack is not None:
            shared = 0
            while shared < min(len(stack), len(around) - 1) and around[shared + 1].key[-1] == stack[shared][0]:
                shared += 1
            while len(around) > shared + 1:
                done.append(around.pop())
            for key, path, kind in stack[shared:]:
                level = sum(outer.kind == kind for outer in around)
                region = Region((*around[-1].key, key), path, kind, level)
                around[-1].items.append(region)
                around.append(region)
        around[-1].items.append(node)
        chains[node] = tuple(around)
    return chains, [*done, *reversed(around)]


def _add(node: Node, what: str, regions: tuple[Region, ...]) -> None:
    for region in regions:
        getattr(region, what)[node] = None


def _names(traced: Traced, keep: Keep) -> dict[Key, dict[Node, str]]:
    names: dict[Key, dict[Node, str]] = {}
    for mark in traced.marks:
        value, path, name = mark.args
        if not isinstance(value, Node) or not keep(str(path)):
            continue
        key = tuple(call[0] for call in stack_of(mark) if call[1] and keep(call[1]))
        own = names.setdefault((*key, str(name)[:1]) if str(name).startswith(RETURNED) else key, {})
        own.setdefault(value, str(name).removeprefix(RETURNED))
    return names


def _known_names(traced: Traced, folded: Folded) -> dict[Node, str]:
    """Masks and the like are called as the first submodule that takes them does; what is made of one alone likewise."""
    names: dict[Node, str] = {}
    for mark in traced.marks:
        value, _, name = mark.args
        if isinstance(value, Node) and value in folded.known and not str(name).startswith(RETURNED):
            names.setdefault(value, str(name))
    for node in traced.nodes:
        sources = node.all_input_nodes
        if node in folded.known and node not in names and len(sources) == 1 and sources[0] in names:
            names[node] = names[sources[0]]
    return names
