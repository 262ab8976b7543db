"""Heads with one input: an edge to such a head is the edges to its queries, keys and values, patched together."""

from __future__ import annotations

import pytest
import torch

from scrub.discovery.attribution import attribute
from scrub.discovery.machine import PatchedRun, machine_of
from scrub.tasks.task import Task
from tests.discovery.machine.cases import FIRST, case, marked
from tests.models.families.tiny import Variant


@pytest.mark.parametrize("variant", marked(FIRST, quick=("gpt2",)))
def test_every_edge_is_three(variant: Variant) -> None:
    of = case(variant)
    one = machine_of(of.model, split_qkv=False)
    assert not any(reader.endswith((".q", ".k", ".v")) for reader in one.graph.readers)
    instead = of.counterfactual()
    for edge in one.graph.edges():
        keep, apart = torch.ones(one.graph.exists.shape), torch.ones(of.machine.graph.exists.shape)
        keep[one.graph.index(edge)] = 0
        readers = [row for row, owner in enumerate(of.machine.graph.owners) if owner == edge.reader]
        apart[readers, of.machine.graph.writer_index[edge.writer]] = 0
        found = PatchedRun(one, of.clean, keep, instead).logits(of.positions)
        expected = PatchedRun(of.machine, of.clean, apart, instead).logits(of.positions)
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_first_order_scores_add_up() -> None:
    of = case(next(variant for variant in FIRST if variant.family == "gpt2"))
    one = machine_of(of.model, split_qkv=False)
    task = Task.from_tokens("t", of.tokens, counterfactual=of.corrupted_tokens, answers=[3, 4, 5], wrong=[6, 7, 8])
    found, apart = attribute(one, task), attribute(of.machine, task)
    for edge in one.graph.edges():
        rows = [row for row, owner in enumerate(of.machine.graph.owners) if owner == edge.reader]
        expected = apart.values[rows, of.machine.graph.writer_index[edge.writer]].sum()
        torch.testing.assert_close(found[edge], expected, atol=1e-9, rtol=0)
