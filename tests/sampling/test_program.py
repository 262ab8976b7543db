"""Expressions evaluated on portions of draws: any size, within a memory limit, with shares of the time."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub.graph import Expr, MemoryLimitError
from scrub.sampling import BatchSizeWarning
from scrub.sampling.program import BatchProgram

_SPEC = rc.RandomSampleSpec((100,), seed=0)
_MB = 2**20


def _var(*shape: int, name: str = "x") -> rc.DiscreteVar:
    values = torch.randn(20, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return rc.DiscreteVar(rc.Array(values), rc.Tag.new_from_name(rc.uniform(20), name), name)


def _wide(x: Expr) -> Expr:
    """A number, over a value of 8 MB for each draw."""
    return rc.elementwise("exp", x.mul(rc.Array(torch.linspace(-1.0, 0.0, _MB, dtype=torch.float64)))).mean()


@pytest.mark.parametrize("size", [1, 7, 100])
def test_values_are_those_that_the_sampler_draws(size: int) -> None:
    x, y = _var(3), _var(3, name="y")
    exprs = [x.mul(y), x.sum(), rc.Array(torch.ones(2, dtype=torch.float64)), x.mul(y)]
    program = BatchProgram(exprs, _SPEC)
    portions = [program.run(start, min(start + size, 100)) for start in range(0, 100, size)]
    for expr, parts in zip(exprs, zip(*portions, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(parts), rc.Sampler(_SPEC).sample(expr).evaluate())


def test_batches_of_none_and_of_one_draw() -> None:
    x = _var(2)
    program = BatchProgram([x.scale(2.0), rc.Scalar(1.0)], _SPEC)
    assert [value.shape for value in program.run(3, 3)] == [(0, 2), (0,)]
    assert [value.shape for value in program.run(3, 4)] == [(1, 2), (1,)]
    torch.testing.assert_close(program.run(3, 4)[0], program.run(0, 5)[0][3:4])


def test_a_memory_limit_changes_no_number() -> None:
    expr = _wide(_var())
    free = BatchProgram([expr], _SPEC).run(0, 10)[0]
    limited = BatchProgram([expr], _SPEC, max_memory=40 * _MB)
    torch.testing.assert_close(limited.run(0, 10)[0], free)
    with_limit = rc.estimate(rc.Cumulant(expr), n=20, seed=1, max_memory=40 * _MB)
    torch.testing.assert_close(with_limit.value, rc.estimate(rc.Cumulant(expr), n=20, seed=1).value)


def test_a_limit_that_the_results_of_a_batch_exceed_makes_batches_smaller() -> None:
    x = _var(_MB // 8)  # 1 MB for each draw
    whole = rc.estimate(rc.Cumulant(x.scale(2.0)), n=16, batch_size=16)
    with pytest.warns(BatchSizeWarning, match="16 draws at a time"):
        limited = rc.estimate(rc.Cumulant(x.scale(2.0)), n=16, batch_size=16, max_memory=6 * _MB)
    torch.testing.assert_close(limited.value, whole.value)


def test_a_limit_below_what_one_draw_needs_is_an_error() -> None:
    with pytest.raises(MemoryLimitError, match="bytes are too few"):
        rc.estimate(rc.Cumulant(_wide(_var())), n=10, max_memory=_MB)


def test_shares_of_the_time_follow_the_operations_that_each_adds() -> None:
    """x' W x is a product of 2 * 32 * 32 operations and one of 2 * 32, and adding it up adds 1."""
    x, w = _var(32), rc.Array(torch.randn(32, 32, dtype=torch.float64))
    product = rc.Einsum.from_string("a,ab->b", x, w)
    form = rc.Einsum.from_string("a,a->", product, x)
    exprs = [product, form, form.add(rc.Scalar(1.0)), product.add(rc.Scalar(0.0)), rc.Scalar(3.0)]
    program = BatchProgram([*exprs, form], _SPEC)
    assert all(program.seconds(expr) == 0 for expr in exprs)
    program.run(0, 50)
    program.run(50, 100)
    seconds = torch.tensor([program.seconds(expr) for expr in exprs], dtype=torch.float64)
    expected = torch.tensor([2 * 32 * 32, 2 * 32, 1, 32, 0], dtype=torch.float64)
    torch.testing.assert_close(seconds / seconds.sum(), expected / expected.sum())
    assert program.seconds(w) == 0
    constants = BatchProgram([rc.Scalar(1.0), rc.Scalar(2.0)], _SPEC)
    constants.run(0, 10)
    assert constants.seconds(rc.Scalar(1.0)) == constants.seconds(rc.Scalar(2.0)) > 0


def test_estimates_report_shares_that_add_up() -> None:
    x = _var(3)
    exprs = {"variance": rc.Cumulant(x, x), "mean": rc.Cumulant(x.mul(x)), "same": rc.Cumulant(x.mul(x))}
    e = rc.estimate(exprs, n=100)
    assert e["mean"].seconds > 0
    assert e["same"].seconds >= 0
