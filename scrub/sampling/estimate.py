"""`estimate`: expectations and other cumulants of random expressions, streamed over draws (SPEC 6.6).

An expression that is affine in expectations has one number per draw whose mean is the estimate; its standard error
comes from all draws. Any other expression (of variances, or not affine) gets its error from a jackknife over blocks of
draws. Memory does not grow with the number of draws, and no number depends on the batch size beyond rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import overload

import torch

from scrub.compile import evaluate
from scrub.graph import (
    Add,
    Array,
    Concat,
    Cumulant,
    Einsum,
    EstimateError,
    Expr,
    Index,
    RandomVariableError,
    Rearrange,
    Tag,
    UnboundSymbolError,
    cast,
    postorder,
)
from scrub.rewrite import IterativeMatcher, new_traversal, substitute_all_modules
from scrub.sampling.estimates import Estimate, Estimates, Joint, jackknife_covariance
from scrub.sampling.moments import BlockMoments
from scrub.sampling.program import BatchProgram
from scrub.sampling.specs import RandomSampleSpec, RunDiscreteVarAllSpec, SampleSpec

_NUM_BLOCKS = 64
_NUM_SHIFT_DRAWS = 16
_CHECK_EVERY = 256  # draws between looks at the target, so that where it stops does not depend on the batch size
_LINEAR = (Add, Einsum, Rearrange, Index, Concat, Tag)


@overload
def estimate(
    exprs: Expr,
    *,
    n: int | None = None,
    seed: int = 0,
    spec: SampleSpec | None = None,
    batch_size: int = 64,
    target_stderr: float | None = None,
    biased: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Estimate: ...
@overload
def estimate(
    exprs: Mapping[str, Expr],
    *,
    n: int | None = None,
    seed: int = 0,
    spec: SampleSpec | None = None,
    batch_size: int = 64,
    target_stderr: float | None = None,
    biased: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Estimates: ...
def estimate(
    exprs: Expr | Mapping[str, Expr],
    *,
    n: int | None = None,
    seed: int = 0,
    spec: SampleSpec | None = None,
    batch_size: int = 64,
    target_stderr: float | None = None,
    biased: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Estimate | Estimates:
    """Estimate expressions whose random variables are all under cumulants; several share their draws.

    Args:
        exprs: one expression, or several by name.
        n: number of draws; with `target_stderr`, the most to make.
        seed: of the draws, if no spec is given.
        spec: how to draw, in place of n and seed: its draws are `spec.num_draws`. With `RunDiscreteVarAllSpec` the
            values are exact.
        batch_size: draws evaluated at a time; a matter of memory alone.
        target_stderr: stop once every standard error is at most this (looked at every 256 draws).
        biased: plug-in estimates of cumulants of order 2 and more instead of unbiased ones.
        progress: called with (draws made, draws in all) after each batch.

    Raises:
        RandomVariableError, UnboundSymbolError, SampleSpecError: the expression is not ready to be estimated.

    >>> from scrub.graph import DiscreteVar
    >>> dice = DiscreteVar(Array(torch.arange(1.0, 7.0)))
    >>> estimate(Cumulant(dice, dice), spec=RunDiscreteVarAllSpec([dice.probs_and_group])).value
    tensor(2.9167, dtype=torch.float64)
    """
    named = {"value": exprs} if isinstance(exprs, Expr) else dict(exprs)
    spec = _resolve_spec(spec, n, seed)
    if batch_size < 1:
        raise EstimateError(f"batch_size must be at least 1, not {batch_size}", found=batch_size)
    for expr in named.values():
        _check_ready(expr)
    work = _Estimation(named, spec, biased=biased)
    started = time.perf_counter()
    total, done = spec.num_draws, 0
    while done < total:
        stop = min(done + batch_size, total, (done // _CHECK_EVERY + 1) * _CHECK_EVERY)
        work.add(done, stop)
        done = stop
        if progress is not None:
            progress(done, total)
        if target_stderr is not None and done % _CHECK_EVERY == 0 and work.largest_stderr() <= target_stderr:
            break
    results = work.results(seconds=time.perf_counter() - started)
    return results["value"] if isinstance(exprs, Expr) else results


def _resolve_spec(spec: SampleSpec | None, n: int | None, seed: int) -> SampleSpec:
    if (spec is None) == (n is None):
        raise EstimateError("estimate needs either n or a spec", hint="rc.estimate(expr, n=2048, seed=0)")
    if spec is None:
        spec = RandomSampleSpec((n or 0,), seed=seed)
    if spec.num_draws < 1:
        raise EstimateError(f"estimate needs at least one draw, not {spec.num_draws}", found=spec.num_draws)
    return spec


class _Estimation:
    """The sums of one estimation."""

    def __init__(self, exprs: Mapping[str, Expr], spec: SampleSpec, *, biased: bool) -> None:
        self.exprs = {name: substitute_all_modules(expr) for name, expr in exprs.items()}
        self.spec = spec
        self.is_exact = spec.weights(0, 1) is not None
        self.biased = biased or self.is_exact
        self.n = 0
        # One number per draw where that is enough; else the arguments of every cumulant.
        self.per_draw = {name: _per_draw(expr) for name, expr in self.exprs.items() if _is_affine(expr)}
        others = [expr for name, expr in self.exprs.items() if name not in self.per_draw]
        self.cumulants = [node for node in postorder(others) if isinstance(node, Cumulant)]
        wanted = [*self.per_draw.values(), *(child for node in self.cumulants for child in node.children)]
        self.program = BatchProgram(wanted, spec)
        shifts = [v.to("cpu", torch.float64).mean(0) for v in self.program.run(0, min(_NUM_SHIFT_DRAWS, spec.num_draws))]
        num_blocks = min(_NUM_BLOCKS, spec.num_draws)
        self.means = [BlockMoments([shift], num_blocks=num_blocks) for shift in shifts[: len(self.per_draw)]]
        self.squares = [torch.zeros_like(shift) for shift in shifts[: len(self.per_draw)]]
        rest = iter(shifts[len(self.per_draw) :])
        self.moments = [BlockMoments([next(rest) for _ in c.children], num_blocks=num_blocks) for c in self.cumulants]
        self.scalars = [i for i, expr in enumerate(self.per_draw.values()) if expr.ndim == 0]
        self.products = torch.zeros(len(self.scalars), len(self.scalars), dtype=torch.float64)
        self.num_blocks = num_blocks

    def add(self, start: int, stop: int) -> None:
        values = iter(self.program.run(start, stop))
        weights = self.spec.weights(start, stop)
        weights = torch.ones(stop - start, dtype=torch.float64) if weights is None else weights
        blocks = torch.arange(start, stop) % self.num_blocks
        centred: list[torch.Tensor] = []
        for moments, square in zip(self.means, self.squares, strict=True):
            value = next(values).to("cpu", torch.float64)
            moments.add([value], weights, blocks)
            centred.append(value - moments.shifts[0])
            square += torch.tensordot(weights, centred[-1] ** 2, dims=1)
        if self.scalars:
            stacked = torch.stack([centred[i] for i in self.scalars])
            self.products += (stacked * weights) @ stacked.T
        for moments in self.moments:
            moments.add([next(values) for _ in moments.shifts], weights, blocks)
        self.n = stop

    def largest_stderr(self) -> float:
        return max((float(e.stderr.max()) for e in self.results(seconds=0.0).values() if e.stderr.numel()), default=0.0)

    def results(self, *, seconds: float) -> Estimates:
        highest = max((cumulant.order for cumulant in self.cumulants), default=1)
        blocks = range(self.num_blocks if self.num_blocks > highest and not self.is_exact else 0)
        values = self._values(None)
        per_block = [self._values(block) for block in blocks]
        replicates = {name: torch.stack([v[name] for v in per_block]) for name in values} if per_block else {}
        names = list(self.per_draw)
        joint = Joint(replicates, tuple(names[i] for i in self.scalars), self._scalar_covariance(), self.is_exact)
        seed = self.spec.seed if isinstance(self.spec, RandomSampleSpec) and self.spec.seeder is None else None
        return Estimates(
            {
                name: Estimate(name, values[name], self._stderr(name, joint), self.n, seed, joint, seconds)
                for name in self.exprs
            }
        )

    def _values(self, without_block: int | None) -> dict[str, torch.Tensor]:
        options = {"biased": self.biased, "without_block": without_block}
        result = {name: m.cumulant(**options) for name, m in zip(self.per_draw, self.means, strict=True)}
        estimated = {c: m.cumulant(**options) for c, m in zip(self.cumulants, self.moments, strict=True)}
        for name, expr in self.exprs.items():
            if name not in result:
                result[name] = evaluate(_fill_in(expr, estimated)).to("cpu", torch.float64)
        return result

    def _stderr(self, name: str, joint: Joint) -> torch.Tensor:
        if joint.is_exact:
            return torch.zeros(self.exprs[name].shape, dtype=torch.float64)
        if name in self.per_draw:
            i = list(self.per_draw).index(name)
            total = self.means[i].total.sum()
            mean = self.means[i].cumulant(biased=True) - self.means[i].shifts[0]
            if self.n < 2:
                return torch.full(self.exprs[name].shape, float("inf"), dtype=torch.float64)
            return ((self.squares[i] / total - mean**2).clamp_min(0) / (self.n - 1)).sqrt()
        if name not in joint.replicates:
            return torch.full(self.exprs[name].shape, float("inf"), dtype=torch.float64)
        return jackknife_covariance(joint.replicates[name], joint.replicates[name]).sqrt()

    def _scalar_covariance(self) -> torch.Tensor:
        if not self.scalars or self.n < 2:
            return torch.full((len(self.scalars), len(self.scalars)), float("inf"), dtype=torch.float64)
        means = torch.stack([self.means[i].cumulant(biased=True) - self.means[i].shifts[0] for i in self.scalars])
        total = self.means[0].total.sum()
        return (self.products / total - torch.outer(means, means)) / (self.n - 1)


def _check_ready(expr: Expr) -> None:
    if expr.free_symbols:
        raise UnboundSymbolError(
            f"cannot estimate {expr!r}: symbol {expr.free_symbols[0].name!r} is not bound",
            nodes=expr.free_symbols[:10],
            hint="bind it with rc.module_new_bind",
        )
    if not expr.is_constant:
        raise RandomVariableError(
            f"cannot estimate {expr!r}: a random variable in it is under no Cumulant",
            nodes=[expr],
            hint="rc.Cumulant(expr) is its expectation",
        )
    below = new_traversal(start_depth=1) & IterativeMatcher(Cumulant)
    nested = expr.get(IterativeMatcher(Cumulant).chain(below))
    if nested:
        raise EstimateError(
            f"cannot estimate {expr!r}: a cumulant is inside another", nodes=nested, hint="estimate the inner one first"
        )


def _is_affine(expr: Expr) -> bool:
    """Whether the expression is affine in cumulants, all of them expectations."""
    touched: dict[Expr, bool] = {}
    for node in postorder([expr], descend=lambda n: not isinstance(n, Cumulant)):
        if isinstance(node, Cumulant):
            if node.order != 1:
                return False
            touched[node] = True
            continue
        below = [child for child in node.children if touched[child]]
        if below and (not isinstance(node, _LINEAR) or (isinstance(node, Einsum) and len(below) > 1)):
            return False
        touched[node] = bool(below)
    return True


def _fill_in(expr: Expr, estimated: Mapping[Cumulant, torch.Tensor]) -> Expr:
    """The expression with numbers for its cumulants, in float64 throughout, so that no digits are lost."""

    def number(node: Expr) -> Expr:
        return Array(estimated[node.cast(Cumulant)].to(node.device))

    return cast(expr.update(Cumulant, number, assert_any_found=False), dtype=torch.float64)


def _per_draw(expr: Expr) -> Expr:
    """The random expression whose mean an affine expression of expectations is."""
    return expr.update(Cumulant, lambda node: node.children[0], assert_any_found=False)
