"""Intervals by bootstrap over examples, of any function of numbers per example.

The examples are drawn n of n with replacement, again and again; how the statistic varies over such draws is how it
varies over samples of examples. Resample i is a pure function of seed and i: not of memory or of how many are evaluated
at once.

Source: Efron 1987, "Better bootstrap confidence intervals" (BCa); Efron & Tibshirani 1993, chapters 13 and 14.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch

from scrub.graph import EstimateError
from scrub.sampling.draws import uniforms
from scrub.sampling.estimates import Estimate, Joint, normal_quantile

Columns: TypeAlias = Mapping[str, torch.Tensor]
Statistic: TypeAlias = Callable[[Columns], torch.Tensor]
IntervalMethod: TypeAlias = Literal["bca", "percentile"]

_ELEMENTS_AT_ONCE = 2**22
_MOST_BLOCKS = 1000


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class BootstrapEstimate(Estimate):
    """A statistic of examples. Its standard error and intervals are by bootstrap.

    Attributes:
        value, stderr: float64 [*shape].
        replicates: float64 [n_resamples, *shape], the statistic of each resample.
        left_out: float64 [blocks, *shape], the statistic without each block of examples (one each, up to 1000).
        method: "bca" corrects for bias and acceleration; "percentile" takes the quantiles of the replicates.
    """

    replicates: torch.Tensor
    left_out: torch.Tensor
    method: IntervalMethod

    @staticmethod
    def of(
        value: torch.Tensor,
        replicates: torch.Tensor,
        left_out: torch.Tensor,
        *,
        name: str,
        n: int,
        seed: int | None,
        method: IntervalMethod,
    ) -> BootstrapEstimate:
        """An estimate with the spread of its replicates as error, infinite for one example."""
        stderr = replicates.std(0) if n > 1 and len(replicates) > 1 else torch.full_like(value, torch.inf)
        joint = Joint({name: left_out}, (), torch.zeros(0, 0, dtype=torch.float64), False)
        return BootstrapEstimate(
            name, value, stderr, n, seed, joint, replicates=replicates, left_out=left_out, method=method
        )

    def then(self, function: Callable[[torch.Tensor], torch.Tensor], *, name: str) -> BootstrapEstimate:
        """A function of the value, with intervals from the same resamples.

        Args:
            function: [..., *shape] -> [..., *out]; it counts axes from the end.
            name: of the result.

        >>> scores = {"a": torch.tensor([[1.0, 2.0], [3.0, 5.0]])}
        >>> both = bootstrap(scores, mean("a"), n_resamples=100)
        >>> float(both.then(lambda means: means.sum(-1), name="sum"))
        5.5
        """
        found = [function(each) for each in (self.value, self.replicates, self.left_out)]
        return BootstrapEstimate.of(*found, name=name, n=self.n, seed=self.seed, method=self.method)

    @cached_property
    def acceleration(self) -> torch.Tensor:
        """How fast the standard error changes with the value, [*shape]; 0 where nothing varies.

        The skewness of the influence of examples, sum d^3 / (6 (sum d^2)^(3/2)), by the jackknife.
        """
        influence = self.left_out.mean(0) - self.left_out
        skewness = (influence**3).sum(0) / (influence**2).sum(0) ** 1.5
        return torch.where(skewness.isfinite(), skewness, 0.0) / 6

    def interval(self, level: float = 0.95) -> tuple[torch.Tensor, torch.Tensor]:
        """Lower and upper end of the interval of that coverage, [*shape] each. It need not be symmetric."""
        z = normal_quantile(level)
        low, high = (self._share(end) for end in (-z, z))
        return self._quantile(low), self._quantile(high)

    def half_width(self, level: float = 0.95) -> torch.Tensor:
        """Half the width of `interval(level)`."""
        low, high = self.interval(level)
        return (high - low) / 2

    def _share(self, z: float) -> torch.Tensor:
        """The share of replicates below the end of an interval that is z standard errors from the middle, [*shape]."""
        if self.method == "percentile":
            return torch.full_like(self.value, NormalDist().cdf(z))
        count = len(self.replicates)
        below = (self.replicates < self.value).sum(0) + (self.replicates == self.value).sum(0) / 2
        share = below.to(torch.float64).clamp(0.5, count - 0.5) / count
        bias = math.sqrt(2) * torch.erfinv(2 * share - 1)  # the normal quantile of that share
        shift = bias + z
        room = 1 - self.acceleration * shift  # where there is none left, the end is the outermost replicate
        moved = torch.where(room > 0, bias + shift / room, torch.sign(shift) * torch.inf)
        return torch.erfc(-moved / math.sqrt(2)) / 2

    def _quantile(self, share: torch.Tensor) -> torch.Tensor:
        """Quantiles of the replicates: the i-th of B is that of i / (B + 1), linear between, [*shape]."""
        count = len(self.replicates)
        place = (share * (count + 1) - 1).clamp(0, count - 1)
        lower = place.floor().long().clamp_max(max(count - 2, 0))
        ordered = self.replicates.sort(0).values
        first, second = (ordered.gather(0, index[None])[0] for index in (lower, (lower + 1).clamp_max(count - 1)))
        return torch.where(first == second, first, first + (place - lower) * (second - first))


def bootstrap(
    columns: Columns,
    statistic: Statistic,
    *,
    name: str = "statistic",
    n_resamples: int = 2000,
    method: IntervalMethod = "bca",
    seed: int = 0,
) -> BootstrapEstimate:
    """A function of numbers per example, with its error and intervals over examples.

    Args:
        columns: name -> [*shape, n], taken as float64; the i-th entries of the last axes are of the same example.
        statistic: is given such a mapping, and reduces the last axis. It has to work for more leading axes, which hold
            the resamples: [r, *shape, n] -> [r, *out]. So it counts axes from the end: `mean(-1)`.
        name: of what is estimated.
        n_resamples: how many; an interval of 95% wants 1000 or more.
        method: of the intervals: "bca" or "percentile".
        seed: of the draws.

    Raises:
        EstimateError: columns do not have the same examples, the statistic does not reduce them, or it is NaN on the
            examples or on a resample of them.

    >>> answers = {"right": torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0])}
    >>> share = bootstrap(answers, lambda columns: columns["right"].mean(-1), name="share")
    >>> low, high = share.interval(0.9)
    >>> float(share), 0.3 < float(low) < 0.75 < float(high) <= 1
    (0.75, True)
    """
    columns = {key: column.detach().to("cpu", torch.float64) for key, column in columns.items()}
    n = _n_examples(columns, n_resamples, method)
    value = statistic(columns).to(torch.float64)
    if bool(value.isnan().any()):
        raise EstimateError(f"{name} is NaN on the examples as they are", expected="numbers", found=float("nan"))

    def resamples(start: int, stop: int) -> torch.Tensor:
        drawn = uniforms(f"bootstrap {seed}", start * n, stop * n) * n
        return torch.from_numpy(drawn.astype(np.int64)).view(stop - start, n)

    replicates = _evaluated(columns, statistic, resamples, n_resamples, value)
    undefined = int(replicates.isnan().reshape(n_resamples, -1).any(1).sum())
    if undefined:
        raise EstimateError(
            f"{name} is NaN on {undefined} of {n_resamples} resamples of {n} examples",
            expected="numbers",
            found=float("nan"),
            hint="more examples, or a statistic that is defined on every resample of them",
        )
    left_out = _without_blocks(columns, statistic, n, value)
    return BootstrapEstimate.of(value, replicates, left_out, name=name, n=n, seed=seed, method=method)


def mean(column: str) -> Statistic:
    """The mean of a column."""
    return lambda columns: columns[column].mean(-1)


def ratio_of_means(numerator: str, denominator: str) -> Statistic:
    """The mean of one column over the mean of another.

    >>> columns = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([1.0, 1.5])}
    >>> float(ratio_of_means("a", "b")(columns)), float(mean_of_ratios("a", "b")(columns))
    (1.6..., 1.5)
    """
    return lambda columns: columns[numerator].mean(-1) / columns[denominator].mean(-1)


def mean_of_ratios(numerator: str, denominator: str) -> Statistic:
    """The mean over examples of one column over another."""
    return lambda columns: (columns[numerator] / columns[denominator]).mean(-1)


def _n_examples(columns: Columns, n_resamples: int, method: str) -> int:
    sizes = {key: column.shape[-1] if column.ndim else 0 for key, column in columns.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        raise EstimateError(
            f"columns have {sizes or 'no'} examples",
            expected="the same number of examples, 1 or more, on the last axis of each",
            found=sizes,
            hint="one number for each example: [..., n]",
        )
    if n_resamples < 1 or method not in get_args(IntervalMethod):
        raise EstimateError(
            f"a bootstrap of {n_resamples} resamples with method {method!r} is not possible",
            expected=("1 or more", *get_args(IntervalMethod)),
            found=(n_resamples, method),
            hint="n_resamples=2000, method='bca'",
        )
    return next(iter(sizes.values()))


def _evaluated(
    columns: Columns,
    statistic: Statistic,
    rows: Callable[[int, int], torch.Tensor],
    count: int,
    value: torch.Tensor,
) -> torch.Tensor:
    """The statistic on `count` sets of examples, [count, *out], several at once as memory allows.

    `rows(start, stop)` are the row numbers of those sets, [stop - start, m].
    """
    at_once = max(1, _ELEMENTS_AT_ONCE // max(column.numel() for column in columns.values()))
    results: list[torch.Tensor] = []
    for start in range(0, count, at_once):
        part = rows(start, min(start + at_once, count))
        drawn = {key: column[..., part].movedim(-2, 0) for key, column in columns.items()}
        result = statistic(drawn).to(torch.float64)
        if result.shape != (len(part), *value.shape):
            raise EstimateError(
                f"the statistic is {tuple(result.shape)} on {len(part)} resamples, and {tuple(value.shape)} without",
                expected=(len(part), *value.shape),
                found=tuple(result.shape),
                hint="count axes from the end, so that resamples may lead: column.mean(-1)",
            )
        results.append(result)
    return torch.cat(results)


def _without_blocks(columns: Columns, statistic: Statistic, n: int, value: torch.Tensor) -> torch.Tensor:
    """The statistic without each block of examples in turn, [blocks, *out]; a block is one example up to 1000."""
    if n < 2:
        return value[None]
    count = min(n, _MOST_BLOCKS)
    blocks = list(itertools.pairwise(n * i // count for i in range(count + 1)))
    results: list[torch.Tensor] = []
    for size in sorted({stop - start for start, stop in blocks}):  # of two sizes, where blocks do not divide examples
        alike = [block for block in blocks if block[1] - block[0] == size]

        def kept(start: int, stop: int, alike: Sequence[tuple[int, int]] = alike) -> torch.Tensor:
            return torch.stack([torch.cat([torch.arange(a), torch.arange(b, n)]) for a, b in alike[start:stop]])

        results.append(_evaluated(columns, statistic, kept, len(alike), value))
    return torch.cat(results)
