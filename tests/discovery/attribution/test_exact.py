"""Exact effects against runs of the patched program with one edge, node, neuron or position patched."""

import pytest
import torch

from scrub.discovery.attribution import attribute
from scrub.discovery.machine import PatchedRun, Replacement
from tests.discovery.attribution.models import (
    FAMILIES,
    difference,
    effects_of_edges,
    machine,
    padded_task,
    patched,
    replacement,
    task,
)
from tests.models.families.tiny import BASES

OTHERS = sorted(set(BASES) - set(FAMILIES) - {"vit"})
"""All families that read tokens."""


@pytest.mark.parametrize(
    "family",
    ["gpt2", "qwen2", "gptj", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gemma2", "bert", *OTHERS))],
)
def test_every_edge(family: str):
    model, batch = machine(family), task(2, 4)
    found = attribute(model, batch, "exact")
    expected = effects_of_edges(model, batch)
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(found.values, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding(side: str):
    model, batch = machine(), padded_task(side)
    found = attribute(model, batch, "exact")
    whole = torch.ones(model.graph.exists.shape, dtype=torch.float64)
    rows = [batch[i].trimmed() for i in range(len(batch))]
    clean = [patched(model, row, whole) for row in rows]
    for row, column in model.graph.exists.nonzero().tolist()[::9]:
        keep = whole.clone()
        keep[row, column] = 0
        expected = torch.cat([patched(model, one, keep) - m for one, m in zip(rows, clean, strict=True)]).mean()
        torch.testing.assert_close(found.values[row, column], expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_nodes(family: str):
    model, batch = machine(family), task(2, 4)
    whole = torch.ones(model.graph.exists.shape, dtype=torch.float64)
    clean = patched(model, batch, whole)
    expected: list[torch.Tensor] = []
    for column in range(whole.shape[1]):
        keep = whole.clone()
        keep[:, column] = 0
        expected.append((patched(model, batch, keep) - clean).mean())
    found = attribute(model, batch, "exact", level="node")
    torch.testing.assert_close(found.values, torch.stack(expected), rtol=1e-9, atol=1e-12)


def test_edges_at_positions():
    model, batch = machine(), task(2, 3)
    found = attribute(model, batch, "exact", per_position=True)
    whole = torch.ones(*model.graph.exists.shape, 3, dtype=torch.float64)
    clean = patched(model, batch, whole, per_position=True)
    for row, column in model.graph.exists.nonzero().tolist()[::5]:
        for position in range(3):
            keep = whole.clone()
            keep[row, column, position] = 0
            expected = (patched(model, batch, keep, per_position=True) - clean).mean()
            torch.testing.assert_close(found.values[row, column, position], expected, rtol=1e-9, atol=1e-12)


def test_neurons():
    """One dimension of what a writer writes is replaced in all that read it."""
    model, batch = machine(), task(2, 3)
    found = attribute(model, batch, "exact", level="neuron")
    given = model.source.given(batch.tokens)
    assert batch.counterfactual is not None
    own, other = replacement(model, batch), model.source.given(batch.tokens)
    clean_writes = replacement(
        model,
        type(batch).from_tokens(
            "c", batch.tokens, counterfactual=batch.tokens, answers=batch.answers, wrong=batch.wrong
        ),
    ).writes
    whole = torch.ones(model.graph.exists.shape, dtype=torch.float64)
    clean = difference(PatchedRun(model, other, whole, own).logits(batch.positions), batch)
    for column in (0, 2, clean_writes.shape[1] - 1):
        for dim in (0, 7):
            writes = clean_writes.clone()
            writes[:, column, :, dim] = own.writes[:, column, :, dim]
            keep = whole.clone()
            keep[:, column] = 0
            run = PatchedRun(model, given, keep, Replacement(writes, "one dimension"))
            expected = (difference(run.logits(batch.positions), batch) - clean).mean()
            torch.testing.assert_close(found.values[column, dim], expected, rtol=1e-9, atol=1e-12)
