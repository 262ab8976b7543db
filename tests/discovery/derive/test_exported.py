"""Machines of exported modules: torch's logits, components under the names of the modules, edges that behave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scrub as rc
from scrub.discovery.machine import (
    Machine,
    PatchedRun,
    Replacement,
    backward,
    machine_of_expression,
    port_rows,
    record,
    writes_of,
)
from scrub.graph import Add, Expr, Symbol
from scrub.models.exported import from_torch, recover_structure
from tests.discovery.derive import exported as modules
from tests.models.exported import tiny

RECOVERED = pytest.mark.parametrize("is_recovered", [pytest.param(False, marks=pytest.mark.slow), True])


def stack_machine(module: nn.Module, *, is_recovered: bool = False) -> Machine:
    model = from_torch(module, (torch.zeros(1, modules.SEQ, dtype=torch.int64),))
    output = recover_structure(model.output) if is_recovered else model.output
    return machine_of_expression(output, model.inputs["tokens"])


def hugging_face_machine(name: str, *, is_recovered: bool) -> tuple[Machine, Callable[[Tensor], Tensor]]:
    """The machine, and the logits of the model itself, of tokens [n, 7] one row at a time."""
    module, arguments = tiny.MODELS[name](1, torch.float64)
    fixed: dict[str, Any] = tiny.FIXED.get(name, {})
    model = from_torch(module, example_kwargs={**arguments, **fixed})
    others = {key: value for key, value in arguments.items() if key != "input_ids"}
    output = recover_structure(model.outputs["logits"]) if is_recovered else model.outputs["logits"]
    output = rc.bind(output, {model.inputs[key]: rc.Array(value) for key, value in others.items()})

    def theirs(tokens: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([module(input_ids=row[None], **others, **fixed).logits for row in tokens])

    return machine_of_expression(output, model.inputs["input_ids"]), theirs


def check(machine: Machine, theirs: Callable[[Tensor], Tensor], *, tolerance: float = 1e-9) -> None:
    """Logits, the ends of patching, and gradients that are those of masks."""
    size = 60 if machine.source.tokens.shape[-1] == 7 else modules.N_TOKENS
    shape = (2, int(machine.source.tokens.shape[-1]))
    tokens, others = (torch.randint(size, shape, generator=torch.Generator().manual_seed(i)) for i in range(2))
    positions = torch.tensor([[shape[1] - 1, 1], [2, 0]])
    given = machine.source.given(tokens)
    clean, corrupted = (machine.run(machine.source.given(t), keep_writes=True) for t in (tokens, others))
    logits = machine.logits(machine.read(machine.readout, clean), given, positions)
    places = positions[..., None]
    wanted, wanted_corrupted = (theirs(t).take_along_dim(places, 1) for t in (tokens, others))
    torch.testing.assert_close(logits, wanted, rtol=tolerance, atol=tolerance)
    replacement = Replacement(writes_of(machine, corrupted), "counterfactual")
    keep = torch.ones(machine.graph.exists.shape, dtype=torch.float64, requires_grad=True)
    found = PatchedRun(machine, given, keep, replacement).logits(positions)
    torch.testing.assert_close(found, wanted.to(found), rtol=tolerance, atol=tolerance)
    patched = PatchedRun(machine, given, torch.zeros_like(keep), replacement).logits(positions)
    torch.testing.assert_close(patched, wanted_corrupted.to(patched), rtol=tolerance, atol=tolerance)
    (wanted_scores,) = torch.autograd.grad(_score(found).sum(), keep)
    scores = torch.zeros_like(wanted_scores)
    change = (writes_of(machine, clean) - replacement.writes).flatten(2)
    for each in backward(machine, record(machine, given), _score, positions):
        for port in each.part.ports:
            reads = each.reads[port.label].flatten(2)
            scores[port_rows(machine, each.part, port)] = torch.einsum("nhx,nux->hu", reads, change)
    torch.testing.assert_close(scores * machine.graph.exists, wanted_scores, rtol=1e-5, atol=max(tolerance, 1e-9))


def _score(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1)[..., 3].sum(1)


@RECOVERED
@pytest.mark.parametrize(
    ("make", "writers"),
    [
        (modules.blocks, ("input", "layers.0.down", "layers.1.down", "layers.2.down")),
        (lambda: modules.blocks(act=modules.gelu_new), ("input", "layers.0.down", "layers.1.down", "layers.2.down")),
        # hidden units as many as the stream is wide: x + c x^3 has its shape
        (lambda: modules.blocks(6, modules.gelu_new), ("input", "layers.0.down", "layers.1.down", "layers.2.down")),
        (modules.linear, ("input", "layers.0", "layers.1", "layers.2")),
        (modules.two_tables, ("tables.0", "tables.1", "layers.0", "layers.1")),
    ],
    ids=["blocks", "gelu", "gelu of the same width", "linear", "two tables"],
)
def test_modules_of_torch(make: Callable[[], nn.Module], writers: tuple[str, ...], *, is_recovered: bool) -> None:
    module = modules.drawn(make())
    machine = stack_machine(module, is_recovered=is_recovered)
    assert tuple(name.removesuffix(".down") for name in machine.graph.writers) == tuple(
        name.removesuffix(".down") for name in writers
    )
    n, n_inputs = len(writers), 2 if "tables.1" in writers else 1
    later = n - n_inputs
    assert machine.graph.n_edges == n_inputs * (later + 1) + later * (later + 1) // 2
    assert [c.layer for c in machine.graph.components if c.kind == "layer"] == list(range(later))
    check(machine, module)


def test_branches_and_blocks_are_the_same_graph() -> None:
    branches = stack_machine(modules.drawn(modules.branches()), is_recovered=True).graph
    blocks = stack_machine(modules.drawn(modules.blocks()), is_recovered=True).graph
    assert torch.equal(branches.exists, blocks.exists)


@pytest.mark.parametrize(
    ("name", "is_recovered"),
    [
        ("gpt2", True),
        pytest.param("gpt2", False, marks=pytest.mark.slow),
        pytest.param("llama", True, marks=pytest.mark.slow),
        pytest.param("llama", False, marks=pytest.mark.slow),
    ],
)
def test_transformers(name: str, *, is_recovered: bool) -> None:
    machine, theirs = hugging_face_machine(name, is_recovered=is_recovered)
    prefix, attn = {"gpt2": ("transformer.h", "attn"), "llama": ("model.layers", "self_attn")}[name]
    heads = [".h0", ".h1"] if is_recovered else [""]
    layers = [[*(f"{prefix}.{i}.{attn}{head}" for head in heads), f"{prefix}.{i}.mlp"] for i in range(2)]
    assert list(machine.graph.writers) == ["input", *layers[0], *layers[1]]
    if is_recovered:
        assert f"{prefix}.1.{attn}.h1.k" in machine.graph.readers
        assert machine.graph.n_edges == 46  # as the same model lowered: 6 + 3 + 4 * 6 + 6 + 7
    # rotary tables and norms of Llama go through float32 whatever the weights are
    check(machine, theirs, tolerance=1e-9 if name == "gpt2" else 1e-5)


@pytest.mark.slow
@RECOVERED
def test_bert_has_norms_on_its_stream(*, is_recovered: bool) -> None:
    machine, theirs = hugging_face_machine("bert", is_recovered=is_recovered)
    per_layer = 2 if is_recovered else 1
    assert len(machine.graph.writers) == 1 + 2 * (per_layer + 2) + 1  # heads, MLP and two norms, the last one not
    check(machine, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mamba", "mamba2"])
def test_layers_of_state_space_models(name: str) -> None:
    machine, theirs = hugging_face_machine(name, is_recovered=False)
    assert machine.graph.writers == ("input", "backbone.layers.0.mixer", "backbone.layers.1.mixer")
    assert machine.graph.n_edges == 6
    check(machine, theirs, tolerance=1e-5)  # mixers round to float32


def test_embeddings_of_two_tables_are_side_by_side() -> None:
    module = modules.drawn(modules.two_tables())
    machine = stack_machine(module)
    tokens = torch.tensor([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
    given = machine.source.given(tokens)
    torch.testing.assert_close(given.embeds[:, 0], torch.cat([table(tokens) for table in module.tables], -1))
    half = machine.source.given(tokens, embeds=given.embeds / 2)
    run = machine.run(half, keep_writes=True)
    torch.testing.assert_close(run.writes["tables.1"][:, 0, 0], module.tables[1](tokens) / 2)


def test_a_model_of_vectors_is_given_these() -> None:
    module, arguments = tiny.mlp(1, torch.float64)
    model = from_torch(module, example_kwargs=arguments)
    machine = machine_of_expression(model.output, model.inputs["x"])
    assert machine.graph.n_edges == 10
    x = torch.randn(3, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    run = machine.run(machine.source.given(x))
    torch.testing.assert_close(machine.logits(machine.read(machine.readout, run), run.given)[:, 0], module(x))


def test_sums_can_be_pointed_at() -> None:
    """A stream whose layers act on every element by themselves is found only if its sums are named."""
    x = Symbol.new_from_name((4, 3), "x")
    first = Add(x, rc.elementwise("tanh", x, name="first"), name="sum.0")
    second = Add(first, rc.elementwise("sin", first, name="second"), name="sum.1")
    root: Expr = rc.elementwise("exp", second, name="out")
    with pytest.raises(rc.DiscoveryError, match="has no residual stream"):
        machine_of_expression(root, x)
    machine = machine_of_expression(root, x, sums={"sum.0", "sum.1"})
    assert machine.graph.writers == ("input", "first", "second")
    value = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    run = machine.run(machine.source.given(value))
    first_value = value + value.tanh()
    wanted = (first_value + first_value.sin()).exp()
    torch.testing.assert_close(machine.logits(machine.read(machine.readout, run), run.given), wanted)


def test_a_model_without_a_residual_stream() -> None:
    model = from_torch(modules.WithoutStream().eval(), (torch.zeros(1, 5, dtype=torch.int64),))
    with pytest.raises(rc.DiscoveryError, match="no sum adds something to what that was computed from") as caught:
        machine_of_expression(model.output, model.inputs["tokens"])
    assert "sums= takes a matcher" in str(caught.value)


def test_prompts_of_another_length_and_padding() -> None:
    machine = stack_machine(modules.drawn(modules.linear()))
    with pytest.raises(rc.DiscoveryError, match=r"for tokens of shape \[1, 5\]"):
        machine.source.given(torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(rc.DiscoveryError, match="without a mask cannot leave out padding"):
        machine.source.given(torch.zeros(1, 5, dtype=torch.int64), torch.tensor([[0, 1, 1, 1, 1]]))


def test_what_else_is_free_is_to_be_bound() -> None:
    x, w = Symbol.new_from_name((4, 3), "x"), Symbol.new_from_name((3, 3), "w")
    root = Add(x, rc.Einsum.from_string("s i, i o -> s o", x, w))
    with pytest.raises(rc.DiscoveryError, match=r"'w' .* besides its tokens"):
        machine_of_expression(root, x)
    with pytest.raises(rc.DiscoveryError, match="does not read"):
        machine_of_expression(rc.Array(torch.ones(2)), x)
