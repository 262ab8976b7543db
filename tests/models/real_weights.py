"""Models with real weights that lie beside the repository, where they do; `SOURCES.md` there says what they compute."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import scrub as rc
from scrub.models import LoadedModel
from scrub.rewrite import IterativeMatcher, not_through
from zoo.known_models import DATA, load_compiled

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the models in shared/data are not on this machine")


@functools.cache
def stories() -> tuple[LoadedModel, dict[str, Any], dict[str, torch.Tensor]]:
    """The Llama-style story model, its config, and its weights as stored.

    Its file holds each kind of weight of all layers along a first axis, and neighbouring features are rotated, as in
    llama2.c; so it is the layout of TransformerLens that it maps to without moving anything.
    """
    config = json.loads((DATA / "stories260K" / "config.json").read_text())
    stored = load_file(DATA / "stories260K" / "stories260K.safetensors")
    d_head = config["dim"] // config["n_heads"]
    embeddings = stored["tok_embeddings.weight"]
    weights = {"embed.W_E": embeddings, "unembed.W_U": embeddings.T, "ln_final.w": stored["norm"]}
    for number in range(config["n_layers"]):
        of_layer = {name: weight[number] for name, weight in stored.items() if weight.shape[0] == config["n_layers"]}
        read = {part: of_layer[f"w{part}"].unflatten(0, (-1, d_head)).transpose(-1, -2) for part in "qkv"}
        block = {
            "ln1.w": of_layer["attn_norm"],
            "ln2.w": of_layer["ffn_norm"],
            "attn.W_Q": read["q"],
            "attn._W_K": read["k"],
            "attn._W_V": read["v"],
            "attn.W_O": of_layer["wo"].T.unflatten(0, (-1, d_head)),
            "mlp.W_gate": of_layer["w1"].T,
            "mlp.W_in": of_layer["w3"].T,
            "mlp.W_out": of_layer["w2"].T,
        }
        weights |= {f"blocks.{number}.{name}": weight for name, weight in block.items()}
    fields = {
        "n_layers": config["n_layers"],
        "n_heads": config["n_heads"],
        "n_key_value_heads": config["n_kv_heads"],
        "d_model": config["dim"],
        "d_head": d_head,
        "d_mlp": config["hidden_dim"],
        "d_vocab": config["vocab_size"],
        "n_ctx": config["max_seq_len"],
        "normalization_type": "RMS",
        "eps": 1e-5,
        "act_fn": "silu",
        "gated_mlp": True,
        "positional_embedding_type": "rotary",
        "rotary_adjacent_pairs": True,
        "rotary_base": 10000,
    }
    return rc.from_transformer_lens(weights, fields), config, stored


def tracr(name: str) -> tuple[LoadedModel, dict[str, Any], dict[str, Any]]:
    """A compiled program of `tracr/`, its config, and its circuit."""
    compiled = load_compiled(name)
    return compiled.model, json.loads((DATA / "tracr" / f"{name}.json").read_text()), compiled.circuit


def split_by_head(loaded: LoadedModel, seq: int) -> rc.Expr:
    """`t.bind_w` with every head by itself, `a0.h0`."""
    bound = loaded.lower(seq_len=seq)["t.bind_w"]
    return rc.configure_transformer(bound, split_by_head_config="full", use_pull_up_head_split=True)


def mean_ablated(loaded: LoadedModel, tokens: torch.Tensor, head: str | None) -> torch.Tensor:
    """Logits on tokens, with what a head writes replaced by its mean over them at each position."""
    model = split_by_head(loaded, tokens.shape[-1])
    if head is not None:
        written = rc.substitute_all_modules(loaded.call(tokens, model=model)).get_unique(head).evaluate()
        mean = rc.Array(written.mean(0), f"{head}.mean")
        model = model.update(head, lambda _: mean, assert_any_found=True)
    return loaded.call(tokens, model=model).evaluate()


def attention_patterns(loaded: LoadedModel, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Name of a head, "1.3" for head 3 of layer 1, -> [batch, query, key]."""
    call = rc.substitute_all_modules(loaded.call(tokens, model=split_by_head(loaded, tokens.shape[-1])))
    a = loaded.architecture
    probs = {
        f"{layer}.{head}": IterativeMatcher(f"a{layer}.h{head}").chain(
            rc.restrict("a.attn_probs", term_early_at=f"a{layer}.norm")
        )
        for layer in range(a.n_layers)
        for head in range(a.n_heads)
    }
    values = rc.evaluate_many([call.get_unique(matcher) for matcher in probs.values()])
    return dict(zip(probs, values, strict=True))


def without_edge(call: rc.Expr, edge: str, n_layers: int) -> rc.Expr:
    """A call of a model that is split by head, with zero for what one component reads directly of another.

    Args:
        call: the call.
        edge: "embed->a0.h0.q", "a0.h0->m0", "m0->logits" and so on.
        n_layers: number of layers.
    """
    mlps = {f"m{layer}": f"m{layer}.p_bias" for layer in range(n_layers)}
    components = {*mlps.values(), *(f"a{layer}.h0" for layer in range(n_layers))}
    names = {"embed": "idxed_embeds", "pos_embed": "t.w.pos_embeds_idxed", **mlps}
    source, reader = edge.split("->")
    directly = not_through(components) & IterativeMatcher(names.get(source, source))
    if reader.startswith("a"):
        matcher = rc.head_input(reader[:-2], reader[-1]).chain(directly)
    else:
        matcher = directly if reader == "logits" else IterativeMatcher(reader).chain(directly)
    return call.update(matcher, lambda node: rc.Scalar(0.0, node.shape), see_through=True, assert_any_found=True)
