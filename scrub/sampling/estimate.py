"""`estimate`: expectations and other cumulants of random expressions, streamed over draws (SPEC 6.6).

An expression that is affine in expectations has one number per draw whose mean is the estimate; its standard error
comes from all draws. Any other expression (of variances, or not affine) gets its error from a jackknife over blocks of
draws. Memory does not grow with the number of draws, and no number depends on the batch size beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypedDict, Unpack, overload

from scrub.graph import (
    Cumulant,
    DiscreteVar,
    EstimateError,
    Expr,
    RandomVariableError,
    StoredCumulantVar,
    UnboundSymbolError,
)
from scrub.rewrite import IterativeMatcher, Matcher, get_paths, restrict
from scrub.sampling.estimates import Estimate, Estimates
from scrub.sampling.estimation import Estimation
from scrub.sampling.specs import RandomSampleSpec, SampleSpec

_CHECK_EVERY = 256  # draws between looks at the target, so that where it stops does not depend on the batch size


class EstimateOptions(TypedDict, total=False):
    """Keyword arguments of `estimate`."""

    n: int | None
    seed: int
    spec: SampleSpec | None
    batch_size: int
    target_stderr: float | None
    biased: bool
    progress: Callable[[int, int], None] | None


@overload
def estimate(exprs: Expr, **options: Unpack[EstimateOptions]) -> Estimate: ...
@overload
def estimate(exprs: Mapping[str, Expr], **options: Unpack[EstimateOptions]) -> Estimates: ...
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
        target_stderr: stop once every standard error is at most this (looked at every 256 draws); an enumeration is
            never cut short.
        biased: plug-in estimates of cumulants of order 2 and more instead of unbiased ones.
        progress: called with (draws made, draws in all) after each batch.

    Raises:
        RandomVariableError, UnboundSymbolError, SampleSpecError: the expression is not ready to be estimated.

    >>> import torch
    >>> from scrub.graph import Array
    >>> from scrub.sampling import RunDiscreteVarAllSpec
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
    work = Estimation(named, spec, biased=biased)
    total, done = spec.num_draws, 0
    target = None if work.is_exact else target_stderr  # part of an enumeration is no estimate
    while done < total:
        stop = min(done + batch_size, total)
        if target is not None:
            stop = min(stop, (done // _CHECK_EVERY + 1) * _CHECK_EVERY)
        work.add(done, stop)
        done = stop
        if progress is not None:
            progress(done, total)
        if target is not None and done % _CHECK_EVERY == 0 and work.largest_stderr() <= target:
            break
    results = work.results()
    return results["value"] if isinstance(exprs, Expr) else results


def _resolve_spec(spec: SampleSpec | None, n: int | None, seed: int) -> SampleSpec:
    if (spec is None) == (n is None):
        raise EstimateError("estimate needs either n or a spec", hint="rc.estimate(expr, n=2048, seed=0)")
    if spec is None:
        spec = RandomSampleSpec((n or 0,), seed=seed)
    if spec.num_draws < 1:
        raise EstimateError(f"estimate needs at least one draw, not {spec.num_draws}", found=spec.num_draws)
    return spec


def _check_ready(expr: Expr) -> None:
    if expr.free_symbols:
        raise UnboundSymbolError(
            f"cannot estimate {expr!r}: symbol {expr.free_symbols[0].name!r} is not bound",
            nodes=expr.free_symbols[:10],
            hint="bind it with rc.module_new_bind",
        )
    if not expr.is_constant:
        variables = restrict(Matcher(DiscreteVar, StoredCumulantVar), term_early_at=Cumulant)
        variable, path = next(iter(get_paths(expr, variables).items()))
        raise RandomVariableError(
            f"cannot estimate {expr!r}: random variable {variable!r} is under no Cumulant",
            nodes=[variable, *path[:-1][-4:]],
            found=variable,
            hint="rc.Cumulant(expr) is its expectation",
        )
    nested = expr.get(IterativeMatcher(Cumulant).chain(Cumulant, must_be_sub=True))
    if nested:
        raise EstimateError(
            f"cannot estimate {expr!r}: a cumulant is inside another", nodes=nested, hint="estimate the inner one first"
        )
