"""The component graph of every family, against what its architecture says: u writes before v reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import transformers

from scrub.discovery.machine import machine_of
from scrub.models import LoadedModel, load
from scrub.models.architecture import Norm
from tests.discovery.machine.cases import OF_TEXT, case, marked
from tests.models.families.tiny import Variant, variants


def wired(model: LoadedModel) -> Iterator[tuple[str, list[str]]]:
    """Each reader with the writers that it reads, by the formulas of `scrub.models.architecture.Layer`."""
    layers = model.architecture.layers
    stream = ["input"]
    for number, layer in enumerate(layers):
        if layer.adds_to_normed and layer.a_norm is not None and number:  # the first is the input
            yield f"a{number}.norm", stream
            stream = [f"a{number}.norm"]
        heads = [f"a{number}.h{i}" for i in range(layer.attention.n_heads)]
        for label in "qkv":
            for head in heads:
                yield f"{head}.{label}", stream
        mid = stream + heads
        if layer.mid_norm is not None and not _is_normed_again(layer.adds_to_normed, layer.m_norm):
            yield f"b{number}.mid_norm", mid
            mid = [f"b{number}.mid_norm"]
        if layer.adds_to_normed and layer.m_norm is not None:
            yield f"m{number}.norm", mid
            mid = [f"m{number}.norm"]
        if layer.mlp is not None:
            yield f"m{number}", stream if layer.is_parallel else mid
            mid = [*mid, f"m{number}"]
        stream = mid
        after = layers[number + 1] if number + 1 < len(layers) else None  # the last norm is part of the logits
        if layer.out_norm is not None and after and not _is_normed_again(after.adds_to_normed, after.a_norm):
            yield f"b{number}", stream
            stream = [f"b{number}"]
    yield "logits", stream


def _is_normed_again(adds_to_normed: bool, norm: Norm | None) -> bool:
    """Whether what a norm gives is read by another norm alone, of which it is a part then."""
    return adds_to_normed and norm is not None


@pytest.mark.parametrize("variant", marked(OF_TEXT))
def test_edges_are_those_of_the_architecture(variant: Variant) -> None:
    found = case(variant).machine.graph
    expected = {(writer, reader) for reader, writers in wired(case(variant).model) for writer in writers}
    assert set(found.edges()) == expected
    assert found.n_edges == len(expected)
    assert set(found.readers) == {reader for reader, _ in wired(case(variant).model)}


@pytest.mark.parametrize(
    ("layers", "heads", "n_components", "n_edges"),
    [(4, 8, 38, 1519), pytest.param(12, 12, 158, 32491, marks=pytest.mark.slow)],
)
def test_counts_of_the_published_models(layers: int, heads: int, n_components: int, n_edges: int) -> None:
    sizes = {"n_embd": 4 * heads, "vocab_size": 40, "n_positions": 8}
    with torch.device("meta"):
        theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=layers, n_head=heads, **sizes))
    graph = machine_of(load(theirs.to_empty(device="cpu"))).graph
    assert (len(graph.components), graph.n_edges) == (n_components, n_edges)
    assert graph.shape == {"n_layers": layers, "n_heads": heads, "d_model": 4 * heads}


def test_heads_in_a_parallel_block_do_not_feed_its_mlp() -> None:
    graph = case(next(variants("gptj"))).machine.graph
    assert not graph.exists[graph.reader_index["m0"], graph.writer_index["a0.h1"]]
    assert graph.exists[graph.reader_index["m1"], graph.writer_index["a0.h1"]]
    assert graph.exists[graph.reader_index["a1.h0.q"], graph.writer_index["m0"]]


def test_kinds_layers_and_owners() -> None:
    graph = case(next(variants("bert"))).machine.graph
    of = graph.component_of
    assert (of["a1.h2"].kind, of["a1.h2"].layer, of["a1.h2"].head) == ("head", 1, 2)
    assert (of["m1"].kind, of["m1"].layer) == ("mlp", 1)
    assert (of["b0.mid_norm"].kind, of["b0.mid_norm"].layer) == ("layer", 0)
    assert graph.owners[graph.reader_index["a1.h2.k"]] == "a1.h2"


def test_names_in_the_other_styles() -> None:
    names = case(next(variants("gpt2"))).machine.graph.other_names
    assert names["a1.h3"] == {
        "transformer_lens": "blocks.1.attn.hook_result[3]",
        "hugging_face": "transformer.h.1.attn[3]",
    }
    assert names["m0"] == {"transformer_lens": "blocks.0.hook_mlp_out", "hugging_face": "transformer.h.0.mlp"}
    assert names["input"] == {"transformer_lens": "blocks.0.hook_resid_pre", "hugging_face": "transformer.drop"}
    llama = case(next(variants("llama"))).machine.graph.other_names
    assert llama["input"] == {"transformer_lens": "hook_embed", "hugging_face": "model.embed_tokens"}


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_embeddings_apart(family: str) -> None:
    whole = case(next(variants(family)))
    machine = machine_of(whole.model, split_input=True)
    graph = machine.graph
    assert graph.writers[:2] == ("input.tokens", "input.positions")
    assert graph.n_edges == whole.machine.graph.n_edges + len(graph.readers)  # everyone reads the embeddings
    mask = torch.ones_like(whole.tokens)
    mask[0, 4:] = 0
    given = machine.source.given(whole.tokens, mask)
    run = machine.run(given, keep_writes=True)
    wanted = whole.model.call(whole.tokens, attention_mask=mask).evaluate()
    torch.testing.assert_close(
        machine.logits(machine.read(machine.readout, run), given)[mask.bool()], wanted[mask.bool()]
    )
    torch.testing.assert_close(run.writes["input.tokens"][:, 0], given.embeds)
