"""`estimate`: expectations and other cumulants of random expressions, streamed over draws (SPEC 6.6).

An expression that is affine in expectations has one number per draw whose mean is the estimate; its standard error
comes from all draws. Any other expression (of variances, or not affine) gets its error from a jackknife over blocks of
draws. Memory does not grow with the number of draws, and no number depends on the batch size beyond rounding. Stopped
in the middle, by an interrupt or for lack of memory, it returns the estimates from the draws so far.
"""

from __future__ import annotations

import warnings
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
from scrub.sampling.stopping import PartialEstimateWarning, is_out_of_memory
from scrub.sampling.streaming import take_draws


class EstimateOptions(TypedDict, total=False):
    """Keyword arguments of `estimate`."""

    n: int | None
    seed: int
    spec: SampleSpec | None
    batch_size: int
    max_memory: int | None
    target_stderr: float | None
    biased: bool
    partial: bool
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
    max_memory: int | None = None,
    target_stderr: float | None = None,
    biased: bool = False,
    partial: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Estimate | Estimates:
    """Estimate expressions whose random variables are all under cumulants; several share their draws.

    Args:
        exprs: one expression, or several by name.
        n: number of draws; with `target_stderr`, the most to make.
        seed: of the draws, if no spec is given.
        spec: how to draw, in place of n and seed: its draws are `spec.num_draws`. With `RunDiscreteVarAllSpec` the
            values are exact.
        batch_size: draws evaluated at a time; a matter of memory alone. Where memory does not suffice, they are halved
            until it does, with a `BatchSizeWarning`.
        max_memory: most bytes that evaluating a batch may take beyond weights and results; it is computed in portions
            that fit.
        target_stderr: stop once every standard error is at most this (looked at every 256 draws); an enumeration is
            never cut short.
        biased: plug-in estimates of cumulants of order 2 and more instead of unbiased ones.
        partial: return the estimates from the draws so far, with a `PartialEstimateWarning`, where an interrupt or lack
            of memory stops the work and these draws suffice (of an enumeration, only all do). Without it, or where
            they do not, what stopped the work is raised.
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
    work = Estimation(named, spec, biased=biased, max_memory=max_memory)
    target = None if work.is_exact else target_stderr  # part of an enumeration is no estimate
    stopped: PartialEstimateWarning | None = None
    results: Estimates | None = None
    try:
        take_draws(work, batch_size=batch_size, target_stderr=target, progress=progress)
        results = work.results()
    except (KeyboardInterrupt, MemoryError, RuntimeError) as error:
        out_of_memory = is_out_of_memory(error)
        if not partial or not (out_of_memory or isinstance(error, KeyboardInterrupt)) or work.n < work.num_needed:
            raise
        stopped = PartialEstimateWarning(work.n, spec.num_draws, is_out_of_memory=out_of_memory)
    if stopped is not None:
        warnings.warn(stopped, stacklevel=2)
    if results is None:
        results = work.results()  # only here is the error let go of, whose traceback holds the failed batch's tensors
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
