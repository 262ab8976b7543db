"""What every registered metric must do. A new one is found here by itself; it needs a formula in `cases.PER_PLACE`."""

import itertools

import numpy as np
import pytest
import torch

from scrub.discovery.metrics import METRICS
from tests.discovery.metrics.cases import PER_PLACE, Case, by_hand, case

EVERY = sorted(METRICS)
DIFFERENTIABLE = [name for name in EVERY if METRICS[name].is_differentiable]
SEEDS = range(5)


def value(name: str, given: Case) -> torch.Tensor:
    return METRICS[name](given.logits, given.task, given.original)


def test_every_metric_has_a_formula():
    assert set(PER_PLACE) == set(METRICS)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", EVERY)
def test_formula(name: str, seed: int):
    given = case(seed)
    found = value(name, given)
    assert found.shape == (len(given.task),)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), by_hand(name, given), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_ties(name: str):
    """Whole numbers make many logits equal."""
    given = case(11, n=40, scale=1.0)
    given = Case(given.task, given.logits.round(), given.original)
    np.testing.assert_allclose(value(name, given).numpy(), by_hand(name, given), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", EVERY)
def test_precision(name: str, dtype: torch.dtype):
    """As exact as float32 is for the logits as they are, which are large and far from 0."""
    given = case(3, dtype=dtype, n=30, scale=8.0)
    given = Case(given.task, given.logits - 100, given.original + 50)
    found = value(name, given)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), by_hand(name, given), rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("name", EVERY)
def test_batches_make_no_difference(name: str):
    given = case(1, n=7)
    whole = value(name, given)
    for size in (1, 3):
        parts = [value(name, given.of(list(range(start, min(start + size, 7))))) for start in range(0, 7, size)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", EVERY)
def test_order_of_examples(name: str):
    given = case(2)
    order = [4, 0, 5, 2, 1, 3]
    torch.testing.assert_close(value(name, given.of(order)), value(name, given)[order], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", EVERY)
def test_order_of_vocabulary(name: str):
    """Tokens have no order: not even equal logits give the first of them an advantage."""
    given = case(4, scale=1.0)
    given = Case(given.task, given.logits.round(), given.original)
    new = torch.randperm(11, generator=torch.Generator().manual_seed(0))  # token t is called new[t]

    def renamed(tokens: torch.Tensor) -> torch.Tensor:
        return torch.where(tokens == -1, -1, new[tokens.clamp_min(0)])

    task = type(given.task).from_tokens(
        "renamed",
        given.task.tokens,
        positions=given.task.positions,
        answers=renamed(given.task.answers).flip(-1),
        wrong=renamed(given.task.wrong).flip(-1),
    )
    moved = [torch.empty_like(each).index_copy(-1, new, each) for each in (given.logits, given.original)]
    torch.testing.assert_close(value(name, Case(task, *moved)), value(name, given))


@pytest.mark.parametrize("name", EVERY)
def test_what_is_absent_does_not_matter(name: str):
    given = case(5)
    absent = given.task.positions == -1
    assert absent.any()
    expected = value(name, given)
    for junk in (0.0, 1e30, -torch.inf, torch.inf, torch.nan):
        filled = [torch.where(absent[..., None], junk, each) for each in (given.logits, given.original)]
        assert torch.equal(value(name, Case(given.task, *filled)), expected)


@pytest.mark.parametrize("junk", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_what_is_absent_has_no_gradient(name: str, junk: float):
    given = case(5)
    absent = given.task.positions == -1
    logits = torch.where(absent[..., None], junk, given.logits).requires_grad_()
    (gradient,) = torch.autograd.grad(METRICS[name](logits, given.task, given.original).sum(), logits)
    assert gradient.isfinite().all()
    assert (gradient[absent] == 0).all()
    assert (gradient[~absent].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient(name: str):
    given = case(6, n=3)
    present = given.task.positions != -1

    def function(at_places: torch.Tensor) -> torch.Tensor:
        logits = given.logits.masked_scatter(present[..., None].expand_as(given.logits), at_places)
        return METRICS[name](logits, given.task, given.original)

    assert torch.autograd.gradcheck(function, given.logits[present].requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_in_half_precision(name: str, dtype: torch.dtype):
    """The gradient for float32 logits of the same values, rounded."""
    given = case(7, dtype=dtype)

    def gradient(logits: torch.Tensor) -> torch.Tensor:
        logits = logits.detach().requires_grad_()
        return torch.autograd.grad(METRICS[name](logits, given.task, given.original).sum(), logits)[0]

    torch.testing.assert_close(gradient(given.logits), gradient(given.logits.float()).to(dtype))


@pytest.mark.parametrize("name", sorted(set(EVERY) - set(DIFFERENTIABLE)))
def test_counts_have_no_gradient(name: str):
    given = case(6)
    assert not METRICS[name](given.logits.requires_grad_(), given.task, given.original).requires_grad


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", EVERY)
def test_direction(name: str, seed: int):
    """Raising the logits of right answers, of an original that is sure of them, makes it better and never worse."""
    given = case(seed)
    is_right = torch.zeros_like(given.logits).bool()
    for example, place, index in (given.task.answers != -1).nonzero().tolist():
        is_right[example, place, given.task.answers[example, place, index]] = True
    original = torch.where(is_right, 9.0, given.original)
    sign = 1 if METRICS[name].larger_is_better else -1
    steps = [sign * METRICS[name](given.logits + is_right * raise_, given.task, original) for raise_ in (0, 1, 2, 12)]
    for before, after in itertools.pairwise(steps):
        assert (after >= before - 1e-3).all()  # KL has its least where the run is as sure as the original
    assert (steps[-1] > steps[0]).any()


@pytest.mark.parametrize("name", EVERY)
def test_what_it_needs_is_all_it_reads(name: str):
    """Without what is not declared, the result is the same."""
    given = case(8)
    needs = METRICS[name].needs
    task = given.task
    without = type(task).from_tokens(
        "less",
        task.tokens,
        positions=task.positions,
        answers=task.answers if "answers" in needs else torch.where(task.positions == -1, -1, 0)[..., None],
        wrong=task.wrong if "wrong" in needs else None,
    )
    found = METRICS[name](given.logits, without, given.original if "original" in needs else None)
    assert torch.equal(found, value(name, given))
