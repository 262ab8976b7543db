"""Activation patching against GPT-2 written out in torch with hooks."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from transformers import GPT2LMHeadModel

import scrub as rc
from scrub.discovery.machine import Machine, machine_of
from scrub.discovery.patching import SITES, activation_patching
from scrub.models import load, load_shipped
from scrub.tasks.task import Task
from tests.discovery.patching import reference
from tests.discovery.patching.reference import a_task, difference, mask_of

STREAM = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
HEADS = ("head_out", "z", "q", "k", "v", "pattern")


@cache
def model() -> GPT2LMHeadModel:
    return reference.gpt2()


@cache
def machine() -> Machine:
    return machine_of(load(model()))


def test_the_reference_is_the_model() -> None:
    task = a_task()
    with torch.no_grad():
        torch.testing.assert_close(
            reference.run(model(), task.tokens, lambda name, layer, value: value), model()(task.tokens).logits
        )


def expected(task: Task, name: str, layer: int, *, denoise: bool = False, **unit: int) -> torch.Tensor:
    """[n], the change of the logit difference."""
    assert task.counterfactual is not None
    base, other = (task.counterfactual, task.tokens) if denoise else (task.tokens, task.counterfactual)
    value = reference.record(model(), other)[name, layer]
    logits = reference.patched(model(), base, name, layer, value, mask_of(name, value.shape, **unit))
    with torch.no_grad():
        return difference(logits, task) - difference(model()(base).logits, task)


@pytest.mark.parametrize("name", STREAM)
def test_the_stream_by_layer_and_position(name: str) -> None:
    task = a_task()
    table = activation_patching(machine(), task, name, by=("layer", "position"), copies=4)
    for layer in range(3):
        for place in range(6):
            torch.testing.assert_close(table.values[layer, place], expected(task, name, layer, place=place).mean())
    assert table.values.abs().max() > 1e-3


@pytest.mark.parametrize("name", HEADS)
def test_heads_by_layer_and_head(name: str) -> None:
    task = a_task()
    table = activation_patching(machine(), task, name, by=("layer", "head"), copies=2)
    for layer in range(3):
        for head in range(3):
            torch.testing.assert_close(table.values[layer, head], expected(task, name, layer, head=head).mean())
    assert table.values.abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_heads_by_head_and_position(name: str) -> None:
    task = a_task(2)
    table = activation_patching(machine(), task, name, by=("head", "position", "layer"), layers=[1], copies=5)
    assert table.names == ("head", "position", "layer")
    assert table.shape == (3, 6, 1)
    for head in range(3):
        for place in range(6):
            wanted = expected(task, name, 1, head=head, place=place).mean()
            torch.testing.assert_close(table.select(layer=1, head=head, position=place).values, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*STREAM, *HEADS, "mlp_pre", "mlp_post"])
def test_denoising_whole_layers(name: str) -> None:
    task = a_task()
    table = activation_patching(machine(), task, name, direction="denoising")
    for layer in range(3):
        torch.testing.assert_close(table.values[layer], expected(task, name, layer, denoise=True).mean())


def test_neurons_and_single_weights_of_a_pattern() -> None:
    task = a_task(2)
    neurons = activation_patching(machine(), task, "mlp_post", by=("layer", "neuron"), layers=[2], neurons=[0, 7, 31])
    for i, neuron in enumerate((0, 7, 31)):
        torch.testing.assert_close(neurons.values[0, i], expected(task, "mlp_post", 2, last=neuron).mean())
    by = ("layer", "head", "query", "key")
    weights = activation_patching(machine(), task, "pattern", by=by, layers=[0], heads=[1])
    for query, key in ((5, 0), (5, 5), (3, 2)):
        wanted = expected(task, "pattern", 0, head=1, place=query, last=key).mean()
        torch.testing.assert_close(weights.select(layer=0, head=1, query=query, key=key).values, wanted)


def test_errors_examples_and_ways_of_showing() -> None:
    task = a_task(5)
    each = torch.stack([expected(task, "z", 1, head=head) for head in range(3)])
    clean, corrupt = (difference(model()(tokens).logits, task) for tokens in (task.tokens, task.counterfactual))
    with torch.no_grad():
        gap = clean - corrupt
        ratio = (each + gap).mean(1) / gap.mean()
    options = {"by": ("layer", "head"), "layers": [1], "batch_size": 2}
    table = activation_patching(machine(), task, "z", **options)
    torch.testing.assert_close(table.values[0], each.mean(1))
    assert table.errors is not None
    torch.testing.assert_close(table.errors[0], each.std(1) / 5**0.5)
    every = activation_patching(machine(), task, "z", by=("layer", "head", "example"), layers=[1])
    torch.testing.assert_close(every.values[0], each)
    shown = activation_patching(machine(), task, "z", show="normalized", **options)
    torch.testing.assert_close(shown.values[0], ratio)
    assert shown.errors is not None
    residuals = each + gap - ratio[:, None] * gap
    torch.testing.assert_close(shown.errors[0], (residuals.square().sum(1) / 4 / 5).sqrt() / gap.mean().abs())
    raw = activation_patching(machine(), task, "z", show="metric", **options)
    torch.testing.assert_close(raw.values[0], each.mean(1) + clean.detach().mean())


@pytest.mark.parametrize("ablation", ["zero", "mean", "mean-positional"])
def test_fixed_ablations(ablation: str) -> None:
    task = a_task(4)
    own = reference.record(model(), task.tokens)["q", 1]
    value = {
        "zero": torch.zeros_like(own),
        "mean": own.mean((0, 2), keepdim=True).expand_as(own),
        "mean-positional": own.mean(0, keepdim=True).expand_as(own),
    }[ablation]
    table = activation_patching(machine(), task, "q", by=("layer", "head"), ablation=ablation, batch_size=3)
    for head in range(3):
        logits = reference.patched(model(), task.tokens, "q", 1, value, mask_of("q", own.shape, head=head))
        with torch.no_grad():
            change = difference(logits, task) - difference(model()(task.tokens).logits, task)
        torch.testing.assert_close(table.values[1, head], change.mean())


def test_named_positions_of_prompts_of_several_lengths() -> None:
    aligned = a_task()
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6, [1, 1, 1, 1, 1, 0]])
    places = {"here": torch.tensor([1, 3, 0])}
    rest = {"answers": aligned.answers, "wrong": aligned.wrong, "counterfactual": aligned.counterfactual}
    task = Task.from_tokens("lengths", aligned.tokens, mask=mask, token_positions=places, **rest)
    table = activation_patching(machine(), task, "resid_pre", by=("layer", "position", "example"), positions=["here"])
    for row, n in enumerate((4, 6, 5)):
        one = Task.from_tokens(
            "one",
            task.tokens[row : row + 1, :n],
            counterfactual=task.counterfactual[row : row + 1, :n],
            answers=task.answers[row],
            wrong=task.wrong[row],
        )
        for layer in range(3):
            wanted = expected(one, "resid_pre", layer, place=int(places["here"][row]))
            torch.testing.assert_close(table.values[layer, 0, row : row + 1], wanted)
    with pytest.raises(rc.DiscoveryError, match="prompts of several lengths"):
        activation_patching(machine(), task, "resid_pre", by=("layer", "position"))


@pytest.mark.slow
def test_batches_do_not_matter() -> None:
    task = a_task(5)
    tables = [
        activation_patching(machine(), task, "k", by=("layer", "head", "position"), batch_size=size, copies=copies)
        for size, copies in ((5, 64), (2, 3), (1, 1))
    ]
    for table in tables[1:]:
        torch.testing.assert_close(table.values, tables[0].values)
        torch.testing.assert_close(table.errors, tables[0].errors)


def test_mistakes_say_what_to_do() -> None:
    task = a_task()
    with pytest.raises(rc.DiscoveryError, match="did you mean 'pattern'"):
        activation_patching(machine(), task, "patern")
    with pytest.raises(rc.DiscoveryError, match="cannot be patched by 'layer', 'head'"):
        activation_patching(machine(), task, "mlp_out", by=("layer", "head"))
    with pytest.raises(rc.DiscoveryError, match="names no position 'subject'"):
        activation_patching(machine(), task, "mlp_out", positions=["subject"])
    with pytest.raises(rc.DiscoveryError, match="denoising puts clean values"):
        activation_patching(machine(), task, "z", direction="denoising", ablation="zero")
    with pytest.raises(rc.DiscoveryError, match="over which a mean says nothing"):
        activation_patching(machine(), task, "pattern", ablation="mean")
    small = load_shipped("attn_only_2l")
    with pytest.raises(rc.DiscoveryError, match="no layer has mlp_out"):
        activation_patching(small, task, "mlp_out")
    assert set(STREAM) | set(HEADS) <= set(SITES)
