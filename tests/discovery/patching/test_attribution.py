"""Attribution patching against torch's own gradients, and AtP* where plain attribution fails."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from transformers import GPT2LMHeadModel

import scrub as rc
from scrub.discovery.machine import Machine, machine_of
from scrub.discovery.patching import activation_patching, atp_star, attention_attribution, attribution_patching
from scrub.models import load
from scrub.tasks.task import Task
from tests.discovery.patching import reference
from tests.discovery.patching.reference import a_task, difference

STREAM = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
HEADS = ("head_out", "z", "q", "k", "v", "pattern")
ALL = (*STREAM, *HEADS, "mlp_pre", "mlp_post")


@cache
def model() -> GPT2LMHeadModel:
    return reference.gpt2()


@cache
def machine() -> Machine:
    return machine_of(load(model()))


def gradients(tokens: torch.Tensor, task: Task, dropped: int | None = None) -> dict[tuple[str, int], torch.Tensor]:
    """Torch's gradient of the logit difference at every activation; no gradient through one layer if `dropped`."""
    found: dict[tuple[str, int], torch.Tensor] = {}

    def keep(name: str, layer: int, value: torch.Tensor) -> torch.Tensor:
        if layer == dropped and name in ("attn_out", "mlp_out"):
            value = value.detach()
        found[name, layer] = value if value.requires_grad else value.requires_grad_()
        return found[name, layer]

    total = difference(reference.run(model(), tokens, keep), task).sum()
    values = torch.autograd.grad(total, list(found.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(found, values, strict=True))


@pytest.mark.parametrize("direction", ["noising", pytest.param("denoising", marks=pytest.mark.slow)])
def test_every_activation_is_its_gradient_times_the_change(direction: str) -> None:
    task = a_task()
    base, other = (task.tokens, task.counterfactual) if direction == "noising" else (task.counterfactual, task.tokens)
    own, replaced, slopes = reference.record(model(), base), reference.record(model(), other), gradients(base, task)
    for name in ALL:
        is_head = name in HEADS
        by = ("layer", "head", "position", "example") if is_head else ("layer", "position", "example")
        table = attribution_patching(machine(), task, name, by=by, direction=direction)
        for layer in range(3):
            product = ((replaced[name, layer] - own[name, layer]) * slopes[name, layer]).sum(-1)
            torch.testing.assert_close(table.values[layer], product.movedim(0, -1), msg=f"{name} {layer}")
        assert table.values.abs().max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resid_mid", "q", "pattern", "mlp_post"])
def test_small_changes_are_those_of_activation_patching(name: str) -> None:
    """With embeddings of the counterfactual close to those of the prompt, the estimate is what patching measures."""
    close = reference.gpt2()
    with torch.no_grad():
        table = close.transformer.wte.weight
        table[:] = table[:1] + 1e-4 * (table - table[:1])
        close.lm_head.weight = torch.nn.Parameter(model().lm_head.weight.clone())
    small = machine_of(load(close))
    task = a_task()
    by = ("layer", "head") if name in HEADS else ("layer", "position")
    exact = activation_patching(small, task, name, by=by)
    estimate = attribution_patching(small, task, name, by=by)
    assert exact.values.abs().max() > 1e-7
    error = (exact - estimate).values.abs().max() / exact.values.abs().max()
    assert error < 1e-2, error


def test_patterns_times_their_gradient() -> None:
    task = a_task()
    own, slopes = reference.record(model(), task.tokens), gradients(task.tokens, task)
    table = attention_attribution(machine(), task)
    assert table.names == ("layer", "head", "query", "key")
    for layer in range(3):
        torch.testing.assert_close(table.values[layer], (own["pattern", layer] * slopes["pattern", layer]).mean(0))


def test_batches_do_not_matter() -> None:
    task = a_task(5)
    whole = attribution_patching(machine(), task, "k", by=("layer", "head"), batch_size=5)
    split = attribution_patching(machine(), task, "k", by=("layer", "head"), batch_size=2)
    torch.testing.assert_close(whole.values, split.values)
    torch.testing.assert_close(whole.errors, split.errors)


@pytest.mark.parametrize("name", ["q", pytest.param("k", marks=pytest.mark.slow)])
def test_exact_softmax(name: str) -> None:
    """The pattern with the patched queries or keys, times torch's gradient at the pattern."""
    task = a_task()
    own, other = reference.record(model(), task.tokens), reference.record(model(), task.counterfactual)
    slopes = gradients(task.tokens, task)
    table = atp_star(machine(), task, name, by=("layer", "head", "position"), drop_gradients=False)
    for layer in range(3):
        for place in range(6):
            patched = own[name, layer].clone()
            patched[:, :, place] = other[name, layer][:, :, place]
            q, k = (patched, own["k", layer]) if name == "q" else (own["q", layer], patched)
            scores = q @ k.transpose(-1, -2) / 4**0.5
            pattern = scores.masked_fill(~torch.ones(6, 6, dtype=torch.bool).tril(), float("-inf")).softmax(-1)
            change = ((pattern - own["pattern", layer]) * slopes["pattern", layer]).sum((-1, -2)).mean(0)
            torch.testing.assert_close(table.values[layer, :, place], change)


def test_a_saturated_softmax() -> None:
    """Queries so large that patterns are 0 and 1: the gradient through the softmax is 0, the effect is not."""
    hot = reference.gpt2()
    with torch.no_grad():
        for block in hot.transformer.h:
            block.attn.c_attn.weight[:, :24] *= 12
    task = a_task(8)
    saturated = machine_of(load(hot))
    by = ("layer", "head", "example")
    exact = activation_patching(saturated, task, "q", by=by, layers=[2]).values
    plain = attribution_patching(saturated, task, "q", by=by, layers=[2]).values
    star = atp_star(saturated, task, "q", by=by, layers=[2], drop_gradients=False).values
    assert exact.abs().max() > 0.1
    assert (star - exact).abs().mean() < 0.35 * exact.abs().mean()
    assert (plain - exact).abs().mean() > 0.7 * exact.abs().mean()


def test_dropped_gradients() -> None:
    """The mean size of estimates whose gradient goes through all layers but one."""
    task = a_task()
    own, other = reference.record(model(), task.tokens), reference.record(model(), task.counterfactual)
    dropped = [gradients(task.tokens, task, layer) for layer in range(3)]
    for name in ("v", "mlp_out", "resid_pre"):
        table = atp_star(machine(), task, name)
        for layer in range(3):
            change = other[name, layer] - own[name, layer]
            sizes = [
                torch.zeros(3) if drop == layer and name != "resid_pre" else (change * g[name, layer]).flatten(1).sum(1)
                for drop, g in enumerate(dropped)
            ]
            wanted = torch.stack([size.abs().double() for size in sizes]).sum(0) / 2
            torch.testing.assert_close(table.values[layer], wanted.mean())


def test_mistakes_say_what_to_do() -> None:
    with pytest.raises(rc.DiscoveryError, match="'accuracy' has no gradient"):
        attribution_patching(machine(), a_task(), "z", metric="accuracy")
    one = machine_of(load(reference.gpt2(1)))
    with pytest.raises(rc.DiscoveryError, match="models of several layers"):
        atp_star(one, a_task(), "z")
