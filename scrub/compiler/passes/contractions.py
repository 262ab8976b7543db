"""`contractions`: sums of products in the order that costs least, two factors at a time.

A contraction whose argument is a contraction, needed for nothing else, is one contraction of all factors; it becomes a
tree of products of two again, in opt_einsum's order, where that costs less than the steps it was written as:

    sum over h of (z_h W_h)  ->  one product of matrices, over h and d_head together
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from scrub.compiler.ops import Contract, Sum
from scrub.compiler.ops.arithmetic import letters_of
from scrub.compiler.passes.contraction_order import Letters, Order, best_order, taken
from scrub.compiler.values import Axis, Graph, Value, count_uses, rewritten

MAX_FACTORS = 8
"""Factors of a merged contraction: the search for an order grows quickly with them."""


def order_contractions(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs, with contractions merged where that saves work, and each of two arguments at most.

    >>> from scrub.compiler.ops import Input
    >>> graph = Graph()
    >>> inputs = [Input(key, (2, 2), torch.float32, torch.device("cpu"), False) for key in "abc"]
    >>> chain = Contract(((0, 1), (1, 2), (2, 3)), (0, 3))
    >>> (result,) = order_contractions(graph, [graph.value(chain, *map(graph.value, inputs))])
    >>> sorted(len(value.args) for value in (result, *result.args))
    [0, 2, 2]
    """
    ordering = _Ordering(graph)
    uses = count_uses(outputs)

    def transform(value: Value, args: tuple[Value, ...]) -> Value:
        new = ordering.transformed(value, args)
        new.name = new.name or value.name
        ordering.uses[new] = ordering.uses.get(new, 0) + uses[value]
        return new

    return rewritten(outputs, transform)[0]


class _Factor(NamedTuple):
    """A factor of a product, with a letter for each of its batch and core axes."""

    value: Value
    letters: Letters


class _Product:
    """A product of several factors, of which some axes are summed over, while others are merged into it.

    Attributes:
        factors: what is multiplied.
        core: letters of the result's core axes.
        kept: letters of all axes of the result.
        scale: a number.
        cost_inside: what the products that were merged cost, each computed for itself.
    """

    def __init__(self, op: Contract, args: Sequence[Value], axes: Sequence[Axis]) -> None:
        ins, out = letters_of(op, args, axes)
        self.factors = [_Factor(arg, letters) for arg, letters in zip(args, ins, strict=True)]
        self.core, self.kept, self.scale = op.out, frozenset(out), op.scale
        self.cost_inside = 0.0
        self.next_letter = 1 + max((letter for letters in ins for letter in letters if letter >= 0), default=-1)

    def merge(self, at: int, draws: int) -> bool:
        """Replaces a factor by its own factors; False if an axis it sums over is another's already."""
        value, letters = self.factors[at]
        op = value.op
        if not isinstance(op, Contract):
            return False
        inner = _Product(op, value.args, value.axes)
        summed = {letter for factor in inner.factors for letter in factor.letters} - inner.kept
        others = {letter for factor in self.factors for letter in factor.letters}
        if any(letter < 0 and letter in others for letter in summed):
            return False
        self.cost_inside += inner.order(draws).cost
        rename = dict(zip(op.out, letters[len(value.axes) :], strict=True))
        for letter in sorted(letter for letter in summed if letter >= 0):
            rename[letter] = self.next_letter
            self.next_letter += 1
        renamed = (
            _Factor(factor.value, tuple(rename.get(letter, letter) for letter in factor.letters))
            for factor in inner.factors
        )
        self.factors[at : at + 1] = renamed
        self.scale *= inner.scale
        return True

    def order(self, draws: int) -> Order:
        """The best order of contraction for so many draws."""
        size: dict[int, int] = {}
        for value, letters in self.factors:
            along_axes = (draws if axis.size is None else axis.size for axis in value.axes)
            size.update(zip(letters, (*along_axes, *value.shape), strict=True))
        return best_order([factor.letters for factor in self.factors], size, self.kept)


class _Ordering:
    """One pass over one graph.

    Attributes:
        uses: how often values made so far will be arguments.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.draws = graph.assumed_draws
        self.uses: dict[Value, int] = {}

    def transformed(self, value: Value, args: tuple[Value, ...]) -> Value:
        """The value on new arguments, ordered if it is a contraction of floating numbers."""
        op = value.op
        if isinstance(op, Sum):
            return self._without_scales(value, op, args)
        if not isinstance(op, Contract) or not _is_floating(value.dtype, args):
            return self.graph.again(value, args)
        written, merged = (_Product(op, args, value.axes) for _ in range(2))
        self._merge_all(merged, value.dtype)
        order = written.order(self.draws)
        if merged.cost_inside:
            whole = merged.order(self.draws)
            if whole.cost < 0.999 * (order.cost + merged.cost_inside):
                return self._built(merged, whole)
        return self._built(written, order) if len(args) > 2 else self.graph.again(value, args)

    def _merge_all(self, product: _Product, dtype: torch.dtype | None) -> None:
        """Merges factors, and what they are made of, as long as there is room."""
        at = 0
        while at < len(product.factors):
            value, letters = product.factors[at]
            can_merge = (
                isinstance(value.op, Contract)
                and value.dtype == dtype
                and self.uses.get(value, 1) == 1
                and len(product.factors) + len(value.args) - 1 <= MAX_FACTORS
                and len(set(letters)) == len(letters)
                and _is_floating(dtype, value.args)
            )
            if not (can_merge and product.merge(at, self.draws)):
                at += 1

    def _built(self, product: _Product, order: Order) -> Value:
        factors = [self._diagonal(factor) for factor in product.factors]
        axis_of = {-1 - axis.order: axis for factor in factors for axis in factor.value.axes}
        for i, step in enumerate(order.path):
            is_last = i == len(order.path) - 1
            chosen = [factors[at] for at in step]
            _, _, result = taken([frozenset(factor.letters) for factor in factors], step, product.kept)
            there = dict.fromkeys(letter for factor in chosen for letter in factor.letters)
            core = product.core if is_last else tuple(letter for letter in there if letter >= 0 and letter in result)
            reduced = tuple(axis_of[letter] for letter in there if letter < 0 and letter not in result)
            op = _numbered(chosen, core, product.scale if is_last else 1.0, reduced)
            made = self.graph.value(op, *(factor.value for factor in chosen))
            if not is_last:
                self.uses[made] = self.uses.get(made, 0) + 1
            factors = [factor for at, factor in enumerate(factors) if at not in step]
            factors.append(_Factor(made, tuple(-1 - axis.order for axis in made.axes) + core))
        return factors[0].value

    def _diagonal(self, factor: _Factor) -> _Factor:
        """The factor with one axis for each letter."""
        distinct = tuple(dict.fromkeys(factor.letters))
        if len(distinct) == len(factor.letters):
            return factor
        core = tuple(letter for letter in distinct if letter >= 0)
        return _Factor(self.graph.value(_numbered([factor], core, 1.0, ()), factor.value), distinct)

    def _without_scales(self, value: Value, op: Sum, args: tuple[Value, ...]) -> Value:
        """Numbers that contractions are multiplied by as coefficients of the sum, where they cost nothing."""
        terms, coefficients = list(args), list(op.coefficients)
        for i, arg in enumerate(args):
            inner = arg.op
            is_scaled = isinstance(inner, Contract) and inner.scale != 1.0 and arg.dtype == value.dtype
            is_scaled &= value.dtype != torch.float16  # where sums that are not scaled yet may be out of range
            if isinstance(inner, Contract) and is_scaled and self.uses.get(arg, 1) == 1:
                terms[i] = self.graph.value(Contract(inner.ins, inner.out, 1.0, inner.reduced), *arg.args)
                self.uses[terms[i]] = self.uses.get(terms[i], 0) + 1
                coefficients[i] *= inner.scale
        return self.graph.value(Sum(tuple(coefficients), op.offset), *terms)


def _numbered(factors: Sequence[_Factor], core: Letters, scale: float, reduced: Sequence[Axis]) -> Contract:
    """A contraction with letters numbered in order, so that equal ones meet."""
    ins = [tuple(letter for letter in factor.letters if letter >= 0) for factor in factors]
    number = {letter: i for i, letter in enumerate(dict.fromkeys(letter for letters in ins for letter in letters))}
    out = tuple(number[letter] for letter in core)
    numbered = tuple(tuple(number[letter] for letter in letters) for letters in ins)
    return Contract(numbered, out, scale, tuple(sorted(reduced, key=lambda axis: axis.order)))


def _is_floating(dtype: torch.dtype | None, args: Sequence[Value]) -> bool:
    """Whether products of any of the arguments are computed in floating point."""
    of_all = (dtype, *(arg.dtype for arg in args))
    return all(each is None or each.is_floating_point for each in of_all)
