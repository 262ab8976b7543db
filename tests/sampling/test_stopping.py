"""Stopped in the middle, `estimate` returns the estimates of a whole number of batches, and can be run again."""

from __future__ import annotations

import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.graph import Expr
from scrub.sampling import BatchSizeWarning, PartialEstimateWarning
from scrub.sampling.estimation import Estimation
from scrub.sampling.program import BatchProgram
from scrub.sampling.stopping import is_out_of_memory

_PACKAGE = str(Path(rc.__file__).parent)
_SAMPLING = str(Path(_PACKAGE) / "sampling")


def _exprs() -> dict[str, Expr]:
    """A mean, a vector of means, a covariance, a function of cumulants: every kind of sum."""
    values = torch.randn(30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = rc.DiscreteVar(rc.Array(values), rc.Tag.new_from_name(rc.uniform(30), "x"), "x")
    mean = rc.Cumulant(x.sum())
    return {
        "mean": mean,
        "vector": rc.Cumulant(x),
        "covariance": rc.Cumulant(x, x.sum()),
        "function": rc.elementwise("exp", mean.scale(0.1)).mul(mean),
    }


def _same(a: rc.Estimates, b: rc.Estimates, *, exact: bool = True) -> bool:
    """Values, errors and draws alike, bit by bit or to rounding."""
    equal: Callable[[torch.Tensor, torch.Tensor], bool] = torch.equal if exact else torch.allclose
    return all(
        a[name].n == b[name].n and equal(a[name].value, b[name].value) and equal(a[name].stderr, b[name].stderr)
        for name in a
    )


def _interrupted_after(draws: int, **options: Any) -> rc.Estimates:
    """Estimates of a call that gets a SIGINT, as from the keyboard, after so many draws."""

    def progress(done: int, _: int) -> None:
        if done == draws:
            signal.raise_signal(signal.SIGINT)

    return rc.estimate(_exprs(), progress=progress, **options)


@pytest.mark.parametrize("draws", [4, 20, 63, 64, 65, 300])
def test_an_interrupt_gives_the_estimates_of_the_draws_so_far(draws: int) -> None:
    """As if only these had been asked for, jackknife included, also where there are fewer draws than blocks."""
    with pytest.warns(PartialEstimateWarning, match=f"interrupted: .* first {draws} of 1000 draws") as caught:
        partial = _interrupted_after(draws, n=1000, seed=7, batch_size=draws)
    assert len(caught) == 1
    warning = caught[0].message
    assert isinstance(warning, PartialEstimateWarning)
    assert (warning.n, warning.num_draws) == (draws, 1000)
    assert caught[0].filename == __file__
    assert {estimate.n for estimate in partial.values()} == {draws}
    whole = rc.estimate(_exprs(), n=draws, seed=7)
    assert _same(partial, whole, exact=False)
    torch.testing.assert_close(partial.covariance("mean", "function"), whole.covariance("mean", "function"))


def test_after_an_interrupt_the_same_call_gives_what_a_first_one_gives() -> None:
    first = rc.estimate(_exprs(), n=100, seed=2, batch_size=30)
    with pytest.warns(PartialEstimateWarning):
        _interrupted_after(30, n=100, seed=2, batch_size=30)
    assert _same(rc.estimate(_exprs(), n=100, seed=2, batch_size=30), first)


def test_an_interrupt_is_raised_where_the_draws_do_not_suffice_or_on_request() -> None:
    with pytest.raises(KeyboardInterrupt):
        _interrupted_after(30, n=100, batch_size=30, partial=False)
    with pytest.raises(KeyboardInterrupt):  # a covariance needs two draws
        _interrupted_after(1, n=100, batch_size=1)
    with pytest.warns(PartialEstimateWarning):
        assert _interrupted_after(1, n=100, batch_size=1, biased=True)["mean"].n == 1
    x = rc.DiscreteVar(rc.Array(torch.arange(10.0)))
    every = rc.RunDiscreteVarAllSpec([x.probs_and_group])

    def progress(done: int, _: int) -> None:
        if done == 6:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):  # part of an enumeration is an estimate of nothing
        rc.estimate(rc.Cumulant(x), spec=every, batch_size=2, progress=progress)


def test_other_errors_are_raised() -> None:
    def progress(done: int, _: int) -> None:
        raise RuntimeError(f"no place to report {done} draws to")

    with pytest.raises(RuntimeError, match="no place to report 10 draws"):
        rc.estimate(_exprs(), n=100, batch_size=10, progress=progress)


def test_a_sampler_returns_no_values_of_fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Sampler.estimate` gives arrays, which do not say how many draws they are from."""
    run, calls = BatchProgram.run, iter(range(100))

    def interrupted(self: BatchProgram, start: int, stop: int) -> list[torch.Tensor]:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return run(self, start, stop)

    monkeypatch.setattr(BatchProgram, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rc.Sampler(rc.RandomSampleSpec((100,))).estimate(_exprs()["mean"], batch_size=10)


@contextmanager
def _interrupt_at(step: int, *, lines_alone: bool = False) -> Iterator[list[bool]]:
    """Raise a KeyboardInterrupt before the step-th opcode of sampling or line of the rest of the package.

    Python itself lets an interrupt in between two opcodes, so these are all the places there are in sampling. What is
    given back is filled once that happened.
    """
    left, fired = step, list[bool]()
    before = sys.gettrace()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        where = frame.f_code.co_filename
        if not where.startswith(_PACKAGE):
            return None
        fine = where.startswith(_SAMPLING) and not lines_alone
        frame.f_trace_opcodes, frame.f_trace_lines = fine, not fine
        left -= event == ("opcode" if fine else "line")
        if left == 0 and not fired:
            fired.append(True)
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        yield fired
    finally:
        sys.settrace(before)


def _all_sums(work: Estimation) -> list[torch.Tensor]:
    sums = work.sums
    assert sums is not None
    kept = [*sums.squares, sums.products]
    for moments in (*sums.means, *sums.moments):
        kept += [*moments.shifts, moments.total, *moments.sums.values()]
    return [tensor.clone() for tensor in kept]


def test_a_batch_is_taken_in_whole_or_not_at_all_wherever_the_interrupt_falls() -> None:
    """At every opcode of sampling and every line of the evaluator, one after the other in one estimation.

    What is left is bit by bit the sums before the batch or after it, and going on from there works.
    """
    exprs = {name: expr for name, expr in _exprs().items() if name in ("mean", "covariance")}
    work = Estimation(exprs, rc.RandomSampleSpec((100,), seed=4), biased=False)
    work.add(8)
    before = work.sums
    expected = {8: _all_sums(work)}
    work.add(11)
    expected[11] = _all_sums(work)
    outcomes: list[int] = []
    while True:
        work.sums = before
        try:
            with _interrupt_at(len(outcomes) + 1):
                work.add(11)
        except KeyboardInterrupt:
            outcomes.append(work.n)
        else:
            break
        assert all(map(torch.equal, _all_sums(work), expected[work.n]))
    assert all(map(torch.equal, _all_sums(work), expected[11]))
    assert outcomes == sorted(outcomes)  # up to one moment the old sums, from then on the new
    assert set(outcomes) == {8, 11}
    assert len(outcomes) > 500


def test_estimates_are_of_whole_batches_wherever_the_interrupt_falls() -> None:
    """The whole call, at lines spread over it: raised while nothing is in, estimates of whole batches from then on."""
    expr, n = _exprs()["mean"], 12
    whole = {stop: rc.estimate(expr, n=stop, seed=9) for stop in (4, 8, 12)}
    outcomes: list[int] = []
    step = 1
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PartialEstimateWarning)
            try:
                with _interrupt_at(step, lines_alone=True) as fired:
                    estimate = rc.estimate(expr, n=n, seed=9, batch_size=4)
            except KeyboardInterrupt:
                outcomes.append(0)
            else:
                if not fired:
                    break
                outcomes.append(estimate.n)
                torch.testing.assert_close(estimate.value, whole[estimate.n].value)
                torch.testing.assert_close(estimate.stderr, whole[estimate.n].stderr)
        step += 1 + step // 40
    assert outcomes[:-1] == sorted(outcomes[:-1])
    assert set(outcomes) == {0, 4, 8, 12}


def test_a_program_interrupted_while_it_is_compiled_can_be_run_again() -> None:
    """The first run compiles. Wherever an interrupt ends it, the next one gives the values of any other."""
    exprs = [expr.children[0] for expr in (_exprs()["mean"], _exprs()["vector"])]
    spec = rc.RandomSampleSpec((100,), seed=4)
    expected = BatchProgram(exprs, spec).run(0, 9)
    program, step, num_interrupts = BatchProgram(exprs, spec), 1, 0
    while True:
        try:
            with _interrupt_at(step, lines_alone=True):
                program.run(0, 9)
        except KeyboardInterrupt:
            num_interrupts += 1
        else:
            break
        assert all(map(torch.equal, program.run(0, 9), expected))
        step += 1 + step // 20
        program = BatchProgram(exprs, spec)
    assert num_interrupts > 50


def _limited(monkeypatch: pytest.MonkeyPatch, error: Callable[[], BaseException], most: int) -> list[int]:
    """Let the program fail for want of memory on more than so many draws; the sizes it was asked for."""
    run, sizes = BatchProgram.run, list[int]()

    def limited(self: BatchProgram, start: int, stop: int) -> list[torch.Tensor]:
        sizes.append(stop - start)
        if stop - start > most:
            raise error()
        return run(self, start, stop)

    monkeypatch.setattr(BatchProgram, "run", limited)
    return sizes


_ERRORS = {
    "python": MemoryError,
    "cuda": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "windows": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 1"),
}


@pytest.mark.parametrize("kind", _ERRORS)
def test_out_of_memory_halves_the_batch_and_changes_no_number(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rc.estimate(_exprs(), n=100, seed=3, batch_size=33)
    sizes = _limited(monkeypatch, _ERRORS[kind], 5)
    with pytest.warns(BatchSizeWarning, match="33 draws at a time: going on with 4") as caught:
        smaller = rc.estimate(_exprs(), n=100, seed=3, batch_size=33)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert sizes == [33, 16, 8] + [4] * 25
    assert _same(smaller, whole, exact=False)


def test_out_of_memory_with_one_draw_gives_the_estimates_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rc.estimate(_exprs(), n=20, seed=3)

    def progress(done: int, _: int) -> None:
        if done == 20:
            _limited(monkeypatch, MemoryError, 0)

    with pytest.warns(PartialEstimateWarning, match="out of memory with one draw .* first 20 of 100") as caught:
        partial = rc.estimate(_exprs(), n=100, seed=3, batch_size=10, progress=progress)
    assert [type(w.message) for w in caught] == [PartialEstimateWarning]
    assert _same(partial, whole, exact=False)
    with pytest.raises(MemoryError):  # and nothing is in when the first batch fails already
        rc.estimate(_exprs(), n=100)


def test_a_target_is_reached_at_the_same_draw_after_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    expr = _exprs()["mean"]
    before = rc.estimate(expr, n=5000, target_stderr=0.06)
    assert before.n < 5000
    _limited(monkeypatch, MemoryError, 50)
    with pytest.warns(BatchSizeWarning):
        after = rc.estimate(expr, n=5000, target_stderr=0.06, batch_size=200)
    assert after.n == before.n
    torch.testing.assert_close(after.value, before.value)


def test_what_says_that_memory_does_not_suffice() -> None:
    with pytest.raises(RuntimeError, match="allocate") as caught:  # whatever this machine's allocator says
        torch.empty(2**58)
    assert is_out_of_memory(caught.value)
    assert not any(map(is_out_of_memory, (RuntimeError("shapes"), KeyboardInterrupt(), ValueError("out of memory"))))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space are those of Linux")
def test_a_real_lack_of_memory_halves_the_batch() -> None:
    """A process that may have 300 MB more, and 32 draws of which each one makes a tensor of 16 MB."""
    ran = subprocess.run([sys.executable, "-c", _LITTLE_MEMORY], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    fits, value, expected = ran.stdout.split()
    assert 1 <= int(fits) <= 16
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


_LITTLE_MEMORY = """
import resource, warnings, torch, scrub as rc
from scrub.sampling import BatchSizeWarning

torch.set_num_threads(1)
x = rc.DiscreteVar(rc.Array(torch.arange(1.0, 9.0)), name="x")
large = rc.elementwise("exp", x.mul(rc.Array(torch.linspace(-1.0, 0.0, 2**22)))).mean()
rc.estimate(rc.Cumulant(large), n=1)  # what is loaded on first use is there
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, resource.RLIM_INFINITY))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    got = rc.estimate(rc.Cumulant(large), n=32, seed=0)
(warning,) = caught
assert isinstance(warning.message, BatchSizeWarning), warning
draws = rc.Sampler(rc.RandomSampleSpec((32,), seed=0)).sample(x).evaluate().double()
print(warning.message.fits, float(got), float(((1 - (-draws).exp()) / draws).mean()))
"""
