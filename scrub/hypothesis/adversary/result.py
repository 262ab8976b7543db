"""`Adversary`: the worst draws that were found for a hypothesis, and what they are blamed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch

from scrub.hypothesis.dataset import Dataset
from scrub.hypothesis.slots import REFERENCE
from scrub.hypothesis.statistics.means import estimates_of
from scrub.sampling import Estimate, Estimates

_MOST_DRAWS = 8
_MOST_ARRAYS = 4
_MOST_NUMBERS = 12


@dataclass(frozen=True, eq=False)
class Adversary:
    """The worst draws that were found.

    Attributes:
        name: of the hypothesis.
        metric: what was made as high, or low, as possible.
        values: the metric for each reference, float64 [n].
        plain: what it is in the plain draws.
        draws: rows by label. `experiment.run(n, seed=seed, draws=adversary.draws)` gives these values.
        plain_draws: those of `experiment.run(n, seed=seed)`.
        blame: by label of each draw that is read, how much of the change is undone, float64 [n], if what reads it
            reads its plain row again and everything else stays; even where the hypothesis would not allow the mix.
        data: what the rows are rows of.
        seed: of the plain draws and of the search.
        evaluations: how many references were evaluated, with draws of their own each time.
        is_minimum: whether low values were looked for.
        is_exhaustive: whether all joint draws were tried, so that nothing allowed is worse.
    """

    name: str
    metric: str
    values: torch.Tensor
    plain: torch.Tensor
    draws: Mapping[str, torch.Tensor]
    plain_draws: Mapping[str, torch.Tensor]
    blame: Mapping[str, torch.Tensor]
    data: Dataset
    seed: int
    evaluations: int
    is_minimum: bool = False
    is_exhaustive: bool = False

    @property
    def n(self) -> int:
        """Number of references."""
        return len(self.values)

    @property
    def references(self) -> torch.Tensor:
        """Rows of the references, int64 [n]."""
        return self.draws[REFERENCE.label]

    @property
    def estimates(self) -> Estimates:
        """Means over references, with their covariance: "worst", "plain", and "gap", worst less plain.

        Their errors are about references; how far the search is from the true worst case does not enter.
        """
        values = {"worst": self.values, "plain": self.plain, "gap": self.values - self.plain}
        return estimates_of(values, seed=self.seed)

    @property
    def mean(self) -> Estimate:
        """The mean of the worst values."""
        return self.estimates["worst"]

    @property
    def gap(self) -> Estimate:
        """By how much that mean is above the plain one; below, when minimised."""
        return self.estimates["gap"]

    @property
    def mean_blame(self) -> dict[str, float]:
        """The mean blame of each draw that is read, most first."""
        means = {label: float(blame.mean()) for label, blame in self.blame.items()}
        return dict(sorted(means.items(), key=lambda item: -item[1]))

    def worst(self, k: int = 1) -> list[Case]:
        """The k references with the worst values, the worst first."""
        order = self.values.argsort(descending=not self.is_minimum, stable=True)[:k]
        return [
            Case(
                number=i,
                value=float(self.values[i]),
                plain=float(self.plain[i]),
                rows={label: int(rows[i]) for label, rows in self.draws.items()},
                blame={label: float(blame[i]) for label, blame in self.blame.items()},
                data=self.data,
                is_minimum=self.is_minimum,
            )
            for i in cast(list[int], order.tolist())
        ]

    def __repr__(self) -> str:
        extreme = "lowest" if self.is_minimum else "highest"
        known = f"the {extreme} there is" if self.is_exhaustive else f"the {extreme} found"
        means = {key: f"{float(each):.4g} ± {float(each.half_width()):.2g}" for key, each in self.estimates.items()}
        lines = [
            f"{self.name}: {self.metric} {means['plain']} plain, {means['worst']} {known} "
            f"(95%, n={self.n}, seed={self.seed}; {self.evaluations:,} evaluations)"
        ]
        blamed = [(label, blame) for label, blame in self.mean_blame.items() if blame != 0]
        if blamed:
            lines.append(f"a change of {means['gap']}; what this alone does to it:")
            sign = -1 if self.is_minimum else 1
            lines += [f"  {label!r}: {sign * blame:.4g}" for label, blame in blamed[:_MOST_DRAWS]]
        lines = [*lines, f"the {extreme}: {self.worst(1)[0]!r}"]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Case:
    """A reference, and the draws that are worst for it.

    Attributes:
        number: of the reference.
        value, plain: the metric, in these draws and in the plain ones.
        rows: by label of the draw, "reference" among them.
        blame: by label, see `Adversary.blame`.
        data: what the rows are rows of.
        is_minimum: whether a low value was looked for.
    """

    number: int
    value: float
    plain: float
    rows: Mapping[str, int]
    blame: Mapping[str, float]
    data: Dataset
    is_minimum: bool = False

    @property
    def through(self) -> str | None:
        """The draw that matters most: the one with the most blame; None if none has any."""
        most = max(self.blame, key=self.blame.__getitem__, default=None)
        return most if most is not None and self.blame[most] > 0 else None

    def datum(self, label: str) -> Dataset:
        """The row that a draw comes to, as a dataset of one row."""
        return self.data.take([self.rows[label]])

    def __repr__(self) -> str:
        through = "" if self.through is None else f", through {self.through!r}"
        lines = [f"reference {self.number}: {self.plain:.4g} plain, {self.value:.4g} found{through}"]
        labels = sorted(self.rows, key=lambda label: (label != REFERENCE.label, -self.blame.get(label, 0.0)))
        for label in labels[:_MOST_DRAWS]:
            named = label if label == REFERENCE.label else repr(label)
            lines.append(f"  {named}: row {self.rows[label]}: {_shown(self.datum(label))}")
        if len(labels) > _MOST_DRAWS:
            lines.append(f"  and {len(labels) - _MOST_DRAWS} more draws")
        return "\n".join(lines)


def _shown(datum: Dataset) -> str:
    """The arrays of a dataset of one row, shortened.

    >>> _shown(Dataset({"x": torch.tensor([0.25]), "tokens": torch.arange(40)[None]}))
    'x = 0.25, tokens = [0 1 2 3 4 5 6 7 8 9 10 11 ... 40 in all]'
    """
    parts: list[str] = []
    names = sorted(datum.names, key=lambda name: name not in datum.inputs)
    for name in names[:_MOST_ARRAYS]:
        values = datum[name]
        numbers = [f"{number:.4g}" if isinstance(number, float) else str(int(number)) for number in _first(values)]
        more = [] if values.numel() <= _MOST_NUMBERS else [f"... {values.numel()} in all"]
        text = " ".join([*numbers, *more])
        parts.append(f"{name} = {text if values.ndim == 1 else f'[{text}]'}")
    more = len(datum.names) - _MOST_ARRAYS
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def _first(values: torch.Tensor) -> list[float | int | bool]:
    return cast(list[float | int | bool], values.reshape(-1)[:_MOST_NUMBERS].tolist())
