"""Path patching against the model's expression rewritten path by path, and against torch by hand."""

from __future__ import annotations

from functools import cache

import pytest
import torch

import scrub as rc
from scrub.compiler.reference import evaluate_many
from scrub.discovery.interventions import counterfactual_writes, path_patched_expression
from scrub.discovery.machine import Machine, machine_of
from scrub.discovery.patching import path_patching
from scrub.models import load
from scrub.tasks.task import Task
from tests.discovery.patching import reference
from tests.discovery.patching.reference import a_task, difference
from tests.models.families import tiny
from tests.models.families.tiny import build


@cache
def machine(family: str) -> Machine:
    variant = next(v for v in tiny.variants() if v.family == family)
    return machine_of(load(build(variant.config(), dtype=torch.float64)))


def paths(of: Machine, sender: str, receivers: list[str], *, through_mlps: bool) -> list[tuple[str, ...]]:
    """Every path from the sender directly, or by MLPs, to a receiver, and on by what receives nothing."""
    done: list[tuple[str, ...]] = []
    open_paths: list[tuple[tuple[str, ...], str, bool]] = [((sender,), sender, False)]
    while open_paths:
        path, writer, has_arrived = open_paths.pop()
        for edge in of.graph.edges():
            if edge.writer != writer:
                continue
            owner = of.graph.owners[of.graph.reader_index[edge.reader]]
            longer = (*path, edge.reader)
            if edge.reader in receivers:
                if has_arrived:
                    continue  # it holds what it read
                arrived = True
            elif has_arrived or (through_mlps and of.graph.component_of[owner].kind == "mlp"):
                arrived = has_arrived
            else:
                continue
            if edge.reader == "logits":
                done += [longer] if arrived else []
            else:
                open_paths.append((longer, owner, arrived))
    return done


@pytest.mark.parametrize(
    ("family", "receivers", "through_mlps"),
    [
        ("gpt2", ["a1.h2.q"], False),
        ("gpt2", ["a1.h0.k", "a1.h2.v"], True),
        ("gpt2", ["m0", "a1.h1.q"], False),
        ("gpt2", ["logits"], True),
        pytest.param("gpt2", ["m1"], True, marks=pytest.mark.slow),
        pytest.param("llama", ["a1.h3.k", "m1"], True, marks=pytest.mark.slow),
        pytest.param("gemma2", ["m1"], True, marks=pytest.mark.slow),
        pytest.param("gptj", ["m1", "a1.h0.q"], True, marks=pytest.mark.slow),
    ],
)
def test_paths_one_by_one(family: str, receivers: list[str], through_mlps: bool) -> None:
    of = machine(family)
    generator = torch.Generator().manual_seed(3)
    tokens, other = torch.randint(3, 20, (2, 1, 5), generator=generator)
    task = Task.from_tokens("t", tokens, counterfactual=other, answers=[4], wrong=[9])
    senders = ["input", "a0.h1", "m0"]
    table = path_patching(of, task, receivers, senders, through_mlps=through_mlps, copies=2)
    given, given_other = of.source.given(tokens), of.source.given(other)
    writes, symbols = counterfactual_writes(of)
    exprs = [path_patched_expression(of, [], replacements=writes)] + [
        path_patched_expression(of, paths(of, s, receivers, through_mlps=through_mlps), replacements=writes)
        for s in senders
    ]
    known = {s: t[0] if s in given.batched else t for s, t in given.tensors.items()}
    known |= {symbol: given_other.tensors[own][0] for own, symbol in symbols.items()}
    free = {symbol for expr in exprs for symbol in expr.free_symbols}
    found = torch.stack(evaluate_many(exprs, {symbol: known[symbol] for symbol in free}))[:, -1]
    values = found[:, 4] - found[:, 9]
    torch.testing.assert_close(table.values, values[1:] - values[0], rtol=1e-8, atol=1e-9)
    assert table.values.abs().max() > 1e-4


def test_direct_paths_to_queries_by_hand() -> None:
    """Three layers in torch: the receiver's queries from a changed stream, everything after it computed anew."""
    model, task = reference.gpt2(), a_task()
    of = machine_of(load(model))
    own, other = reference.record(model, task.tokens), reference.record(model, task.counterfactual)
    table = path_patching(of, task, "a1.h2.q", "heads")
    assert table.names == ("layer", "head")
    block = model.transformer.h[1]
    for head in range(3):
        stream = own["resid_pre", 1] + (other["head_out", 0] - own["head_out", 0])[:, head]
        with torch.no_grad():
            queries = block.attn.c_attn(block.ln_1(stream))[..., :12].unflatten(-1, (3, 4)).transpose(1, 2)
            mask = reference.mask_of("q", queries.shape, head=2)
            logits = reference.patched(model, task.tokens, "q", 1, queries, mask)
            wanted = (difference(logits, task) - difference(model(task.tokens).logits, task)).mean()
        torch.testing.assert_close(table.values[0, head], wanted)
    assert (table.values[1:].abs() < 1e-12).all()
    assert (table.values[0].abs() > 1e-6).all()


def test_sets_of_senders_and_batches() -> None:
    of, task = machine_of(load(reference.gpt2())), a_task(5)
    senders = ["m0", ("a0.h1", "m0"), ("a0.h1",)]
    one = path_patching(of, task, ["m2", "a2.h1"], senders, batch_size=2, copies=1)
    two = path_patching(of, task, ["m2", "a2.h1.q", "a2.h1.k", "a2.h1.v"], senders, batch_size=5)
    assert one.labels("sender") == ("m0", "a0.h1+m0", "a0.h1")
    torch.testing.assert_close(one.values, two.values)
    torch.testing.assert_close(one.errors, two.errors)
    assert len(set(one.values.tolist())) == 3


def test_mistakes_say_what_to_do() -> None:
    of, task = machine("gpt2"), a_task()
    with pytest.raises(rc.DiscoveryError, match=r"no receiver 'a9\.h0\.q'"):
        path_patching(of, task, "a9.h0.q")
    with pytest.raises(rc.DiscoveryError, match="no sender 'm9'"):
        path_patching(of, task, "logits", ["m9"])
    with pytest.raises(rc.DiscoveryError, match="logits receive together"):
        path_patching(of, task, ["logits", "m1"])
