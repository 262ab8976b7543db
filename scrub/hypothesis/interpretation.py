"""`InterpNode` and `Correspondence`: what a hypothesis says, and about which places of the model (SPEC 9.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scrub.graph import HypothesisError
from scrub.hypothesis.samplers import CondSampler, UncondSampler
from scrub.rewrite import IterativeMatcher, restrict
from scrub.rewrite.iterative import IterativeMatcherIn

corr_root_matcher = restrict(True, end_depth=1)
"""Finds the whole model, and nothing below: what the root of an interpretation corresponds to."""


_NAME_OF_OTHERS = re.compile(r"/other(/\d+)?$")


class InterpNode:
    """A claim: to the part of the model that this corresponds to, only what the condition keeps matters.

    Args:
        cond_sampler: given the datum of the parent, draws one that may stand in for it.
        name: unique in the interpretation. Draws depend on it (and on the seed), not on the order of nodes.
        other_inputs_sampler: given the datum of this node, draws what everything below it that no child claims reads.
            Nodes without children need none: all that is below them reads their own datum.

    >>> from scrub.hypothesis import ExactSampler, FuncSampler
    >>> root = InterpNode(ExactSampler(), "loss")
    >>> head = root.make_descendant(FuncSampler("count"), "head 2.0")
    >>> root
    InterpNode 'loss': ExactSampler(), other inputs UncondSampler(pool=None)
      InterpNode 'head 2.0': FuncSampler('count')
    """

    def __init__(
        self, cond_sampler: CondSampler, name: str, *, other_inputs_sampler: CondSampler | None = None
    ) -> None:
        for what, sampler in (("cond_sampler", cond_sampler), ("other_inputs_sampler", other_inputs_sampler)):
            if sampler is not None and not isinstance(sampler, CondSampler):  # pyright: ignore
                raise HypothesisError(
                    f"node {name!r}: {what} is no sampler but {type(sampler).__name__}",
                    expected=CondSampler,
                    found=sampler,
                    hint="ExactSampler() is one; a function of a dataset goes into FuncSampler(function)",
                )
        if name == "reference" or _NAME_OF_OTHERS.search(name):
            raise HypothesisError(
                f"a node cannot be named {name!r}, that is the name of another draw",
                expected='not "reference", and no "/other" at the end',
                found=name,
                hint="a node 'a' has the draws 'a' and 'a/other'; 'reference' is what the root is given",
            )
        self.cond_sampler = cond_sampler
        self.name = name
        self.other_inputs_sampler = UncondSampler() if other_inputs_sampler is None else other_inputs_sampler
        self.parent: InterpNode | None = None
        self._children: list[InterpNode] = []

    @property
    def children(self) -> tuple[InterpNode, ...]:
        """In the order in which they were made."""
        return tuple(self._children)

    @property
    def is_leaf(self) -> bool:
        """Whether all that is below it reads its datum."""
        return not self._children

    def make_descendant(
        self, cond_sampler: CondSampler, name: str, *, other_inputs_sampler: CondSampler | None = None
    ) -> InterpNode:
        """A new child."""
        child = InterpNode(cond_sampler, name, other_inputs_sampler=other_inputs_sampler)
        if any(node.name == name for node in self.root.walk()):
            raise HypothesisError(
                f"there is a node {name!r} already", found=name, hint="names tell nodes and their draws apart"
            )
        child.parent = self
        self._children.append(child)
        return child

    @property
    def root(self) -> InterpNode:
        """The topmost node of the interpretation."""
        node: InterpNode = self
        while node.parent is not None:
            node = node.parent
        return node

    def walk(self) -> Iterator[InterpNode]:
        """This node and all below, depth first, left to right."""
        stack: list[InterpNode] = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node._children))

    @property
    def depth(self) -> int:
        """How many nodes are above it."""
        return 0 if self.parent is None else sum(1 for _ in self.above())

    def above(self) -> Iterator[InterpNode]:
        """The nodes above it, the parent first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def __repr__(self) -> str:
        lines: list[str] = []
        for node in self.walk():
            others = "" if node.is_leaf else f", other inputs {node.other_inputs_sampler!r}"
            indent = "  " * (node.depth - self.depth)
            lines.append(f"{indent}InterpNode {node.name!r}: {node.cond_sampler!r}{others}")
        return "\n".join(lines)


class Correspondence:
    """Which paths of the model each node of an interpretation is about.

    A matcher finds places, on the paths on which it finds them: "head 2.0 straight into the final norm" is another
    place than head 2.0 as head 3.1 reads it.

    >>> from scrub.hypothesis import ExactSampler
    >>> root = InterpNode(ExactSampler(), "loss")
    >>> corr = Correspondence()
    >>> corr.add(root, corr_root_matcher)
    >>> corr.add(root.make_descendant(ExactSampler(), "head"), IterativeMatcher("a1.h0"))
    >>> corr
    'loss' <- new_traversal(end_depth=1)
    'head' <- IterativeMatcher('a1.h0')
    """

    def __init__(self) -> None:
        self._matchers: dict[InterpNode, IterativeMatcher] = {}

    def add(self, node: InterpNode, matcher: IterativeMatcherIn) -> None:
        """Say which places a node is about. Several matchers for one node: combine them with `|`."""
        if node in self._matchers:
            raise HypothesisError(
                f"node {node.name!r} has a matcher already: {self._matchers[node]!r}",
                found=matcher,
                hint="a | b finds what either finds",
            )
        self._matchers[node] = IterativeMatcher(matcher)

    def __getitem__(self, node: InterpNode) -> IterativeMatcher:
        return self._matchers[node]

    def __contains__(self, node: InterpNode) -> bool:
        return node in self._matchers

    @property
    def root(self) -> InterpNode:
        """The root of the interpretation.

        Raises:
            HypothesisError: there is none, or nodes of several interpretations were added.
        """
        roots = list(dict.fromkeys(node.root for node in self._matchers))
        if len(roots) != 1:
            raise HypothesisError(
                f"a correspondence is about one interpretation, this one has nodes of {len(roots)}",
                expected=1,
                found=[root.name for root in roots],
                hint="add a root with corr.add(root, corr_root_matcher), and make all others with make_descendant",
            )
        return roots[0]

    @property
    def nodes(self) -> tuple[InterpNode, ...]:
        """All nodes, depth first, left to right.

        Raises:
            HypothesisError: one of them has no matcher.
        """
        nodes = tuple(self.root.walk())
        missing = [node.name for node in nodes if node not in self._matchers]
        if missing:
            raise HypothesisError(
                f"node {missing[0]!r} corresponds to nothing",
                expected=[node.name for node in nodes],
                found=missing,
                hint=f"corr.add(node, matcher) for {', '.join(map(repr, missing[:5]))}",
            )
        return nodes

    def __repr__(self) -> str:
        return "\n".join(f"{node.name!r} <- {matcher!r}" for node, matcher in self._matchers.items())
