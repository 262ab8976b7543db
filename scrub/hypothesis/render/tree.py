"""An experiment as a tree: what each node of the hypothesis claims, and the data drawn for one reference (SPEC 9).

    [0] the reference: x=3, y=5
    'sum' ExactSampler() [0] x=3, y=5  # the whole model
      other inputs UncondSampler(pool=None) [1] x=7, y=0  # y
      'left' FuncSampler('parity') [2] x=9, y=2  # 1 place: sum > left

Each draw has a number and, if the model reads it, a color: that of the parts of the model that read it and no other.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from scrub.graph import Expr
from scrub.graph.text import Piece, shows_color, to_text
from scrub.graph.text.render import ansi_text, html_text
from scrub.hypothesis.checks import path_text
from scrub.hypothesis.interpretation import InterpNode
from scrub.hypothesis.render.data import MAX_DATUM, Datum, decoded, inputs_text, printable, shortened
from scrub.hypothesis.render.nodes import SOFT, Drawn, ShownNode, inputs_of, places_text, terminal_color
from scrub.hypothesis.render.reads import Reads, draws_read
from scrub.hypothesis.samplers import ExactSampler
from scrub.hypothesis.slots import REFERENCE, Slot

if TYPE_CHECKING:
    from scrub.hypothesis.experiment import Experiment

_MOST_OTHERS, _MOST_MARKS, _MAX_SAMPLER = 6, 6, 60


def experiment_tree(
    experiment: Experiment, *, seed: int = 0, reference: int = 0, datum: Datum | None = None
) -> ExperimentTree:
    """The hypothesis of an experiment with the data drawn for one reference; `print(tree)`, or in color `tree.print()`.

    Args:
        experiment: see `Experiment`.
        seed: of the draws; those of `experiment.run(n, seed=seed)`.
        reference: number of the reference in that run, from 0.
        datum: how a row is shown, from a dataset of one row; its inputs, shortened, unless given. `decoded("tokens",
            tokenizer)` shows text.

    >>> import torch
    >>> from scrub.graph import Symbol
    >>> from scrub.hypothesis import Correspondence, Dataset, Experiment, FuncSampler, corr_root_matcher
    >>> x, y = (Symbol.new_from_name((), name) for name in "xy")
    >>> root, corr = InterpNode(ExactSampler(), "sum"), Correspondence()
    >>> corr.add(root, corr_root_matcher)
    >>> corr.add(root.make_descendant(FuncSampler("z", few=1), "left"), "product")
    >>> data = Dataset({"x": torch.arange(4.0), "y": torch.arange(4.0), "z": torch.arange(4) % 2}, inputs=["x", "y"])
    >>> model = x.mul(y, name="product").add(x, name="sum")
    >>> print(experiment_tree(Experiment(model, data, corr)))
    hypothesis 'hypothesis', unimportant='node', handed_down='drawn'; reference 0 of seed 0
    [0] the reference: x=0, y=0
    'sum' ExactSampler() [0] x=0, y=0  # the whole model
      other inputs UncondSampler(pool=None) [1] x=1, y=1  # x
      'left' FuncSampler('z') [2] x=2, y=2  # 1 place: sum > product
    """
    return ExperimentTree(experiment, seed=seed, reference=reference, datum=datum or inputs_text)


class ExperimentTree:
    """What `experiment_tree` gives. It prints as text; in a notebook it shows itself in color.

    Attributes:
        experiment, seed, reference: what it is of.
        draws: all that were made, in order of first use; the reference is the first.
        nodes: of the interpretation, depth first.
    """

    def __init__(self, experiment: Experiment, *, seed: int, reference: int, datum: Datum) -> None:
        self.experiment, self.seed, self.reference = experiment, seed, reference
        self._datum = datum
        scrubbed = experiment.scrubbed
        self._inputs = inputs_of(scrubbed)
        slots = [REFERENCE]
        for node in experiment.hypothesis.nodes:
            slots += [scrubbed.slots.drawn(node.name), *self._others(node)]
        rows = experiment.draw(experiment.references(reference, reference + 1, seed=seed), seed=seed, start=reference)
        made = [slot for slot in dict.fromkeys([*slots, *rows]) if slot in rows]
        numbers = {slot: number for number, slot in enumerate(made)}
        self._drawn: dict[Slot, Drawn] = {}
        for slot in made:
            self._drawn[slot] = self._made(slot, int(rows[slot][0]), numbers)
        self.draws = tuple(self._drawn.values())
        self.nodes = self._shown_nodes()

    def _made(self, slot: Slot, row: int, numbers: Mapping[Slot, int]) -> Drawn:
        draw = self.experiment.scrubbed.slots.draws.get(slot)
        how = None if draw is None else (shortened(repr(draw.sampler), _MAX_SAMPLER), numbers[draw.given])
        text = printable(self._datum(self.experiment.source.data.take([row])))
        inputs = self._inputs.get(slot, ())
        shade = sum(drawn.shade is not None for drawn in self._drawn.values()) if inputs else None
        return Drawn(numbers[slot], slot, how, row, text, inputs, shade)

    def _others(self, node: InterpNode) -> list[Slot]:
        """The draws that unclaimed inputs of a node read."""
        is_roots = self.experiment.hypothesis.unimportant == "shared" and node.parent is not None
        if node.is_leaf or is_roots:
            return []
        if isinstance(node.other_inputs_sampler, ExactSampler):
            own = self.experiment.scrubbed.slots.drawn(node.name)
            return [own] if own in self._inputs else []
        found = [slot for slot in self._inputs if slot.kind == "other" and slot.node == node.name]
        return sorted(found, key=lambda slot: slot.term)

    def _shown_nodes(self) -> tuple[ShownNode, ...]:
        claims, slots = self.experiment.scrubbed.claims, self.experiment.scrubbed.slots
        first: dict[int, str] = {}
        for position, step in claims.steps.items():
            for i in step.claimed:
                if i not in first:
                    first[i] = printable(path_text(claims, position))
        depth: dict[InterpNode | None, int] = {None: -1}
        shown: list[ShownNode] = []
        for i, node in enumerate(claims.nodes):
            depth[node] = depth[node.parent] + 1
            condition = shortened(repr(node.cond_sampler), _MAX_SAMPLER)
            others = tuple([self._drawn[slot] for slot in self._others(node)])
            own = self._drawn.get(slots.drawn(node.name))
            shown.append(ShownNode(node, depth[node], condition, claims.counts[i], first[i], own, others))
        return tuple(shown)

    # ---- the interpretation --------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """The hypothesis, its choices, and which reference is shown."""
        hypothesis = self.experiment.hypothesis
        choices = f"unimportant={hypothesis.unimportant!r}, handed_down={hypothesis.handed_down!r}"
        return f"hypothesis {hypothesis.name!r}, {choices}; reference {self.reference} of seed {self.seed}"

    def rows(self) -> list[list[Piece]]:
        """The lines of the interpretation, in pieces with their colors."""
        first = self.draws[0]
        lines = [[Piece(self.title)], [*self._pieces(first, f"{first.mark} the reference: ")]]
        for shown in self.nodes:
            indent = "  " * shown.depth
            line = [Piece(f"{indent}{shown.node.name!r} {shown.condition} "), *self._pieces(shown.own)]
            lines.append([*line, Piece(f"  # {places_text(shown)}", SOFT)])
            for drawn in shown.others[:_MOST_OTHERS]:
                lines.append([Piece(f"{indent}  {self.others_text(shown.node, drawn)} "), *self._pieces(drawn)])
                lines[-1].append(Piece(f"  # {', '.join(drawn.inputs)}", SOFT))
            if len(shown.others) > _MOST_OTHERS:
                lines.append([Piece(f"{indent}  … {len(shown.others) - _MOST_OTHERS} more terms", SOFT)])
        return lines

    def others_text(self, node: InterpNode, drawn: Drawn) -> str:
        """What a draw for unclaimed inputs of a node is, and how it is drawn."""
        of_all = " of all nodes" if self.experiment.hypothesis.unimportant == "shared" else ""
        term = f" of term {drawn.slot.term}" if drawn.slot.term else ""
        return f"other inputs{of_all}{term} {shortened(repr(node.other_inputs_sampler), _MAX_SAMPLER)}"

    def _pieces(self, drawn: Drawn | None, mark: str | None = None) -> list[Piece]:
        if drawn is None:
            return [Piece("not drawn: nothing depends on it", SOFT)]
        return [Piece((mark or f"{drawn.mark} ") + shortened(drawn.datum, MAX_DATUM), terminal_color(drawn))]

    def to_text(self, *, color: bool = False) -> str:
        """The interpretation as text, with terminal color codes if `color`."""
        plain = [[Piece(piece.text) for piece in row] for row in self.rows()]
        return "\n".join([ansi_text(row) for row in (self.rows() if color else plain)])

    def print(self, *, color: bool | None = None) -> None:
        """Print the interpretation; in color on terminals and in notebooks if `color` is None."""
        sys.stdout.write(self.to_text(color=shows_color() if color is None else color) + "\n")

    def __repr__(self) -> str:
        return self.to_text()

    def to_html(self) -> str:
        """The same as `print` shows, in color, as a piece of HTML."""
        return html_text(self.rows())

    _repr_html_ = to_html

    # ---- the model -----------------------------------------------------------------------------------------------

    @cached_property
    def _found(self) -> Reads:
        scrubbed = self.experiment.scrubbed
        sources = {symbol: 1 << self._drawn[read.slot].number for symbol, read in scrubbed.reads.items()}
        return draws_read(scrubbed.expr, sources)

    @cached_property
    def reads(self) -> dict[Expr, tuple[Drawn, ...]]:
        """For each node of the scrubbed model the draws that its value depends on; in a module's body, on any call."""
        bits_of = self._found.bits
        unpacked = {bits: tuple([d for d in self.draws if bits >> d.number & 1]) for bits in set(bits_of.values())}
        return {node: unpacked[bits] for node, bits in bits_of.items()}

    def is_mixed(self, node: Expr) -> bool:
        """Whether a node of the scrubbed model reads several draws, and the same ones wherever it is called from."""
        return len(self.reads[node]) > 1 and node not in self._found.varying

    def marks(self, node: Expr) -> str | None:
        """The numbers of the draws that a node of the scrubbed model reads; None if none. A commenter for printing."""
        draws = self.reads[node]
        more = [f"… {len(draws)} draws"] if len(draws) > _MOST_MARKS else []
        by_call = ["by call:"] if node in self._found.varying else []
        return " ".join([*by_call, *(drawn.mark for drawn in draws[: _MOST_MARKS - len(more)]), *more]) or None

    def color(self, node: Expr) -> str | None:
        """The color of the only draw that a node of the scrubbed model reads. A colorer for printing."""
        draws = self.reads[node]
        if not draws:
            return SOFT
        return terminal_color(draws[0]) if len(draws) == 1 and node not in self._found.varying else None

    def model_text(self, *, max_depth: int | None = None, whole: bool = False, color: bool = False) -> str:
        """The scrubbed model as text: each part in the color of the draw it reads, and with the marks of all.

        In the body of a module that is called with different draws, the marks are those of all calls.

        Args:
            max_depth: deepest level that is shown.
            whole: also what is below parts that read one draw or none, or that differ from call to call.
            color: whether to write terminal color codes.
        """
        return to_text(
            self.experiment.scrubbed.expr,
            max_depth=max_depth,
            descend=None if whole else self.is_mixed,
            colorer=self.color,
            commenters=self.marks,
            color=color,
        )

    def print_model(self, *, max_depth: int | None = None, whole: bool = False, color: bool | None = None) -> None:
        """Print `model_text`; in color on terminals and in notebooks if `color` is None."""
        color = shows_color() if color is None else color
        sys.stdout.write(self.model_text(max_depth=max_depth, whole=whole, color=color) + "\n")


__all__ = ["Drawn", "ExperimentTree", "ShownNode", "decoded", "experiment_tree", "inputs_text"]
