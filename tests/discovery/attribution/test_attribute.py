"""Bad input, progress, interrupts and resuming."""

import importlib
import warnings
from pathlib import Path

import pytest
import torch

from scrub.discovery.attribution import PartialScoresWarning, attribute, points
from scrub.discovery.machine import machine_of
from scrub.discovery.metrics import as_metric
from scrub.graph import DiscoveryError
from scrub.models import load
from scrub.tasks.task import Task
from tests.discovery.attribution.models import machine, padded_task, task
from tests.models.families import tiny


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "eap-ig-input"}, r"no attribution method 'eap-ig-input'(.|\n)*did you mean 'EAP-IG-inputs'"),
        ({"ablation": "zeros"}, r"no ablation 'zeros'(.|\n)*did you mean 'zero'"),
        ({"level": "nodes"}, r"no level 'nodes'(.|\n)*did you mean 'node'"),
        ({"method": "EAP-IG-inputs", "steps": 0}, r"in 0 steps(.|\n)*at least 1"),
        ({"method": "EAP-IG-inputs", "rule": "mid"}, r"no rule 'mid'"),
        ({"batch_size": 0}, r"batches of 0 examples"),
        ({"metric": "logit_diference"}, r"did you mean 'logit_difference'"),
    ],
)
def test_unknown_names_and_numbers(arguments: dict[str, object], message: str):
    with pytest.raises(DiscoveryError, match=message):
        attribute(machine(), task(), **arguments)  # type: ignore[arg-type]


def test_positions_of_prompts_of_several_lengths():
    with pytest.raises(DiscoveryError, match=r"per position need prompts of one length(.|\n)*per_position=False"):
        attribute(machine(), padded_task("right"), per_position=True)


def test_no_counterfactuals():
    batch = Task.from_tokens("bare", [[3, 4], [5, 6]], answers=[3, 4], wrong=[5, 6])
    with pytest.raises(DiscoveryError, match=r"task 'bare' has no counterfactuals(.|\n)*ablation='resample'"):
        attribute(machine(), batch)


def test_a_metric_of_the_wrong_shape():
    wrong = as_metric(lambda logits, _: logits[:, 0].mean(), name="one number", larger_is_better=True)
    with pytest.raises(DiscoveryError, match=r"'one number' returned \(\) for 3 examples"):
        attribute(machine(), task(), metric=wrong)


def test_broken_weights_are_named():
    module = tiny.build(next(v for v in tiny.variants() if v.family == "gpt2").config(), dtype=torch.float64)
    with torch.no_grad():
        module.transformer.h[1].attn.c_proj.weight[0, 0] = torch.nan
    with pytest.raises(DiscoveryError, match=r"a1 is the first part whose output is not finite, at example 0"):
        attribute(machine_of(load(module)), task())


def test_broken_gradients_are_named():
    """The gradient of the root of 0 is infinite."""
    root = as_metric(lambda logits, _: (logits[:, 0, 3] * 0).sqrt(), name="root", larger_is_better=True)
    with pytest.raises(DiscoveryError, match=r"gradient of 'root' is not finite at logits(.|\n)*root of 0"):
        attribute(machine(), task(), metric=root)


def test_progress():
    seen: list[tuple[int, int]] = []
    attribute(machine(), task(5), batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_bar(capsys: pytest.CaptureFixture[str]):
    attribute(machine(), task(4), batch_size=2, progress=True)
    assert capsys.readouterr().err.endswith(f"[{'#' * 30}] 4/4 examples\n")


def test_memory_bounds_what_runs_at_a_time(monkeypatch: pytest.MonkeyPatch):
    """What all writers write on 6 prompts of 5 tokens takes 6 * 5 * writers * 16 * 8 bytes; a quarter is allowed."""
    module = importlib.import_module("scrub.discovery.attribution.attribute")
    model, batch = machine(), task(6)
    expected = attribute(model, batch).values
    monkeypatch.setattr(module, "_BYTES", 6 * 5 * len(model.graph.writers) * 16 * 8 // 4)
    seen: list[int] = []
    found = attribute(model, batch, batch_size=5, progress=lambda done, _: seen.append(done))
    assert seen == [1, 2, 3, 4, 5, 6]
    torch.testing.assert_close(found.values, expected, rtol=1e-10, atol=1e-13)


def test_single_precision_and_half():
    """Close to double precision, and added up in at least single precision."""
    config = next(v for v in tiny.variants() if v.family == "gpt2").config()
    exact = attribute(machine(), task()).values
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.1)):
        module = tiny.build(config, dtype=torch.float64).to(dtype)
        found = attribute(load(module), task()).values
        assert (found - exact).abs().max() < tolerance * exact.abs().max()


def interrupt_at(n: int):
    def progress(done: int, total: int) -> None:
        if done >= n:
            raise KeyboardInterrupt

    return progress


def test_interrupts_give_partial_scores():
    model, batch = machine(), task(5)
    with pytest.warns(PartialScoresWarning, match=r"first 2 of 5 examples"):
        found = attribute(model, batch, batch_size=2, progress=interrupt_at(2))
    assert found.n_examples == 2
    torch.testing.assert_close(found.values, attribute(model, batch[:2]).values)


def test_an_interrupt_before_anything_was_done():
    def metric(logits: torch.Tensor, batch: Task) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attribute(machine(), task(), metric=as_metric(metric, name="m", larger_is_better=True))


def test_resuming(tmp_path: Path):
    model, batch, path = machine(), task(5), tmp_path / "sums.safetensors"
    with pytest.warns(PartialScoresWarning):
        attribute(model, batch, batch_size=2, checkpoint=path, progress=interrupt_at(2))
    seen: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = attribute(model, batch, batch_size=2, checkpoint=path, progress=lambda done, _: seen.append(done))
    assert seen == [4, 5]
    expected = attribute(model, batch)
    torch.testing.assert_close(found.values, expected.values, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(found.errors, expected.errors, rtol=1e-6, atol=1e-10)
    assert attribute(model, batch, checkpoint=path).n_examples == 5


def test_resuming_something_else(tmp_path: Path):
    path = tmp_path / "sums.safetensors"
    attribute(machine(), task(), checkpoint=path)
    with pytest.raises(DiscoveryError, match=r"holds the sums of another run: it differs in task"):
        attribute(machine(), task(seed=1), checkpoint=path)
    with pytest.raises(DiscoveryError, match=r"differs in method, options"):
        attribute(machine(), task(), "EAP-IG-inputs", checkpoint=path)
    with pytest.raises(DiscoveryError, match=r"differs in model"):
        attribute(machine("qwen2"), task(), checkpoint=path)


@pytest.mark.parametrize("rule", ["left", "right", "midpoint", "gauss-legendre"])
def test_rules(rule: str):
    """Weights sum to 1; the mean of x^3 over [0, 1] comes out at the order of the rule."""
    assert sum(weight for _, weight in points(rule, 7)) == pytest.approx(1)
    errors = [abs(sum(w * x**3 for x, w in points(rule, m)) - 0.25) for m in (4, 8)]
    if rule == "gauss-legendre":
        assert max(errors) < 1e-14
    else:
        assert errors[0] / errors[1] == pytest.approx(4 if rule == "midpoint" else 2, rel=0.2)
