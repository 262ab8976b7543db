"""Metrics against torch's own losses, and their values where they are known."""

import math

import pytest
import torch

from scrub.discovery import metrics
from scrub.tasks.task import Task


def logits_and_task(n: int = 20, vocabulary: int = 50) -> tuple[torch.Tensor, torch.Tensor, Task]:
    generator = torch.Generator().manual_seed(0)
    logits, original = torch.randn(2, n, 1, vocabulary, generator=generator, dtype=torch.float64) * 3
    answers = torch.randint(0, vocabulary, (n,), generator=generator)
    tokens = torch.randint(0, vocabulary, (n, 4), generator=generator)
    return logits, original, Task.from_tokens("random", tokens, answers=answers, wrong=(answers + 1) % vocabulary)


def test_cross_entropy_is_that_of_torch():
    logits, _, task = logits_and_task()
    expected = torch.nn.functional.cross_entropy(logits[:, 0], task.answers[:, 0, 0], reduction="none")
    torch.testing.assert_close(metrics.cross_entropy(logits, task), expected)
    torch.testing.assert_close(metrics.answer_log_probability(logits, task), -expected)


def test_kl_is_that_of_torch():
    logits, original, task = logits_and_task()
    both = (torch.distributions.Categorical(logits=each[:, 0]) for each in (original, logits))
    torch.testing.assert_close(metrics.kl_divergence(logits, task, original), torch.distributions.kl_divergence(*both))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_kl_to_itself_is_exactly_0(dtype: torch.dtype):
    logits, _, task = logits_and_task()
    logits = logits.to(dtype)
    assert (metrics.kl_divergence(logits, task, logits) == 0).all()


def test_kl_takes_originals_of_another_precision():
    logits, original, task = logits_and_task()
    found = metrics.kl_divergence(logits.float(), task, original)
    torch.testing.assert_close(found, metrics.kl_divergence(logits, task, original), rtol=1e-5, atol=1e-5)


def test_kl_where_tokens_are_ruled_out():
    """Minus infinity in both, as a masked vocabulary has it: neither value nor gradient is NaN."""
    logits, original, task = logits_and_task(vocabulary=10)
    shut_logits, shut_original = (each.index_fill(-1, torch.tensor([3, 7]), -math.inf) for each in (logits, original))
    shut_logits.requires_grad_()
    found = metrics.kl_divergence(shut_logits, task, shut_original)
    kept = [0, 1, 2, 4, 5, 6, 8, 9]
    torch.testing.assert_close(found, metrics.kl_divergence(logits[..., kept], _small(task), original[..., kept]))
    assert torch.autograd.grad(found.sum(), shut_logits)[0].isfinite().all()


def test_greater_than():
    """Years above the one of the prompt are right, the others wrong: of a uniform model the difference of counts."""
    years = torch.arange(100)
    start = torch.tensor([10, 42])
    right = torch.where(years > start[:, None], years, -1)[:, None]
    wrong = torch.where(years <= start[:, None], years, -1)[:, None]
    task = Task.from_tokens("greater-than", start[:, None], answers=right, wrong=wrong)
    found = metrics.probability_difference(torch.zeros(2, 1, 200), task)
    torch.testing.assert_close(found, torch.tensor([(89 - 11) / 200, (57 - 43) / 200]))


def test_large_logits_do_not_overflow():
    task = Task.from_tokens("one", [[0]], answers=[1], wrong=[0])
    logits = torch.tensor([[[60000.0, 65000.0, -65000.0]]], dtype=torch.float16)
    assert metrics.logit_difference(logits, task).tolist() == [4992.0]  # 65000 is 64992 in float16
    assert metrics.answer_probability(logits, task).tolist() == [1.0]
    assert metrics.cross_entropy(-logits, task).tolist() == [129984.0]


def _small(task: Task) -> Task:
    return Task.from_tokens("small", task.tokens, answers=task.answers.clamp_max(0))
