"""The registry, callables as metrics, and what a metric refuses, with the message it gives."""

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scrub.discovery import metrics
from scrub.discovery.metrics import METRICS, Metric, as_metric, kl_divergence, logit_difference, metric, register
from scrub.graph import DiscoveryError
from scrub.tasks.task import Task
from tests.discovery.metrics.cases import case

TASK = Task.from_tokens("three", torch.arange(6).reshape(3, 2), answers=[0, 1, 2], wrong=[1, 2, 3])
LOGITS = torch.randn(3, 1, 5, generator=torch.Generator().manual_seed(0))


def check(error: pytest.ExceptionInfo[DiscoveryError], *words: str, expected: object, found: object) -> None:
    message = str(error.value)
    assert all(word in message for word in (*words, "hint:")), message
    assert error.value.expected == expected
    if found == found:
        assert error.value.found == found


def test_registry_by_name():
    assert metric("logit_difference") is logit_difference
    assert all(name == each.name for name, each in METRICS.items())


def first(logits: torch.Tensor, batch: Task) -> torch.Tensor:
    return logits[:, 0, 0]


def first_of_three(logits: torch.Tensor, batch: Task, original: torch.Tensor | None) -> torch.Tensor:
    return logits[:, 0, 0]


@pytest.mark.parametrize("name", sorted(METRICS))
def test_registered_metrics_stay_the_same_object(name: str):
    assert pickle.loads(pickle.dumps(METRICS[name])) is METRICS[name]
    assert copy.deepcopy(METRICS[name]) is METRICS[name]


@pytest.mark.parametrize("function", [first, first_of_three])
def test_other_metrics_are_copied(function: Any):
    found = pickle.loads(pickle.dumps(as_metric(function, larger_is_better=False, needs=["answers"])))
    assert (found.name, found.larger_is_better, found.needs) == (function.__name__, False, {"answers"})
    assert torch.equal(found(LOGITS, TASK), LOGITS[:, 0, 0])


def test_unknown_name():
    with pytest.raises(DiscoveryError) as error:
        metric("logit_diference")
    check(
        error,
        "'logit_diference'",
        "did you mean 'logit_difference'",
        expected=tuple(sorted(METRICS)),
        found="logit_diference",
    )


def test_a_file_registers_a_metric(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scrub.discovery.metrics.base.METRICS", {})

    @register(larger_is_better=False, needs=["answers"])
    def first_logit(logits: torch.Tensor, batch: Task, original: torch.Tensor | None = None) -> torch.Tensor:
        """The first."""
        return logits[:, 0, 0]

    assert metric("first_logit") is first_logit
    assert (first_logit.larger_is_better, first_logit.needs) == (False, {"answers"})
    assert first_logit.__doc__ == "The first."
    with pytest.raises(TypeError, match="registered already"):
        register(larger_is_better=True)(first_logit.function)


def test_every_file_of_the_package_is_imported():
    files = Path(metrics.__path__[0]).glob("[!_]*.py")
    assert {f"{metrics.__name__}.{file.stem}" for file in files} <= set(sys.modules)


def test_as_metric_of_metrics_and_names():
    assert as_metric(logit_difference) is logit_difference
    assert as_metric("accuracy") is METRICS["accuracy"]


def test_as_metric_of_two_and_three_arguments():
    two = as_metric(lambda logits, batch: logits[:, 0, 0], name="two", larger_is_better=True)
    three = as_metric(
        lambda logits, batch, original: logits[:, 0, 0] - original[:, 0, 0], name="three", larger_is_better=False
    )
    assert torch.equal(two(LOGITS, TASK), LOGITS[:, 0, 0])
    assert torch.equal(three(LOGITS, TASK, 2 * LOGITS), -LOGITS[:, 0, 0])
    assert (two.larger_is_better, three.larger_is_better) == (True, False)


def test_as_metric_takes_the_name_of_the_callable():
    def margin(logits: torch.Tensor, batch: Task) -> torch.Tensor:
        return logits[:, 0, 0]

    class Scaled:
        def __call__(self, logits: torch.Tensor, batch: Task, original: Any = None) -> torch.Tensor:
            return logits[:, 0, 0]

    assert as_metric(margin, larger_is_better=True).name == "margin"
    assert as_metric(Scaled(), larger_is_better=True).name == "Scaled"


def test_as_metric_shows_a_callable_no_absent_places():
    given = case(5)
    found = as_metric(lambda logits, batch: logits.sum((1, 2)), name="sum", larger_is_better=True)
    present = (given.task.positions != -1)[..., None]
    expected = torch.where(present, given.logits, 0.0).sum((1, 2))
    torch.testing.assert_close(found(given.logits, given.task), expected)


def test_as_metric_without_direction():
    with pytest.raises(DiscoveryError) as error:
        as_metric(lambda logits, batch: logits[:, 0, 0], name="mine")
    check(error, "'mine'", "larger_is_better=True", expected="larger_is_better=True or False", found=None)


@pytest.mark.parametrize("function", [lambda logits: logits, lambda a, b, c, d: a])
def test_as_metric_of_other_arguments(function: Any):
    with pytest.raises(DiscoveryError, match=r"metric 'mine' takes .*\n.*hint: ") as error:
        as_metric(function, name="mine", larger_is_better=True)
    assert "(logits, batch)" in str(error.value.expected)


def test_unknown_need():
    with pytest.raises(DiscoveryError, match="'mine' needs 'labels', which nothing provides"):
        as_metric(lambda logits, batch: logits, name="mine", larger_is_better=True, needs=["labels"])  # type: ignore


@pytest.mark.parametrize("shape", [(3, 5), (2, 1, 5), (3, 2, 5), (3, 1, 5, 1)])
def test_logits_of_another_shape(shape: tuple[int, ...]):
    with pytest.raises(DiscoveryError) as error:
        logit_difference(torch.zeros(shape), TASK)
    check(error, "'logit_difference'", "3 examples", "batch.positions", expected=(3, 1, "V"), found=shape)


def test_tokens_in_place_of_logits():
    with pytest.raises(DiscoveryError, match=r"'logit_difference' was given logits of torch\.int64"):
        logit_difference(LOGITS.long(), TASK)


def test_no_wrong_answers():
    task = Task.from_tokens("plain", [[1], [2]], answers=[0, 1])
    with pytest.raises(DiscoveryError) as error:
        logit_difference(torch.zeros(2, 1, 5), task)
    words = "'logit_difference'", "'plain'", "example 0", "wrong="
    check(error, *words, expected="wrong answers for every example", found=(2, 1, 0))


def test_no_original():
    with pytest.raises(DiscoveryError) as error:
        kl_divergence(LOGITS, TASK)
    check(error, "'kl_divergence'", "original=", expected=(3, 1, 5), found=None)


def test_original_of_another_shape():
    with pytest.raises(DiscoveryError) as error:
        kl_divergence(LOGITS, TASK, LOGITS[..., :4])
    check(error, "'kl_divergence'", "(3, 1, 4)", expected="(3, 1, 5) on cpu", found="(3, 1, 4) on cpu")


def test_original_on_another_device():
    with pytest.raises(DiscoveryError) as error:
        kl_divergence(LOGITS, TASK, LOGITS.to("meta"))
    check(error, "on the same device", expected="(3, 1, 5) on cpu", found="(3, 1, 5) on meta")


@pytest.mark.parametrize("name", ["answers", "wrong"])
def test_answers_outside_of_the_vocabulary(name: str):
    tokens: dict[str, list[Any]] = {"answers": [[[0, -1]], [[1, 9]]], "wrong": [[[2]], [[3]]]}
    if name == "wrong":
        tokens = {"answers": tokens["wrong"], "wrong": tokens["answers"]}
    with pytest.raises(DiscoveryError) as error:
        logit_difference(torch.zeros(2, 1, 9), Task.from_tokens("big", [[1], [2]], **tokens))
    check(error, "'logit_difference'", f"token 9 in {name} of example 1", "tokenizer", expected="below 9", found=9)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda logits, batch: logits.mean(), ()),
        (lambda logits, batch: logits[:, 0, :1], (3, 1)),
        (lambda logits, batch: logits[:2, 0, 0], (2,)),
        (lambda logits, batch: 1.0, "float"),
        (lambda logits, batch: None, "NoneType"),
    ],
)
def test_callable_returns_another_shape(function: Any, found: object):
    with pytest.raises(DiscoveryError) as error:
        as_metric(function, name="mine", larger_is_better=True)(LOGITS, TASK)
    check(error, "'mine' returned", "for 3 examples", "one number for each example", expected=(3,), found=found)


def test_nan_in_logits():
    logits = LOGITS.clone()
    logits[1, 0, 4] = torch.nan
    with pytest.raises(DiscoveryError) as error:
        kl_divergence(logits, TASK, LOGITS)
    check(error, "'kl_divergence' is NaN at example 1", "(1 of 3", "1 logits", expected="numbers", found=torch.nan)


def test_nan_of_a_callable():
    mine = as_metric(lambda logits, batch: (logits[:, 0, 0] * 0 - 1).sqrt(), name="mine", larger_is_better=True)
    with pytest.raises(DiscoveryError) as error:
        mine(LOGITS, TASK)
    check(error, "'mine' is NaN at example 0", "are finite", expected="numbers", found=torch.nan)


def test_minus_infinity_is_a_value():
    """A model that rules the answer out has log-probability minus infinity; that is no error."""
    logits = torch.tensor([[[-torch.inf, 0.0, 0.0, 0.0]]]).expand(3, 1, 4)
    found = METRICS["answer_log_probability"](logits, TASK)
    assert found[0] == -torch.inf
    assert found[1:].isfinite().all()


def test_metrics_are_shown_with_their_direction():
    assert "larger_is_better=False" in repr(kl_divergence)
    assert isinstance(kl_divergence, Metric)
