"""Runs with edges patched: the clean and the corrupted run at the ends, plain torch between."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import scrub as rc
from scrub.discovery.machine import PatchedRun, Replacement, writes_of
from tests.discovery.machine import by_hand
from tests.discovery.machine.cases import FIRST, OF_TEXT, Case, case, marked
from tests.models.families.tiny import Variant, variants

GPT2 = next(variants("gpt2"))


def masks(of: Case, *axes: int, seed: int = 0) -> Tensor:
    """Fractional ones, [*axes, readers, writers]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*axes, *of.machine.graph.exists.shape, generator=generator, dtype=torch.float64)


def patched(of: Case, keep: Tensor, replacement: Replacement, *, per_position: bool = False) -> Tensor:
    return PatchedRun(of.machine, of.clean, keep, replacement, per_position=per_position).logits()


@pytest.mark.parametrize("variant", marked(OF_TEXT))
def test_none_patched_is_clean_and_all_patched_corrupted(variant: Variant) -> None:
    of, ones = case(variant), torch.ones_like(case(variant).machine.graph.exists, dtype=torch.float64)
    torch.testing.assert_close(patched(of, ones, of.counterfactual()), of.logits(of.run(of.clean)))
    torch.testing.assert_close(patched(of, 0 * ones, of.counterfactual()), of.logits(of.run(of.corrupted)))


@pytest.mark.parametrize("per_position", [False, True])
def test_fractional_masks_by_hand(per_position: bool) -> None:
    of = case(GPT2)
    graph, keep = of.machine.graph, masks(of)
    if per_position:
        keep = torch.stack([masks(of, seed=seed) for seed in range(6)], -1)
    found = patched(of, keep, of.counterfactual(), per_position=per_position)
    ones = torch.ones_like(masks(of))
    for i in range(len(of.tokens)):
        zeros = dict.fromkeys(graph.writers, torch.zeros(6, 16, dtype=torch.float64))
        logits, instead = by_hand.gpt2(of.theirs, graph, of.corrupted_tokens[i], ones, zeros)
        torch.testing.assert_close(of.logits(of.run(of.corrupted))[i], logits)
        wanted, _ = by_hand.gpt2(of.theirs, graph, of.tokens[i], keep, instead)
        torch.testing.assert_close(found[i], wanted)


@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_zeros_and_means_instead_by_hand(kind: str) -> None:
    """What is not of each example, [W, *stream], and the mean over positions with an axis of size 1 for them."""
    of = case(GPT2)
    graph, keep, writes = of.machine.graph, masks(of, seed=1), writes_of(of.machine, of.run(of.corrupted))
    own = writes.mean((0, 2))[:, None] if kind == "mean" else writes.new_zeros(len(graph.writers), 1, 1)
    found = patched(of, keep, Replacement(own, kind))
    instead = {name: own[i].expand(6, 16) for i, name in enumerate(graph.writers)}
    for i in range(len(of.tokens)):
        wanted, _ = by_hand.gpt2(of.theirs, graph, of.tokens[i], keep, instead)
        torch.testing.assert_close(found[i], wanted)


@pytest.mark.parametrize("variant", marked(FIRST))
def test_all_zero_leaves_biases_alone(variant: Variant) -> None:
    """With every writer at zero, what is left on the stream is nobody's: the sum of rests and constants."""
    of = case(variant)
    shape = of.machine.graph.exists.shape
    zero = Replacement(torch.zeros(shape[1], 1, 1, dtype=torch.float64), "zero")
    found = patched(of, torch.zeros(shape), zero)
    run = of.run(of.clean)
    (state,) = of.machine.readout.states
    total = torch.zeros_like(of.machine.state(state, run))
    for name in of.machine.anatomy.writers_of(state):
        rest = run.rests[name]
        total = total if rest is None else total + rest
    total = total + sum(of.machine.constants(run)[term] for term in of.machine.plans[state].constants)
    torch.testing.assert_close(found, of.machine.logits([total], of.clean))


@pytest.mark.parametrize("variant", marked(FIRST))
def test_masks_of_each_example_and_position(variant: Variant) -> None:
    of, replacement = case(variant), case(variant).counterfactual()
    keep = masks(of, 3)
    found = patched(of, keep, replacement)
    for i in range(3):
        torch.testing.assert_close(found[i], patched(of, keep[i], replacement)[i])
    everywhere = keep[..., None].expand(*keep.shape, 6)
    torch.testing.assert_close(patched(of, everywhere, replacement, per_position=True), found)


@pytest.mark.parametrize("variant", marked(FIRST))
def test_patching_a_node_is_replacing_what_it_writes(variant: Variant) -> None:
    of, clean = case(variant), case(variant).run(case(variant).clean)
    name = next(part.name for part in of.machine.anatomy.parts if part.kind == "mlp")
    keep = torch.ones(of.machine.graph.exists.shape)
    keep[:, of.machine.graph.writer_index[name]] = 0.0
    other = of.run(of.corrupted).totals[name]
    wanted = of.logits(of.machine.run(of.clean, replaced={name: other}, start=name, base=clean))
    torch.testing.assert_close(patched(of, keep, of.counterfactual()), wanted)


def test_frozen_writers_carry_what_they_are_given() -> None:
    """With everything else as in the clean run, a patched edge changes what its reader writes and nothing else."""
    of = case(GPT2)
    graph, clean = of.machine.graph, of.run(of.clean)
    keep = torch.ones(graph.exists.shape, dtype=torch.float64)
    keep[graph.index("a0.h1->m0")] = 0.0
    frozen = PatchedRun(of.machine, of.clean, keep, of.counterfactual(), frozen=writes_of(of.machine, clean)).logits()
    torch.testing.assert_close(frozen, of.logits(clean))  # nobody reads the logits' change but through m0
    keep[graph.index("a0.h1->logits")] = 0.0
    frozen = PatchedRun(of.machine, of.clean, keep, of.counterfactual(), frozen=writes_of(of.machine, clean)).logits()
    (state,) = of.machine.readout.states
    changed = of.counterfactual().writes[:, graph.writer_index["a0.h1"]] - clean.writes["a0"][:, 1]
    torch.testing.assert_close(frozen, of.machine.logits([of.machine.state(state, clean) + changed], of.clean))


def test_a_mask_that_does_not_fit() -> None:
    of = case(GPT2)
    with pytest.raises(rc.DiscoveryError, match="does not fit 27 readers and 11 writers") as caught:
        PatchedRun(of.machine, of.clean, torch.ones(2, 27, 11), of.counterfactual())
    assert "per_position=True" in str(caught.value)
