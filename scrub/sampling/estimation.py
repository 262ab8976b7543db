"""The work behind `estimate`: takes in draws, and says what they tell."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from scrub.compiler import evaluate_many
from scrub.graph import Expr
from scrub.sampling.decompose import decompose
from scrub.sampling.estimates import Estimate, Estimates, Joint, jackknife_covariance
from scrub.sampling.moments import BlockMoments
from scrub.sampling.program import BatchProgram
from scrub.sampling.specs import RandomSampleSpec, SampleSpec
from scrub.sampling.sums import Sums


class Estimation:
    """An estimation under way. It can be interrupted at any moment: what it holds is of the draws 0 to `n`.

    Args:
        exprs: ready to be estimated, by name.
        spec: how to draw.
        biased: plug-in estimates of cumulants of order 2 and more.
        max_memory: most bytes that evaluating a batch may take.
    """

    def __init__(
        self, exprs: Mapping[str, Expr], spec: SampleSpec, *, biased: bool, max_memory: int | None = None
    ) -> None:
        self.parts = decompose(exprs)
        self.spec = spec
        self.is_exact = spec.weights(0, 1) is not None
        self.biased = biased or self.is_exact
        self.program = BatchProgram(self.parts.wanted, spec, max_memory=max_memory)
        self.sums: Sums | None = None

    @property
    def n(self) -> int:
        """Draws taken in."""
        return 0 if self.sums is None else self.sums.n

    @property
    def num_needed(self) -> int:
        """The least number of draws that give estimates: part of an enumeration gives none."""
        if self.is_exact:
            return self.spec.num_draws
        orders = [cumulant.order for cumulant in self.parts.cumulants if 2 <= cumulant.order <= 4 and not self.biased]
        return max([1, *orders])

    def add(self, stop: int) -> None:
        """Take in the draws from `n` to stop, all or none of them."""
        start = self.n
        values = self.program.run(start, stop)
        weights = self.spec.weights(start, stop)
        weights = torch.ones(stop - start, dtype=torch.float64) if weights is None else weights
        sums = self.sums or self._no_sums(values)
        self.sums = sums.plus(values, weights)  # the only change, in one step: an interrupt finds the old or the new

    def _no_sums(self, values: list[torch.Tensor]) -> Sums:
        orders = [cumulant.order for cumulant in self.parts.cumulants]
        return Sums.empty(values, num_means=len(self.parts.per_draw), orders=orders, num_draws=self.spec.num_draws)

    def largest_stderr(self) -> float:
        """The largest standard error of any element of any estimate so far."""
        return max((float(e.stderr.max()) for e in self.results().values() if e.stderr.numel()), default=0.0)

    def results(self) -> Estimates:
        """The estimates from the draws so far, of which there must be `num_needed`."""
        sums = self.sums
        assert sums is not None, "no draws were taken in"
        highest = max((cumulant.order for cumulant in self.parts.cumulants), default=1)
        num_blocks = min(sums.num_blocks, sums.n)  # those that have draws
        blocks = range(num_blocks if num_blocks > highest and not self.is_exact else 0)
        values = self._values(sums, None)
        per_block = [self._values(sums, block) for block in blocks]
        replicates = {name: torch.stack([v[name] for v in per_block]) for name in values} if per_block else {}
        scalars = tuple(name for name, expr in self.parts.per_draw.items() if expr.ndim == 0)
        joint = Joint(replicates, scalars, sums.covariance_of_means(), self.is_exact)
        seed = self.spec.seed if isinstance(self.spec, RandomSampleSpec) and self.spec.seeder is None else None
        return Estimates(
            {
                name: Estimate(
                    name, values[name], self._stderr(sums, name, joint), sums.n, seed, joint, self._seconds(name)
                )
                for name in self.parts.exprs
            }
        )

    def _values(self, sums: Sums, without_block: int | None) -> dict[str, torch.Tensor]:
        def cumulant(moments: BlockMoments) -> torch.Tensor:
            return moments.cumulant(biased=self.biased, without_block=without_block)

        result = {name: cumulant(moments) for name, moments in zip(self.parts.per_draw, sums.means, strict=True)}
        given = {
            self.parts.symbols[c]: cumulant(moments).to(c.device)
            for c, moments in zip(self.parts.cumulants, sums.moments, strict=True)
        }
        others = evaluate_many(list(self.parts.functions.values()), given)
        return result | {n: v.to("cpu", torch.float64) for n, v in zip(self.parts.functions, others, strict=True)}

    def _stderr(self, sums: Sums, name: str, joint: Joint) -> torch.Tensor:
        shape = self.parts.exprs[name].shape
        if joint.is_exact:
            return torch.zeros(shape, dtype=torch.float64)
        if name in self.parts.per_draw:
            return sums.variance_of_mean(list(self.parts.per_draw).index(name)).sqrt()
        if name not in joint.replicates:
            return torch.full(shape, float("inf"), dtype=torch.float64)
        return jackknife_covariance(joint.replicates[name], joint.replicates[name]).sqrt()

    def _seconds(self, name: str) -> float:
        """The time for what this expression needs on every draw, beyond what the expressions before it need."""
        return sum(self.program.seconds(expr) for expr in self.parts.evaluated[name])
