"""Sample specs: how the random variables of an expression are drawn (SPEC 6.2, 6.3)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from scrub.compiler import evaluate
from scrub.graph import DiscreteVar, Expr, SampleSpecError, Shape, postorder
from scrub.graph.stored_cumulant_var import HINT as NOT_DRAWABLE
from scrub.rewrite import get_paths
from scrub.rewrite.iterative import IterativeMatcherIn
from scrub.sampling.draws import draw_rows, normalized


class SampleSpec(ABC):
    """Draws rows for groups. Draws are numbered from 0; an estimator asks for them in any portions."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Sample axes, in front of every variable's own."""

    @abstractmethod
    def rows(self, group: Expr, start: int, stop: int) -> torch.Tensor:
        """Row numbers that draws start to stop take in a group, int64 [stop - start]."""

    @abstractmethod
    def weights(self, start: int, stop: int) -> torch.Tensor | None:
        """Probability of each draw, float64 [stop - start], if this spec enumerates; None for i.i.d. draws."""

    def check(self, variable: DiscreteVar) -> None:  # noqa: B027 - most specs draw any variable
        """Raise a `SampleSpecError` that names the variable if this spec cannot draw it."""

    @property
    def num_draws(self) -> int:
        """Number of draws that fill `shape`."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class RandomSampleSpec(SampleSpec):
    """I.i.d. draws with replacement, by group probability.

    Args:
        sample_shape: sample axes.
        seed: draws are a pure function of seed, group and draw number.
        seeder: in place of `seed`, a function from group to seed; draws are then a pure function of what it returns
            and the draw number, whatever the group's own identity is.

    >>> import torch
    >>> from scrub.graph import Array
    >>> dice = DiscreteVar(Array(torch.arange(1.0, 7.0)))
    >>> RandomSampleSpec((10,), seed=3).rows(dice.probs_and_group, 0, 10).shape
    torch.Size([10])
    """

    sample_shape: Shape
    seed: int = 0
    seeder: Callable[[Expr], int] | None = None

    @property
    def shape(self) -> Shape:
        return tuple(self.sample_shape)

    def rows(self, group: Expr, start: int, stop: int) -> torch.Tensor:
        key = f"{self.seed} {group.digest}" if self.seeder is None else f"seeder {self.seeder(group)}"
        return draw_rows(evaluate(group), key, start, stop)

    def weights(self, start: int, stop: int) -> torch.Tensor | None:
        return None


@dataclass(frozen=True)
class RunDiscreteVarAllSpec(SampleSpec):
    """Every combination of rows of the given groups: one leading axis per group, the last one fastest.

    >>> import torch
    >>> from scrub.graph import Array
    >>> coin = DiscreteVar(Array(torch.tensor([0.0, 1.0])))
    >>> RunDiscreteVarAllSpec.create_full_from_exprs(coin).shape
    (2,)
    """

    groups: Sequence[Expr]

    def __post_init__(self) -> None:
        if len(set(self.groups)) < len(self.groups):
            raise SampleSpecError("RunDiscreteVarAllSpec: a group is listed twice", nodes=self.groups)

    @classmethod
    def create_full_from_exprs(cls, *exprs: Expr) -> RunDiscreteVarAllSpec:
        """All groups of the variables in these expressions, in order of first visit."""
        return cls(tuple(dict.fromkeys(v.probs_and_group for v in variables_of(exprs))))

    @property
    def shape(self) -> Shape:
        return tuple(group.shape[0] for group in self.groups)

    def rows(self, group: Expr, start: int, stop: int) -> torch.Tensor:
        self._require_listed(group, group)
        position = list(self.groups).index(group)
        stride = math.prod(self.shape[position + 1 :])
        return torch.arange(start, stop) // stride % self.shape[position]

    def check(self, variable: DiscreteVar) -> None:
        self._require_listed(variable.probs_and_group, variable)

    def _require_listed(self, group: Expr, about: Expr) -> None:
        if group not in self.groups:
            raise SampleSpecError(
                f"{about!r}: its group is not listed in RunDiscreteVarAllSpec",
                nodes=[about, group],
                expected=list(self.groups),
                found=group,
                hint="list its probs_and_group, or use create_full_from_exprs(expr)",
            )

    def weights(self, start: int, stop: int) -> torch.Tensor | None:
        result = torch.ones(stop - start, dtype=torch.float64)
        for group in self.groups:
            result *= normalized(evaluate(group))[self.rows(group, start, stop)]
        return result


def require_drawable(expr: Expr, where: IterativeMatcherIn) -> None:
    """Raise a `SampleSpecError` for a variable that no spec can draw, found by `where`."""
    found = {} if expr.can_be_sampled else get_paths(expr, where)
    if found:
        variable, path = next(iter(found.items()))
        raise SampleSpecError(
            f"cannot draw {variable!r}, of which only cumulants are known, in {expr!r}",
            nodes=[variable, *path[:-1][-4:]],
            found=variable,
            hint=NOT_DRAWABLE,
        )


def variables_of(exprs: Sequence[Expr]) -> list[DiscreteVar]:
    """The distinct random variables below the expressions, those under cumulants included."""
    return [node for node in postorder(exprs) if isinstance(node, DiscreteVar)]
