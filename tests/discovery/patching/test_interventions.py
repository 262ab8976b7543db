"""Interventions as rewrites, by the reference evaluator, against the patched program; and by hand in torch."""

from __future__ import annotations

from functools import cache

import pytest
import torch

import scrub as rc
from scrub.compiler.reference import evaluate_many
from scrub.discovery.interventions import (
    counterfactual_writes,
    fixed_writes,
    patched_expression,
    path_patched_expression,
    zero_writes,
)
from scrub.discovery.machine import Given, Machine, PatchedRun, Replacement, machine_of, writes_of
from scrub.graph import Expr, Symbol
from scrub.models import load
from tests.models.families import tiny
from tests.models.families.tiny import BASES, build

FAMILIES = tuple(family for family in BASES if family != "vit")
QUICK = ("llama", "gemma2")


@cache
def machine(family: str) -> Machine:
    variant = next(v for v in tiny.variants() if v.family == family)
    return machine_of(load(build(variant.config(), dtype=torch.float64)))


def givens(of: Machine) -> tuple[Given, Given]:
    generator = torch.Generator().manual_seed(0)
    tokens, other = torch.randint(3, 20, (2, 1, 5), generator=generator)
    return of.source.given(tokens), of.source.given(other)


def evaluated(exprs: list[Expr], given: Given, other: dict[Symbol, torch.Tensor] | None = None) -> list[torch.Tensor]:
    """Of the one example."""
    free = {symbol for expr in exprs for symbol in expr.free_symbols}
    known = {s: t[0] if s in given.batched else t for s, t in given.tensors.items()} | (other or {})
    return evaluate_many(exprs, {symbol: known[symbol] for symbol in free})


def by_program(of: Machine, given: Given, edges: list[str], replacement: Replacement) -> torch.Tensor:
    """[edges, seq, n_logits], each edge patched by itself; all of `edges` are one batch of masks."""
    keep = torch.ones(len(edges), *of.graph.exists.shape)
    for i, edge in enumerate(edges):
        keep[i][of.graph.index(edge)] = 0
    n = len(edges)
    tensors = {s: t.expand(n, *t.shape[1:]) if s in given.batched else t for s, t in given.tensors.items()}
    many = Given(tensors, given.batched, n, given.embeds.expand(n, *given.embeds.shape[1:]))
    return PatchedRun(of, many, keep, replacement).logits()


def check_edges(family: str, step: int) -> None:
    of = machine(family)
    given, other = givens(of)
    writes, symbols = counterfactual_writes(of)
    edges = [str(edge) for edge in of.graph.edges()][::step]
    found = evaluated(
        [patched_expression(of, [edge], replacements=writes) for edge in edges],
        given,
        {symbol: other.tensors[own][0] for own, symbol in symbols.items()},
    )
    replacement = Replacement(writes_of(of, of.run(other, keep_writes=True)), "counterfactual")
    wanted = by_program(of, given, edges, replacement)
    torch.testing.assert_close(torch.stack(found), wanted, rtol=1e-9, atol=1e-9)
    (clean,) = evaluated([patched_expression(of, [], replacements={})], given)
    assert max(float((value - clean).abs().max()) for value in found) > 1e-6


def check_none_and_all(family: str) -> None:
    """No edge patched is the model on the prompt, all of them the model on the other one."""
    of = machine(family)
    given, other = givens(of)
    writes, symbols = counterfactual_writes(of)
    none = patched_expression(of, [], replacements={})
    every = patched_expression(of, [], nodes=of.graph.writers, replacements=writes)
    found = evaluated([none, every], given, {symbol: other.tensors[own][0] for own, symbol in symbols.items()})
    for value, wanted in zip(found, (given, other), strict=True):
        run = of.run(wanted)
        torch.testing.assert_close(value, of.logits(of.read(of.readout, run), wanted)[0], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("family", QUICK)
def test_some_edges_of_some_families(family: str) -> None:
    check_edges(family, 29)
    check_none_and_all(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_edge_of_every_family(family: str) -> None:
    check_edges(family, 1)
    check_none_and_all(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["zero", "mean"])
def test_fixed_replacements(family: str, name: str) -> None:
    """Several edges at once, and a whole node, with zero and with a mean over positions."""
    of = machine(family)
    given, other = givens(of)
    means = writes_of(of, of.run(other, keep_writes=True)).mean((0, -2), keepdim=True)[0]
    edges = [str(edge) for edge in of.graph.edges()][::5]
    writes = zero_writes(of) if name == "zero" else fixed_writes(of, means)
    node = of.graph.writers[2]
    (found,) = evaluated([patched_expression(of, edges, nodes=[node], replacements=writes)], given)
    keep = torch.ones(of.graph.exists.shape)
    for edge in edges:
        keep[of.graph.index(edge)] = 0
    keep[:, 2] = 0
    replacement = Replacement(torch.zeros_like(means) if name == "zero" else means, name)
    torch.testing.assert_close(found, PatchedRun(of, given, keep, replacement).logits()[0], rtol=1e-9, atol=1e-9)


def test_all_paths_through_an_edge_are_the_edge() -> None:
    """Recursive patching of an edge is patching every path that starts with it."""
    of = machine("gpt2")
    given, _ = givens(of)
    edge = ("a0.h1", "m0")
    done: list[tuple[str, ...]] = []
    open_paths: list[tuple[str, ...]] = [edge]
    while open_paths:
        path = open_paths.pop()
        if path[-1] == "logits":
            done.append(path)
            continue
        writer = of.graph.owners[of.graph.reader_index[path[-1]]]
        open_paths += [(*path, e.reader) for e in of.graph.edges() if e.writer == writer]
    assert len(done) == 26  # logits, m1, and q, k and v of 4 heads with or without m1
    replacements = zero_writes(of)
    exprs = [
        path_patched_expression(of, done, replacements=replacements),
        patched_expression(of, [edge], replacements=replacements),
        path_patched_expression(of, [("a0.h1", "m0", "logits")], replacements=replacements),
        patched_expression(of, [], replacements={}),
    ]
    every, recursive, one, clean = evaluated(exprs, given)
    torch.testing.assert_close(every, recursive, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(one, recursive)
    assert not torch.allclose(one, clean)


def test_mistakes_say_what_to_do() -> None:
    of = machine("gpt2")
    with pytest.raises(rc.DiscoveryError, match=r"a0\.h1 is patched and has no replacement"):
        patched_expression(of, ["a0.h1->m0"], replacements={})
    with pytest.raises(rc.DiscoveryError, match="does not lead to the logits"):
        path_patched_expression(of, [("a0.h1", "m0")], replacements=zero_writes(of))
    with pytest.raises(rc.DiscoveryError, match="reads before"):
        path_patched_expression(of, [("a1.h1", "m0", "logits")], replacements=zero_writes(of))
