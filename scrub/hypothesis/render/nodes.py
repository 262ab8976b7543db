"""What an experiment's tree consists of: the draws made for one reference, and the nodes they were made for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scrub.hypothesis.interpretation import InterpNode
from scrub.hypothesis.render.data import printable, shortened
from scrub.hypothesis.slots import Slot

if TYPE_CHECKING:
    from scrub.hypothesis.scrubbed import Scrubbed

COLORS = ("blue", "yellow", "purple", "green", "cyan", "red")
"""Of draws on terminals, in order; the seventh draw has the first one's color again, and a number of its own."""
SOFT = "lightgrey"
_MAX_PATH = 160


class Drawn(NamedTuple):
    """One draw, made for one reference.

    Attributes:
        number: what marks it.
        slot: of which draw; its `label` is the name under which draws are supplied.
        how: the sampler, and the number of the draw it was given; None for the reference.
        row: of the experiment's `source.data`.
        datum: that row, as it is shown.
        inputs: names of the inputs of the model that read it; none if only other draws depend on it.
        shade: number of its color; None if no input reads it.
    """

    number: int
    slot: Slot
    how: tuple[str, int] | None
    row: int
    datum: str
    inputs: tuple[str, ...]
    shade: int | None

    @property
    def mark(self) -> str:
        """What stands for it."""
        return f"[{self.number}]"


class ShownNode(NamedTuple):
    """A node of the interpretation, with what was drawn for it.

    Attributes:
        node, depth: the node, and how many are above it.
        condition: its sampler.
        num_places: at how many places of the model it claims a part.
        path: to one of them, by the names on it.
        own: its datum; None if nothing depends on it.
        others: what is read below it where no child claims it; empty if nothing is, or if all nodes share the root's.
    """

    node: InterpNode
    depth: int
    condition: str
    num_places: int
    path: str
    own: Drawn | None
    others: tuple[Drawn, ...]


def terminal_color(drawn: Drawn) -> str:
    """Name of the color of a draw."""
    return SOFT if drawn.shade is None else COLORS[drawn.shade % len(COLORS)]


def inputs_of(scrubbed: Scrubbed) -> dict[Slot, tuple[str, ...]]:
    """For each draw that is read the names of the inputs that read it."""
    found: dict[Slot, set[str]] = {}
    for read in scrubbed.reads.values():
        found.setdefault(read.slot, set()).add(printable(read.name))
    return {slot: tuple(sorted(names)) for slot, names in found.items()}


def places_text(shown: ShownNode) -> str:
    """Where a node claims parts of the model."""
    if not shown.depth:
        return "the whole model"
    count = f"{shown.num_places} place{'s' * (shown.num_places > 1)}"
    return f"{count}{', such as' * (shown.num_places > 1)}: {shortened(shown.path, _MAX_PATH)}"
