"""Any architecture comes apart: its logits, the ends of patching, and gradients that are those of masks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given as draws
from hypothesis import seed, settings

from scrub.discovery.machine import PatchedRun, Replacement, backward, machine_of, port_rows, record, writes_of
from tests.discovery.derive.test_graph import wired
from tests.models.architectures import Case, cases

FEW_THEN_MANY = pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 16))])


@FEW_THEN_MANY
def test_any_architecture_comes_apart(number: int) -> None:
    @seed(number)
    @settings(max_examples=6, deadline=None)
    @draws(cases())
    def each(case: Case) -> None:
        if case.model.architecture.readout.reads_first or case.model.architecture.d_out is not None:
            return  # it says nothing of each token
        check(case)

    each()


def check(case: Case) -> None:
    machine, mask = machine_of(case.model), case.others.get("attention_mask")
    generator = torch.Generator().manual_seed(0)
    others = torch.randint(case.model.architecture.d_vocab, case.tokens.shape, generator=generator)
    positions = torch.tensor([[case.tokens.shape[1] - 1]] * len(case.tokens))
    clean, corrupted = (
        machine.run(machine.source.given(tokens, mask), keep_writes=True) for tokens in (case.tokens, others)
    )
    given = clean.given
    shown = torch.ones_like(case.tokens).bool() if mask is None else mask.bool()
    if "position_ids" not in case.others and "token_type_ids" not in case.others and mask is None:
        found = machine.logits(machine.read(machine.readout, clean), given)
        torch.testing.assert_close(found[shown], case.by_hand()[shown], rtol=1e-7, atol=1e-7)
    expected = {(u, v) for v, writers in wired(case.model) for u in writers}
    found_edges = set(machine.graph.edges())
    assert (sorted(found_edges - expected), sorted(expected - found_edges)) == ([], [])
    replacement = Replacement(writes_of(machine, corrupted), "counterfactual")
    keep = torch.ones(machine.graph.exists.shape, dtype=torch.float64, requires_grad=True)
    logits = PatchedRun(machine, given, keep, replacement).logits(positions)
    torch.testing.assert_close(logits, machine.logits(machine.read(machine.readout, clean), given, positions))
    patched = PatchedRun(machine, given, torch.zeros_like(keep), replacement).logits(positions)
    torch.testing.assert_close(patched, machine.logits(machine.read(machine.readout, corrupted), given, positions))
    (wanted,) = torch.autograd.grad(logits[..., 0].sum(), keep)
    scores = torch.zeros_like(wanted)
    change = writes_of(machine, clean) - replacement.writes
    for each in backward(machine, record(machine, given), lambda values: values[..., 0].sum(1), positions):
        for port in each.part.ports:
            rows = port_rows(machine, each.part, port)
            scores[rows] = torch.einsum("nh...,nu...->hu", each.reads[port.label], change)
    scale = 1 + float(wanted.abs().max())
    torch.testing.assert_close(scores * machine.graph.exists / scale, wanted / scale, rtol=1e-7, atol=1e-9)
