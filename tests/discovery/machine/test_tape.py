"""Gradients part by part: those of Hugging Face's own modules, of masks, and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from scrub.discovery.machine import PartGradients, PatchedRun, backward, port_rows, record, writes_of
from tests.discovery.machine.cases import FIRST, OF_TEXT, Case, case, marked, score
from tests.models.families.tiny import Variant, variants

GPT2 = next(variants("gpt2"))


def gradients(of: Case, **options: Any) -> dict[str, PartGradients]:
    tape = record(of.machine, of.clean)
    return {found.part.name: found for found in backward(of.machine, tape, score, of.positions, **options)}


def edge_scores(of: Case, found: dict[str, PartGradients], change: Tensor) -> Tensor:
    """Of every edge, what changing what is written gives to first order, [readers, writers]."""
    scores = torch.zeros(of.machine.graph.exists.shape, dtype=torch.float64)
    for each in found.values():
        for port in each.part.ports:
            rows = port_rows(of.machine, each.part, port)
            scores[rows] = torch.einsum("nh...,nu...->hu", each.reads[port.label], change)
    return scores * of.machine.graph.exists


@pytest.mark.parametrize("variant", marked(OF_TEXT))
def test_reads_are_the_gradients_of_masks(variant: Variant) -> None:
    """Torch through the whole patched run, at no edge patched: an independent way through the parts."""
    of = case(variant)
    replacement = of.counterfactual()
    keep = torch.ones(of.machine.graph.exists.shape, dtype=torch.float64, requires_grad=True)
    logits = PatchedRun(of.machine, of.clean, keep, replacement).logits(of.positions)
    (wanted,) = torch.autograd.grad(score(logits).sum(), keep)
    change = writes_of(of.machine, of.run(of.clean)) - replacement.writes
    torch.testing.assert_close(edge_scores(of, gradients(of), change), wanted, rtol=1e-9, atol=1e-10)
    assert wanted.abs().max() > 1e-3


@pytest.mark.parametrize("variant", marked(FIRST))
def test_writes_are_finite_differences(variant: Variant) -> None:
    of, found = case(variant), gradients(case(variant))
    clean, generator = of.run(of.clean), torch.Generator().manual_seed(2)
    for name in of.machine.order[:-1]:
        direction = torch.randn(clean.totals[name].shape, generator=generator, dtype=torch.float64)

        def at(step: float, name: str = name, direction: Tensor = direction) -> Tensor:
            replaced = {name: clean.totals[name] + step * direction}
            return score(of.logits(of.machine.run(of.clean, replaced=replaced, start=name, base=clean), of.positions))

        wanted = (at(1e-5) - at(-1e-5)) / 2e-5
        torch.testing.assert_close((found[name].writes * direction).flatten(1).sum(1), wanted, rtol=1e-5, atol=1e-7)


def test_gradients_are_those_of_hugging_face() -> None:
    """What parts add, by hooks; what they read, by running Hugging Face's modules backwards one by one."""
    of, found = case(GPT2), gradients(case(GPT2))
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            value = output[0] if isinstance(output, tuple) else output
            kept[name] = value
            value.requires_grad_() if value.is_leaf else None

        return hook

    body = of.theirs.transformer
    handles = [body.drop.register_forward_hook(keep("input"))]
    for number, block in enumerate(body.h):
        handles.append(block.attn.register_forward_hook(keep(f"a{number}")))
        handles.append(block.mlp.register_forward_hook(keep(f"m{number}")))
        for name, norm in (("a", block.ln_1), ("m", block.ln_2)):
            handles.append(norm.register_forward_hook(keep(f"{name}{number}.norm")))
    logits = of.theirs(of.tokens).logits[:, -1:]
    for handle in handles:
        handle.remove()
    grads = dict(zip(kept, torch.autograd.grad(score(logits).sum(), list(kept.values())), strict=True))
    for name in ("input", "a0", "m0", "a1", "m1"):
        torch.testing.assert_close(found[name].writes, grads[name])
    for number, block in enumerate(body.h):
        for name, norm in (("a", block.ln_1), ("m", block.ln_2)):
            part = f"{name}{number}"
            state = of.machine.state(of.machine.parts[part].states[0], of.run(of.clean)).requires_grad_()
            (wanted,) = torch.autograd.grad(norm(state), state, grads[f"{part}.norm"])
            torch.testing.assert_close(sum(reads.sum(1) for reads in found[part].reads.values()), wanted)


def test_seeds_start_where_they_are_put() -> None:
    """A gradient with respect to what a part adds, put in without the logits: what is before gets its share."""
    of, whole = case(GPT2), gradients(case(GPT2))
    tape = record(of.machine, of.clean)
    seeds = {"m0": torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)}
    found = {each.part.name: each for each in backward(of.machine, tape, None, seeds=seeds)}
    assert "logits" not in found
    torch.testing.assert_close(found["m0"].writes, seeds["m0"])
    assert found["a1"].writes.abs().max() == 0
    both = {
        each.part.name: each
        for each in backward(of.machine, record(of.machine, of.clean), score, of.positions, seeds=seeds)
    }
    torch.testing.assert_close(both["input"].writes, whole["input"].writes + found["input"].writes)


def test_a_part_that_is_not_on_the_tape_passes_no_gradient_on() -> None:
    """Without m1, the gradient of the stream before it is the one behind it."""
    of, whole = case(GPT2), gradients(case(GPT2))
    tape = record(of.machine, of.clean)
    del tape.parts["m1"]
    found = {each.part.name: each for each in backward(of.machine, tape, score, of.positions)}
    assert not found["m1"].reads
    torch.testing.assert_close(found["a1"].writes, whole["logits"].reads[""][:, 0])
    assert (whole["a1"].writes - found["a1"].writes).abs().max() > 1e-4


def test_going_down_to_a_part_only() -> None:
    of, whole = case(GPT2), gradients(case(GPT2))
    found = gradients(of, down_to="a1")
    assert list(found) == ["logits", "m1", "a1"]
    torch.testing.assert_close(found["a1"].writes, whole["a1"].writes)
    assert not found["a1"].reads


def test_a_tape_that_is_kept_runs_backwards_again() -> None:
    of = case(GPT2)
    tape = record(of.machine, of.clean)
    first = [each.writes for each in backward(of.machine, tape, score, of.positions, keep=True)]
    again = [each.writes for each in backward(of.machine, tape, score, of.positions)]
    torch.testing.assert_close(first, again)


@pytest.mark.parametrize("variant", marked(FIRST))
def test_a_tape_goes_on_from_another(variant: Variant) -> None:
    of, start = case(variant), case(variant).machine.order[3]
    base = record(of.machine, of.clean)
    other = of.run(of.corrupted).totals[start]
    whole = record(of.machine, of.clean, replaced={start: other})
    found = record(of.machine, of.clean, replaced={start: other}, start=start, base=base)
    assert found.parts[of.machine.order[1]] is base.parts[of.machine.order[1]]
    for mine, theirs in zip(
        backward(of.machine, found, score, of.positions), backward(of.machine, whole, score, of.positions), strict=True
    ):
        torch.testing.assert_close(mine.writes, theirs.writes)


def test_what_is_written_can_be_taken_while_recording() -> None:
    of, taken = case(GPT2), dict[str, Tensor]()
    tape = record(of.machine, of.clean, keep_writes=taken.__setitem__)
    assert not tape.run.writes
    torch.testing.assert_close(taken, of.run(of.clean).writes)
