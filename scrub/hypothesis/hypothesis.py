"""`Hypothesis`: an interpretation, its correspondence, and the two choices that causal scrubbing leaves open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from scrub.graph import HypothesisError
from scrub.hypothesis.interpretation import Correspondence, InterpNode
from scrub.rewrite import IterativeMatcher

Unimportant = Literal["node", "term", "shared"]
HandedDown = Literal["drawn", "original"]


@dataclass(frozen=True)
class Hypothesis:
    """What is tested.

    Attributes:
        correspondence: its nodes and their places.
        name: for tables.
        unimportant: what shares a draw among what no child claims. "node" (the algorithm): all that is below one node
            shares one, and different nodes draw separately. "term": every unclaimed argument of something that leads
            to a claimed place draws by itself, and so does a claimed place of a node with children below which none
            claims; the same argument at the same place is one term, on whatever paths it is come to. "shared": one
            draw for all nodes, that of the root.
        handed_down: the datum that a child's condition is about. "drawn" (the algorithm): the one newly drawn for its
            parent. "original": the reference.

    Source: Chan et al. 2022, "Causal Scrubbing", on both choices.

    >>> from scrub.hypothesis import ExactSampler, InterpNode, corr_root_matcher
    >>> corr = Correspondence()
    >>> corr.add(InterpNode(ExactSampler(), "loss"), corr_root_matcher)
    >>> Hypothesis(corr, name="0a").replace(unimportant="term").unimportant
    'term'
    """

    correspondence: Correspondence
    name: str = "hypothesis"
    unimportant: Unimportant = "node"
    handed_down: HandedDown = "drawn"

    def __post_init__(self) -> None:
        for what, value, allowed in (
            ("unimportant", self.unimportant, ("node", "term", "shared")),
            ("handed_down", self.handed_down, ("drawn", "original")),
        ):
            if value not in allowed:
                raise HypothesisError(
                    f"{what}={value!r} is no choice", expected=allowed, found=value, hint=f"one of {allowed}"
                )

    @property
    def root(self) -> InterpNode:
        """The root of the interpretation."""
        return self.correspondence.root

    @property
    def nodes(self) -> tuple[InterpNode, ...]:
        """All nodes, depth first, left to right."""
        return self.correspondence.nodes

    def matcher(self, node: InterpNode) -> IterativeMatcher:
        """Which places a node is about."""
        return self.correspondence[node]

    def replace(
        self,
        *,
        name: str | None = None,
        unimportant: Unimportant | None = None,
        handed_down: HandedDown | None = None,
    ) -> Hypothesis:
        """The same with other choices."""
        return replace(
            self,
            name=self.name if name is None else name,
            unimportant=self.unimportant if unimportant is None else unimportant,
            handed_down=self.handed_down if handed_down is None else handed_down,
        )
