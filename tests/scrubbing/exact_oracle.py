"""Causal scrubbing by brute force: formulas as nested tuples, walked path by path, over all combinations of draws.

A formula is `("x",)`, an input, or `(name, operation, *arguments)`. Nothing here knows the package's walks, draws or
laws: every draw is an axis of a numpy array, and every path through the formula is followed by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import scrub as rc
from scrub.hypothesis import (
    Correspondence,
    ExactSampler,
    FixedOtherSampler,
    FuncSampler,
    Hypothesis,
    InterpNode,
    UncondSampler,
    corr_root_matcher,
)
from scrub.hypothesis.dataset import Dataset

Formula = tuple[Any, ...]
Table = dict[str, np.ndarray]

OPERATIONS: dict[str, Callable[..., Any]] = {
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * b,
    "tanh": np.tanh,
}


@dataclass
class Claim:
    """A node of an interpretation: what it claims, by name, below its parent.

    `condition` and `other` are "exact", "any", "fixed" or the name of a column in which rows agree.
    """

    name: str
    target: str
    condition: str
    other: str = "any"
    children: list[Claim] = field(default_factory=list)


def as_expr(formula: Formula) -> rc.Expr:
    """The formula as an expression of the package."""
    if len(formula) == 1:
        return rc.Symbol.new_from_name((), formula[0])
    name, operation, *arguments = formula
    args = [as_expr(argument) for argument in arguments]
    if operation == "sum":
        return rc.Add(*args, name=name)
    return args[0].mul(args[1], name=name) if operation == "product" else rc.elementwise("tanh", args[0], name=name)


def as_hypothesis(root: Claim, fixed: Table, *, unimportant: Any, handed_down: Any) -> Hypothesis:
    """The claims as a hypothesis of the package."""
    corr = Correspondence()
    waiting: list[tuple[Claim, InterpNode | None, rc.IterativeMatcher]] = [(root, None, corr_root_matcher)]
    while waiting:
        claim, parent, matcher = waiting.pop(0)
        make = InterpNode if parent is None else parent.make_descendant
        node = make(_sampler(claim.condition, fixed), claim.name, other_inputs_sampler=_sampler(claim.other, fixed))
        corr.add(node, matcher)
        for child in claim.children:
            below = rc.IterativeMatcher(child.target) if parent is None else matcher.chain(child.target)
            waiting.append((child, node, below))
    return Hypothesis(corr, unimportant=unimportant, handed_down=handed_down)


def _sampler(condition: str, fixed: Table) -> Any:
    if condition == "fixed":
        return FixedOtherSampler(as_dataset(fixed))
    return {"exact": ExactSampler(), "any": UncondSampler()}.get(condition) or FuncSampler(condition, few=1)


def as_dataset(table: Table) -> Dataset:
    """A table as a dataset of the package; columns that begin with an x are inputs."""
    tensors = {name: torch.from_numpy(column) for name, column in table.items()}
    return Dataset(tensors, inputs=[name for name in table if name.startswith("x")])


class BruteForce:
    """All combinations of draws.

    Args:
        formula, root: the model and the claims.
        table: rows that are drawn; references are drawn from it too.
        fixed: rows that "fixed" draws from.
    """

    def __init__(
        self, formula: Formula, root: Claim, table: Table, fixed: Table, *, unimportant: str, handed_down: str
    ) -> None:
        self.formula, self.root, self.unimportant, self.handed_down = formula, root, unimportant, handed_down
        self.size = len(table["x0"])
        self.rows = {name: np.concatenate([table[name], fixed[name]]) for name in table}
        self.num_rows = len(self.rows["x0"])
        self.parent: dict[str, Claim] = {}
        stack = [root]
        while stack:
            claim = stack.pop()
            for child in claim.children:
                self.parent[child.name] = claim
                stack.append(child)
        self.axes: dict[Any, int] = {"reference": 0}
        self.chances: list[tuple[int, int, np.ndarray]] = []
        self.terms: dict[Any, int] = {}

    def outcomes(self) -> tuple[np.ndarray, np.ndarray]:
        """Output and probability for every combination, as arrays with an axis per draw, the reference first."""
        value = self._value(self.formula, self.root, 0, is_top=True)
        n = len(self.axes)
        is_reference = np.arange(self.num_rows) < self.size
        weight = (is_reference / self.size).reshape(-1, *[1] * (n - 1))
        for given, drawn, chances in self.chances:
            shape = [1] * n
            shape[given] = shape[drawn] = self.num_rows
            weight = weight * chances.reshape(shape)  # a draw is given an earlier one
        value = np.asarray(value)
        value = value.reshape(value.shape + (1,) * (n - value.ndim))
        return np.broadcast_to(value, weight.shape), weight

    def _axis(self, claim: Claim, kind: Any) -> int:
        """The axis of a draw: of a claim's own datum, or of what is unclaimed below it."""
        if kind == "drawn":
            given = self._axis(self.parent[claim.name], "drawn") if claim.name in self.parent else 0
            given = 0 if self.handed_down == "original" else given
            condition = claim.condition
        else:
            given, condition = self._axis(claim, "drawn"), claim.other
        if condition == "exact":
            return given
        if (claim.name, kind) not in self.axes:
            drawn = self.axes[claim.name, kind] = len(self.axes)
            self.chances.append((given, drawn, self._chances(condition)))
        return self.axes[claim.name, kind]

    def _chances(self, condition: str) -> np.ndarray:
        chances = np.zeros((self.num_rows, self.num_rows))
        for given in range(self.num_rows):
            for row in range(self.num_rows):
                if condition == "fixed":
                    chances[given, row] = row >= self.size
                elif row < self.size:
                    same = condition == "any" or self.rows[condition][given] == self.rows[condition][row]
                    chances[given, row] = same
        return chances / chances.sum(1, keepdims=True)

    def _value(self, formula: Formula, owner: Claim, term: int, *, is_top: bool = False) -> Any:
        claimed = [] if is_top else [child for child in owner.children if child.target == formula[0]]
        if claimed:
            (owner,) = claimed
        if claimed or is_top:
            term = 0 if self._leads_on_below(formula, owner) else self._term((formula, owner.name))
        if len(formula) == 1:
            return self._input(formula[0], owner, term)
        values: list[Any] = []
        for k, argument in enumerate(formula[2:]):
            mine = term
            if not mine and not self._leads_on(argument, owner):
                mine = self._term((formula, owner.name, k))
            values.append(self._value(argument, owner, mine))
        ndim = max(np.ndim(value) for value in values)
        aligned = [np.asarray(v).reshape(np.shape(v) + (1,) * (ndim - np.ndim(v))) for v in values]
        return OPERATIONS[formula[1]](*aligned)

    def _term(self, key: Any) -> int:
        return self.terms.setdefault(key, len(self.terms) + 1)

    def _leads_on_below(self, formula: Formula, owner: Claim) -> bool:
        return any(self._leads_on(argument, owner) for argument in formula[2:])

    def _leads_on(self, formula: Formula, owner: Claim) -> bool:
        if any(child.target == formula[0] for child in owner.children):
            return True
        return self._leads_on_below(formula, owner)

    def _input(self, name: str, owner: Claim, term: int) -> np.ndarray:
        if not owner.children:
            axis = self._axis(owner, "drawn")
        elif self.unimportant == "shared":
            axis = self._axis(self.root, "other")
        else:
            axis = self._axis(owner, ("other", term) if self.unimportant == "term" else "other")
        return self.rows[name].reshape([-1 if i == axis else 1 for i in range(axis + 1)])


def generate(seed: int) -> tuple[Formula, Claim, Table, Table]:
    """A formula with shared parts, claims about some of its names, and two tables."""
    rng = random.Random(seed)
    pool: list[Formula] = [("x0",), ("x1",), ("x2",)]
    for i in range(rng.randint(2, 4)):
        operation = rng.choice(["sum", "sum", "product", "tanh"])
        arguments = rng.sample(pool, 1 if operation == "tanh" else 2)
        pool.append((f"n{rng.choice([i, i, max(0, i - 1)])}", operation, *arguments))  # a name may be that of two
    formula = ("top", "sum", *pool[-2:])
    conditions = ["exact", "any", "f", "g", "fixed"]
    root = Claim("top", "top", rng.choice(conditions), rng.choice(["any", "f"]))
    names = [f[0] for f in reversed(pool)]
    claims = [(root, len(names))]
    for i in range(rng.randint(1, 4)):
        above, last = rng.choice(claims)
        below = range(len(names) - last, len(names)) if above is not root else range(len(names))
        at = rng.choice(below or [len(names) - 1])
        child = Claim(f"c{i}", names[at], rng.choice(conditions), rng.choice(["any", "any", "g", "exact"]))
        above.children.append(child)
        claims.append((child, len(names) - at - 1))
    n = rng.choice([3, 4])
    return formula, root, _table(rng, n), _table(rng, 2)


def _table(rng: random.Random, n: int) -> Table:
    table: Table = {f"x{i}": np.array([rng.choice([-1.0, -0.5, 0.5, 2.0]) for _ in range(n)]) for i in range(3)}
    table["f"] = np.array([i % 2 for i in range(n)])
    table["row"] = np.arange(n)
    table["g"] = np.array([int(i > 0) for i in range(n)])
    table["label"] = np.array([rng.choice([-1.0, 0.0, 1.0]) for _ in range(n)])
    return table
