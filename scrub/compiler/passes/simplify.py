"""`simplify`: cheap algebra. Every rule looks at one value and its arguments; nothing is searched for.

    2 (a + b) + c, a + b used once   ->  2 a + 2 b + c
    einsum(3 a, b)                   ->  3 einsum(a, b)
    x + transposed(-m)               ->  x - transposed(m)
    sum over the core axis made of a batch axis  ->  sum over the batch axis

The rules are in `products`, `sums`, `moves` and `batch_axes`, by the operation they start at.
"""

from __future__ import annotations

from collections.abc import Sequence

from scrub.compiler.ops import Contract, Joined, Picked, Rearranged, Sibling, Stacked, Sum, ToBatch, ToCore
from scrub.compiler.passes.batch_axes import SIBLING_RULES, STACKED_RULES, TO_BATCH_RULES, TO_CORE_RULES
from scrub.compiler.passes.moves import JOINED_RULES, PICKED_RULES, REARRANGED_RULES
from scrub.compiler.passes.products import CONTRACT_RULES
from scrub.compiler.passes.simplifying import Rule
from scrub.compiler.passes.sums import SUM_RULES
from scrub.compiler.values import Graph, Op, Value, count_uses, rewritten

RULES: dict[type[Op], tuple[Rule, ...]] = {
    Contract: CONTRACT_RULES,
    Sum: SUM_RULES,
    Rearranged: REARRANGED_RULES,
    Picked: PICKED_RULES,
    Joined: JOINED_RULES,
    ToBatch: TO_BATCH_RULES,
    ToCore: TO_CORE_RULES,
    Sibling: SIBLING_RULES,
    Stacked: STACKED_RULES,
}

MOVES = (Rearranged, Picked, ToBatch, ToCore, Sibling)
"""Operations that move numbers about, so that a factor goes through them."""

MAX_STEPS = 16
"""Rules that are applied to one value; what is left to do then stays undone, so that cost is linear in the values."""


def simplify(graph: Graph, outputs: Sequence[Value]) -> list[Value]:
    """The outputs, simplified.

    >>> from scrub.compiler.ops import Fill
    >>> graph = Graph()
    >>> two = graph.value(Fill(2.0, (3,)))
    >>> (result,) = simplify(graph, [graph.value(Contract(((0,),), (0,), 0.5), two)])
    >>> result.op
    Fill(number=1.0, shape=(3,))
    """
    simplifying = _Simplifying(graph)
    uses = count_uses(outputs)

    def transform(value: Value, args: tuple[Value, ...]) -> Value:
        new = simplifying.transformed(value, args)
        new.name = new.name or value.name
        simplifying.uses[new] = simplifying.uses.get(new, 0) + uses[value]
        return new

    return rewritten(outputs, transform)[0]


class _Simplifying:
    """What rules are given, and where what they make is made.

    Attributes:
        uses: how often values made so far will be arguments.
        scaled: values that are a number times another value.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.uses: dict[Value, int] = {}
        self.scaled: dict[Value, tuple[float, Value]] = {}

    def is_used_once(self, value: Value) -> bool:
        return self.uses.get(value, 1) == 1

    def transformed(self, value: Value, args: tuple[Value, ...]) -> Value:
        """The simplified value of one that is there, whose arguments became `args`."""
        if type(value.op) not in RULES:
            return self.graph.again(value, args)
        if args == value.args and self._first(value.op, args) is None:
            self._note_factor(value)
            return value
        return self.build(value.op, args)

    def build(self, op: Op, args: tuple[Value, ...]) -> Value:
        """The value of an operation on simplified arguments, simplified."""
        for _ in range(MAX_STEPS):
            found = self._first(op, args)
            if found is None:
                break
            if isinstance(found, Value):
                return found
            op, args = found
        value = self.graph.value(op, *args)
        self._note_factor(value)
        return value

    def _first(self, op: Op, args: tuple[Value, ...]) -> tuple[Op, tuple[Value, ...]] | Value | None:
        for rule in RULES.get(type(op), ()):
            found = rule(self, op, args)
            if found is not None:
                return found
        return None

    def _note_factor(self, value: Value) -> None:
        if value in self.scaled or not (value.dtype is None or value.dtype.is_floating_point):
            return
        factor = _factor(value.op)
        if factor is not None:
            self.scaled[value] = (factor, value.args[0])
        elif isinstance(value.op, MOVES) and value.args[0] in self.scaled:
            factor, moved = self.scaled[value.args[0]]
            self.scaled[value] = (factor, self.build(value.op, (moved,)))


def _factor(op: Op) -> float | None:
    """The number that an operation multiplies its only argument by, if it does nothing else."""
    if isinstance(op, Contract) and len(op.ins) == 1 and op.ins[0] == op.out and not op.reduced:
        return op.scale if len(set(op.out)) == len(op.out) else None
    if isinstance(op, Sum) and len(op.coefficients) == 1 and op.offset == 0.0:
        return op.coefficients[0]
    return None
