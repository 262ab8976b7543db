"""Activation patching of other families against hooks on Hugging Face's models: shared keys, norms after attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from scrub.discovery.machine import machine_of
from scrub.discovery.patching import activation_patching, attribution_patching
from scrub.models import load
from tests.discovery.patching.reference import a_task, difference
from tests.models.families import tiny
from tests.models.families.tiny import build

CLOSE = {"rtol": 1e-4, "atol": 1e-6}  # tables of angles are of single precision in Hugging Face's models


def family(name: str) -> Any:
    variant = next(v for v in tiny.variants() if v.family == name)
    return build(variant.config(), dtype=torch.float64)


def patched(model: Any, module: Any, tokens: torch.Tensor, other: torch.Tensor, at: slice, *, before: bool) -> Any:
    """The logits with some columns of what a module is given, or gives, taken from the run on `other`."""
    kept: list[torch.Tensor] = []

    def change(value: torch.Tensor) -> torch.Tensor:
        if not kept:
            kept.append(value.clone())
            return value
        value = value.clone()
        value[..., at] = kept[0][..., at]
        return value

    if before:
        handle = module.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))
    else:
        handle = module.register_forward_hook(lambda _, args, out: change(out))
    with torch.no_grad():
        model(other)
        logits = model(tokens).logits
    handle.remove()
    return logits


@pytest.mark.parametrize("name", ["gemma2", pytest.param("olmo2", marks=pytest.mark.slow)])
def test_mixes_of_values_before_a_norm(name: str) -> None:
    """The norm after attention makes what a head writes depend on the others."""
    model, task = family(name), a_task()
    machine = machine_of(load(model))
    table = activation_patching(machine, task, "z", by=("layer", "head"))
    written = activation_patching(machine, task, "head_out", by=("layer", "head"))
    with torch.no_grad():
        clean = difference(model(task.tokens).logits, task)
    for layer, block in enumerate(model.model.layers):
        module = block.self_attn.o_proj
        d = module.in_features // 4
        for head in range(4):
            at = slice(head * d, (head + 1) * d)
            logits = patched(model, module, task.tokens, task.counterfactual, at, before=True)
            torch.testing.assert_close(table.values[layer, head], (difference(logits, task) - clean).mean(), **CLOSE)
    assert not torch.allclose(table.values, written.values)


@pytest.mark.parametrize("name", ["k", "v"])
def test_keys_shared_by_heads(name: str) -> None:
    """Each head has its own copy; patching those of a group together is patching the shared one."""
    model, task = family("llama"), a_task()
    machine = machine_of(load(model))
    with torch.no_grad():
        clean = difference(model(task.tokens).logits, task)
    for group, heads in enumerate(([0, 1], [2, 3])):
        table = activation_patching(machine, task, name, heads=heads)
        rotated = activation_patching(machine, task, "rot_k", heads=heads) if name == "k" else table
        for layer, block in enumerate(model.model.layers):
            module = getattr(block.self_attn, f"{name}_proj")
            at = slice(group * 4, group * 4 + 4)
            logits = patched(model, module, task.tokens, task.counterfactual, at, before=False)
            wanted = (difference(logits, task) - clean).mean()
            torch.testing.assert_close(table.values[layer], wanted, **CLOSE)
            torch.testing.assert_close(rotated.values[layer], wanted, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("name", [family for family in tiny.BASES if family != "vit"])
def test_the_whole_stream_is_everything(name: str) -> None:
    """The stream before the first layer, replaced everywhere, is the counterfactual run, and so is the last one's."""
    model, task = family(name), a_task()
    machine = machine_of(load(model))
    with torch.no_grad():
        change = (
            difference(model(task.counterfactual).logits, task) - difference(model(task.tokens).logits, task)
        ).mean()
    first = activation_patching(machine, task, "resid_pre")
    last = activation_patching(machine, task, "resid_post")
    torch.testing.assert_close(first.values[0], change, **CLOSE)
    torch.testing.assert_close(last.values[-1], change, **CLOSE)
    whole = attribution_patching(machine, task, "resid_pre", by=("layer", "position")).summed("position")
    torch.testing.assert_close(whole.values, attribution_patching(machine, task, "resid_pre").values)
