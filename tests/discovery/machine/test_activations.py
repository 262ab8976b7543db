"""Values inside parts: Hugging Face's, put back in without a change, with gradients by finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from scrub.discovery.derive.parts import Part
from scrub.discovery.machine import backward, record
from tests.discovery.machine.cases import FIRST, Case, case, marked, score
from tests.models.families.tiny import Variant, variants

GPT2 = next(variants("gpt2"))
OF_HEADS = ("a.q", "a.k", "a.v", "a.scores", "a.attn_probs", "a.comb_v")
OF_MLP = ("m.pre", "m.post")


def names(of: Case, part: Part) -> list[str]:
    wanted = OF_HEADS if part.kind == "heads" else OF_MLP if part.kind == "mlp" else ()
    known = of.machine.functions(of.clean)[part.name].nodes
    return [name for name in wanted if name in known]  # experts have nodes of their own


def values(of: Case, part: Part) -> tuple[list[Tensor], dict[str, Tensor]]:
    functions, run = of.machine.functions(of.clean)[part.name], of.run(of.clean)
    entries = functions.entered_by_all(of.machine.read(part, run), of.clean)
    return entries, functions.activations(names(of, part), entries, of.clean)


def test_values_are_those_of_hugging_face() -> None:
    of = case(GPT2)
    kept: dict[str, Tensor] = {}

    def keep(_module: Any, _args: Any, output: Tensor) -> None:
        kept[str(len(kept))] = output

    block = of.theirs.transformer.h[1]
    handles = [module.register_forward_hook(keep) for module in (block.attn.c_attn, block.mlp.c_fc, block.mlp.act)]
    found = of.theirs(of.tokens, output_attentions=True)
    for handle in handles:
        handle.remove()
    fused, pre, post = kept.values()
    _, of_heads = values(of, of.machine.parts["a1"])
    torch.testing.assert_close(of_heads["a.attn_probs"], found.attentions[1])
    for name, value in zip(("a.q", "a.k", "a.v"), fused.chunk(3, -1), strict=True):
        torch.testing.assert_close(of_heads[name], value.unflatten(-1, (4, 4)).transpose(1, 2))
    torch.testing.assert_close(of_heads["a.comb_v"], of_heads["a.attn_probs"] @ of_heads["a.v"])
    _, of_mlp = values(of, of.machine.parts["m1"])
    torch.testing.assert_close(of_mlp["m.pre"][:, 0], pre)
    torch.testing.assert_close(of_mlp["m.post"][:, 0], post)


@pytest.mark.parametrize("variant", marked(FIRST))
def test_given_back_nothing_changes(variant: Variant) -> None:
    of = case(variant)
    run = of.run(of.clean)
    for part in of.machine.anatomy.parts[:-1]:
        if not names(of, part):
            continue
        functions = of.machine.functions(of.clean)[part.name]
        entries, found = values(of, part)
        for name, value in found.items():
            assert value.shape[:2] == run.writes[part.name].shape[:2]
            writes, _ = functions.write_with({name: value}, entries, of.clean)
            torch.testing.assert_close(writes, run.writes[part.name])


@pytest.mark.parametrize("variant", marked(FIRST))
def test_gradients_are_finite_differences(variant: Variant) -> None:
    of = case(variant)
    clean, generator = of.run(of.clean), torch.Generator().manual_seed(4)
    wanted = {part.name: names(of, part) for part in of.machine.anatomy.parts if names(of, part)}
    tape = record(of.machine, of.clean, activations=wanted)
    for each in backward(of.machine, tape, score, of.positions):
        functions = of.machine.functions(of.clean)[each.part.name]
        for name, gradient in each.activations.items():
            entries, found = values(of, each.part)
            direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
            direction = direction * torch.isfinite(found[name])

            def at(step: float) -> Tensor:
                given = {name: found[name] + step * direction}  # noqa: B023 - called at once
                writes, rest = functions.write_with(given, entries, of.clean)  # noqa: B023
                total = of.machine.total(writes, rest)
                run = of.machine.run(of.clean, replaced={each.part.name: total}, start=each.part.name, base=clean)  # noqa: B023
                return score(of.logits(run, of.positions))

            difference = (at(1e-5) - at(-1e-5)) / 2e-5
            torch.testing.assert_close((gradient * direction).flatten(1).sum(1), difference, rtol=1e-4, atol=1e-7)
