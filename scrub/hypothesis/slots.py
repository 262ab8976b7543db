"""Slots: the draws that parts of the model read, and how each comes from another (SPEC 9.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import torch

from scrub.graph import HypothesisError
from scrub.hypothesis.hypothesis import Hypothesis
from scrub.hypothesis.interpretation import InterpNode
from scrub.hypothesis.samplers import CondSampler, ExactSampler
from scrub.hypothesis.source import Source
from scrub.hypothesis.streams import Stream


class Slot(NamedTuple):
    """One draw for each reference.

    Attributes:
        node: name of the node of the interpretation.
        kind: "reference"; "drawn", the node's own datum; "other", what the unclaimed below the node reads.
        term: which of its unclaimed terms, counted from 1, where these draw separately; else 0.
    """

    node: str
    kind: Literal["reference", "drawn", "other"]
    term: int = 0

    @property
    def label(self) -> str:
        """How results, and draws that are supplied, name it: "head", "head/other", "head/other/2"."""
        parts = [self.node] if self.kind != "other" else [self.node, "other"]
        return "/".join(parts if not self.term else [*parts, str(self.term)])


REFERENCE = Slot("reference", "reference")


class Draw(NamedTuple):
    """How a slot is drawn: by a sampler, given the rows of another slot."""

    sampler: CondSampler
    given: Slot


class Slots:
    """The slots of a hypothesis.

    Attributes:
        draws: how each is drawn; what comes first is given to what comes later. Slots that are the same as another by
            definition (exact samplers) are not among them.
    """

    def __init__(self, hypothesis: Hypothesis) -> None:
        self.hypothesis = hypothesis
        self.draws: dict[Slot, Draw] = {}
        self._same: dict[Slot, Slot] = {REFERENCE: REFERENCE}
        self._by_name: dict[str, InterpNode] = {}
        for node in hypothesis.nodes:
            given = REFERENCE if node.parent is None else self._same[Slot(node.parent.name, "drawn")]
            if hypothesis.handed_down == "original":
                given = REFERENCE
            self._by_name[node.name] = node
            self._add(Slot(node.name, "drawn"), Draw(node.cond_sampler, given))

    def read_below(self, node: InterpNode, term: int = 0) -> Slot:
        """The slot that inputs below a node read where no child claims them."""
        if node.is_leaf:
            return self._same[Slot(node.name, "drawn")]
        if self.hypothesis.unimportant == "shared":
            node = self.hypothesis.root
        slot = Slot(node.name, "other", term if self.hypothesis.unimportant == "term" else 0)
        if slot not in self._same:
            self._add(slot, Draw(node.other_inputs_sampler, self._same[Slot(node.name, "drawn")]))
        return self._same[slot]

    def drawn(self, node: str) -> Slot:
        """The slot of a node's own datum."""
        return self._same[Slot(node, "drawn")]

    def _add(self, slot: Slot, draw: Draw) -> None:
        if type(draw.sampler) is ExactSampler:
            self._same[slot] = draw.given
        else:
            self._same[slot] = slot
            self.draws[slot] = draw

    def needed(self, read: Iterable[Slot]) -> list[Slot]:
        """Those that are read and those that these are given, in an order in which they can be drawn."""
        wanted: set[Slot] = set()
        waiting = list(read)
        while waiting:
            slot = waiting.pop()
            if slot not in wanted and slot != REFERENCE:
                wanted.add(slot)
                waiting.append(self.draws[slot].given)
        made = [slot for slot in self.draws if slot in wanted]
        return sorted(made, key=self._depth)  # which keeps the order of those of equal depth

    def _depth(self, slot: Slot) -> int:
        return 2 * self._by_name[slot.node].depth + (slot.kind == "other")

    def draw(
        self,
        read: Iterable[Slot],
        source: Source,
        references: torch.Tensor,
        *,
        seed: int,
        start: int,
        supplied: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[Slot, torch.Tensor]:
        """The rows of every slot that is needed, for the references numbered from `start` on.

        Args:
            read: slots that the model reads.
            source: what samplers draw from.
            references: rows, int64 [n].
            seed: of the streams.
            start: number of the first reference.
            supplied: rows for slots by label, in place of draws; for all references of the run.
        """
        n = len(references)
        rows = {REFERENCE: references}
        for slot in self.needed(read):
            given = (supplied or {}).get(slot.label)
            if given is not None:
                rows[slot] = given[start : start + n]
                continue
            sampler, of = self.draws[slot]
            drawn = sampler.draw(rows[of], source, Stream(seed, slot.label, start, start + n))
            rows[slot] = _checked(drawn, n, sampler, slot, source)
        return rows


def _checked(rows: torch.Tensor, n: int, sampler: CondSampler, slot: Slot, source: Source) -> torch.Tensor:
    """Rows as a sampler of anybody's gave them, if they are rows."""
    limit = source.data.num_rows
    is_fine = isinstance(rows, torch.Tensor) and rows.shape == (n,) and rows.dtype == torch.int64  # pyright: ignore
    if is_fine and (not n or (int(rows.min()) >= 0 and int(rows.max()) < limit)):
        return rows
    raise HypothesisError(
        f"{slot.label!r}: {sampler!r} gave no rows of the dataset",
        expected=f"int64 [{n}], 0 to {limit - 1}",
        found=rows,
        hint="draw(given, source, stream) returns one row number of source.data for each given row",
    )
