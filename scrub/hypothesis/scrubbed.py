"""The model as a hypothesis sees it: every input replaced by the draw that is read there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from scrub.graph import Array, DatasetError, DiscreteVar, Expr, Symbol, postorder
from scrub.graph.rules import uuid_from_name
from scrub.hypothesis.claims import Carried, Claims
from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.hypothesis import Hypothesis
from scrub.hypothesis.slots import Slot, Slots
from scrub.rewrite.places import At, SeenThrough
from scrub.rewrite.update import Update


class Read(NamedTuple):
    """An input that is read: its name, and which draw."""

    name: str
    slot: Slot


@dataclass(frozen=True)
class Scrubbed:
    """A model with one symbol per input and draw in place of its inputs.

    Attributes:
        expr: the model. What reads the same draws is one node, so its size is that of the distinct pairs of
            subexpression and inputs.
        reads: the symbols and what they stand for.
        slots: how the draws come about.
        claims: the places of the hypothesis.
    """

    expr: Expr
    reads: Mapping[Symbol, Read]
    slots: Slots
    claims: Claims

    @property
    def read_slots(self) -> tuple[Slot, ...]:
        """The draws that are read, in order of first visit."""
        return tuple(dict.fromkeys(self.reads[s].slot for s in self.expr.free_symbols if s in self.reads))


def scrub(model: Expr, hypothesis: Hypothesis, data: Dataset) -> Scrubbed:
    """Replace every input of the model by the draw that the hypothesis lets it read.

    Args:
        model: leaves (symbols, arrays or random variables) named like the dataset's inputs stand for one datum's.
        hypothesis: see `Hypothesis`.
        data: rows of the inputs.

    Raises:
        HypothesisError: the hypothesis does not fit the model (SPEC 9.4).
        DatasetError: an input is not in the model, or of another shape or dtype.

    >>> import torch
    >>> from scrub.hypothesis import Correspondence, ExactSampler, InterpNode, corr_root_matcher
    >>> x, y = (Symbol.new_from_name((), name) for name in "xy")
    >>> root, corr = InterpNode(ExactSampler(), "sum"), Correspondence()
    >>> corr.add(root, corr_root_matcher)
    >>> corr.add(root.make_descendant(ExactSampler(), "left"), "x")
    >>> data = Dataset({"x": torch.zeros(2), "y": torch.zeros(2)})
    >>> for symbol, read in scrub(x.add(y, name="sum"), Hypothesis(corr), data).reads.items():
    ...     print(symbol.name, read.slot.label)
    x reference
    y sum/other
    """
    check_inputs(model, data)
    claims = Claims(model, hypothesis, data.inputs)
    slots = Slots(hypothesis)
    reads: dict[Symbol, Read] = {}

    def replace(leaf: Expr, tag: tuple[int, int]) -> Expr:
        owner, term = tag
        read = Read(str(leaf.name), slots.read_below(claims.nodes[owner], term))
        uuid = uuid_from_name(f"{read.name} of {read.slot}")
        symbol = Symbol(leaf.shape, uuid, leaf.name)
        reads[symbol] = read
        return symbol

    routes = _Routes(claims)
    expr = Update(routes, replace).run(model, (claims.start[1], 0))
    return Scrubbed(expr, reads, slots, claims)


State = tuple[Carried, int]
"""What is carried down a path, and the number of the term it is in: 0 above all terms."""


class _Routes(SeenThrough):
    """Walks as the claims do, and finds inputs, tagged with whom they belong to and the term they are in.

    A term is an argument below which nothing is claimed, of something that leads to a claim.
    """

    def __new__(cls, claims: Claims) -> _Routes:
        return object.__new__(cls)

    def __init__(self, claims: Claims) -> None:
        super().__init__()
        self._claims = claims
        self._terms: dict[object, int] = {}

    def root(self, expr: Expr) -> At:
        return self._claims.start[0]

    def below(self, place: At) -> tuple[At, ...]:
        return self._claims.places.below(place)

    def tag(self, position: tuple[At, Any]) -> tuple[int, int]:
        place, (carried, term) = position
        step = self._claims.steps[place, carried]
        return step.owner, self._term((place, carried)) if step.claimed else term

    def step(self, place: At, state: Any) -> tuple[bool, list[tuple[At, Any]]]:
        position, term = (place, state[0]), state[1]
        claims = self._claims
        step = claims.steps[position]
        if step.claimed:
            term = 0 if position in claims.has_below else self._term(position)
        below: list[tuple[At, State | None]] = []
        for k, (child, at) in enumerate(zip(self.below(place), step.below, strict=True)):
            if at is None:
                below.append((child, None))
            elif term or claims.leads_on(at):
                below.append((child, (at[1], term)))
            else:
                below.append((child, (at[1], self._term((position, k)))))
        return claims.is_input(place), below

    def _term(self, key: object) -> int:
        return self._terms.setdefault(key, len(self._terms) + 1)


def check_inputs(model: Expr, data: Dataset) -> None:
    """Raise a `DatasetError` if inputs of the model and of the dataset do not match."""
    leaves = [node for node in postorder([model]) if isinstance(node, Array | DiscreteVar | Symbol)]
    for name in data.inputs:
        named = [leaf for leaf in leaves if leaf.name == name]
        shape = tuple(data[name].shape[1:])
        if not named:
            near = sorted({str(leaf.name) for leaf in [*model.free_symbols, *leaves] if leaf.name})
            close = difflib.get_close_matches(name, near, n=3, cutoff=0.4)
            raise DatasetError(
                f"the dataset has an input {name!r}, but no leaf of {model!r} is named so",
                nodes=[model],
                expected=near[:20],
                found=name,
                hint=f"similar names: {close}" if close else "inputs= of the dataset names the leaves that it replaces",
            )
        for leaf in named:
            _check_leaf(leaf, name, shape, data[name].dtype)
    unknown = [symbol for symbol in model.free_symbols if symbol.name not in data.inputs]
    if unknown:
        raise DatasetError(
            f"nothing is bound to {unknown[0]!r}, and the dataset has no input of that name",
            nodes=unknown[:5],
            expected=[symbol.name for symbol in unknown],
            found=data.inputs,
            hint="add an array of that name, name it in inputs=, or bind the symbol with rc.module_new_bind",
        )


def _check_leaf(leaf: Expr, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(leaf.shape) != shape:
        raise DatasetError(
            f"input {name!r}: a row of the dataset has shape {list(shape)}, the model's leaf {list(leaf.shape)}",
            nodes=[leaf],
            expected=tuple(leaf.shape),
            found=shape,
            hint="a leaf stands for one datum: the array has one axis more, the rows",
        )
    if leaf.dtype is not None and leaf.dtype != dtype:
        raise DatasetError(
            f"input {name!r} is {dtype} in the dataset and {leaf.dtype} in the model",
            nodes=[leaf],
            expected=leaf.dtype,
            found=dtype,
            hint=f"dataset.with_arrays({{{name!r}: array.to({leaf.dtype})}})",
        )
