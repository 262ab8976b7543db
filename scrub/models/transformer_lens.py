"""State dicts in the layout of TransformerLens' `HookedTransformer`, with a config of its fields.

Source: Nanda and Bloom 2022, TransformerLens; names and shapes are those of its `HookedTransformer.state_dict()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from scrub.graph import CheckpointError
from scrub.models.architecture import Architecture, Attention, Embedding, Layer, Mlp, Norm, Readout, RotaryTable
from scrub.models.checkpoint import expression_weights
from scrub.models.families.activations import ACTIVATIONS
from scrub.models.families.family import Family, Source
from scrub.models.loaded import LoadedModel
from scrub.models.tables import plain_frequencies

_BLOCK = "blocks.{l}"
SOURCES = {
    "t.w.tok_embeds": Source("embed.W_E"),
    "t.w.pos_embeds": Source("pos_embed.W_pos"),
    "t.embed_norm.w": Source("embed.ln.w"),
    "t.embed_norm.b": Source("embed.ln.b"),
    **{f"{part}.norm.{w}": Source(f"{_BLOCK}.{ln}.{w}") for part, ln in (("a", "ln1"), ("m", "ln2")) for w in "wb"},
    **{
        f"{part}.out_norm.{w}": Source(f"{_BLOCK}.{ln}_post.{w}")
        for part, ln in (("a", "ln1"), ("m", "ln2"))
        for w in "wb"
    },
    **{f"a.w.{part.lower()}": Source(f"{_BLOCK}.attn.W_{part}") for part in "QKVO"},
    **{f"a.b.{part.lower()}": Source(f"{_BLOCK}.attn.b_{part}") for part in "QKVO"},
    "m.w.in": Source(f"{_BLOCK}.mlp.W_in"),
    "m.b.in": Source(f"{_BLOCK}.mlp.b_in"),
    "m.w.gate": Source(f"{_BLOCK}.mlp.W_gate"),
    "m.w.out": Source(f"{_BLOCK}.mlp.W_out"),
    "m.b.out": Source(f"{_BLOCK}.mlp.b_out"),
    "final.norm.w": Source("ln_final.w"),
    "final.norm.b": Source("ln_final.b"),
    "t.w.unembed": Source("unembed.W_U"),
    "t.b.unembed": Source("unembed.b_U"),
}
_NORMS = {
    None: None,
    "LN": Norm("ln"),
    "LNPre": Norm("ln", weight=False, bias=False),
    "RMS": Norm("rms"),
    "RMSPre": Norm("rms", weight=False),
}
_DEFAULTS: dict[str, Any] = {
    "d_mlp": None,
    "act_fn": None,
    "eps": 1e-5,
    "attn_only": False,
    "normalization_type": "LN",
    "positional_embedding_type": "standard",
    "attention_dir": "causal",
    "d_vocab_out": -1,
    "use_attn_scale": True,
    "attn_scale": -1.0,
    "gated_mlp": False,
    "parallel_attn_mlp": False,
    "rotary_dim": None,
    "rotary_base": 10000.0,
    "rotary_adjacent_pairs": False,
    "n_key_value_heads": None,
    "output_logits_soft_cap": -1.0,
    "attn_scores_soft_cap": -1.0,
}
_REQUIRED = ("n_layers", "n_heads", "d_model", "d_head", "d_vocab", "n_ctx")


def from_transformer_lens(weights: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> LoadedModel:
    """A model from a state dict of `HookedTransformer`. Weights are shared, not copied.

    Biases are there where the state dict has them, so that models without some load as well.

    Args:
        weights: "embed.W_E", "blocks.0.attn.W_Q" [heads, d_model, d_head] and so on.
        config: fields of `HookedTransformerConfig`; those that are missing have its defaults.

    Raises:
        CheckpointError: a weight is missing, unknown or of the wrong shape, or a field is not supported.

    >>> from scrub.models import load_shipped
    >>> load_shipped("attn_only_2l").architecture.n_heads
    8
    """
    missing = [name for name in _REQUIRED if name not in config]
    unknown = [name for name in config if name not in (*_REQUIRED, *_DEFAULTS)]
    if missing or unknown:
        problem = f"lacks {missing}" if missing else f"has fields that are not supported: {unknown}"
        raise CheckpointError(f"the config {problem}", expected=[*_REQUIRED, *_DEFAULTS], found=list(config))
    architecture = _architecture(_DEFAULTS | dict(config), weights)
    family = Family("transformer_lens", (), lambda _config, _name: architecture, SOURCES, {}, ignored=_IGNORED)
    return LoadedModel(architecture, expression_weights(family, architecture, weights), family.model_type, dict(config))


_IGNORED = (".mask", ".IGNORE", ".rotary_sin", ".rotary_cos")


def _architecture(c: dict[str, Any], weights: Mapping[str, torch.Tensor]) -> Architecture:
    norm = _choice(c, "normalization_type", _NORMS)
    if norm is not None:
        norm = Norm(norm.kind, c["eps"], norm.weight, norm.bias)
    positions = c["positional_embedding_type"]
    _choice(c, "positional_embedding_type", dict.fromkeys(("standard", "shortformer", "rotary")))
    is_causal = _choice(c, "attention_dir", {"causal": True, "bidirectional": False})
    rotary = None
    if positions == "rotary":
        width = c["rotary_dim"] or c["d_head"]
        rotary = RotaryTable("rope", width, plain_frequencies(c["rotary_base"], width), c["rotary_adjacent_pairs"])
    scale = c["d_head"] ** -0.5 if c["attn_scale"] < 0 else 1.0 / c["attn_scale"]
    layers: list[Layer] = []
    for number in range(c["n_layers"]):
        block = f"blocks.{number}"
        attention = Attention(
            c["n_heads"],
            c["n_key_value_heads"] or c["n_heads"],
            c["d_head"],
            scale if c["use_attn_scale"] else 1.0,
            bias="".join(part.lower() for part in "QKVO" if f"{block}.attn.b_{part}" in weights),
            rotary=rotary,
            softcap=c["attn_scores_soft_cap"] if c["attn_scores_soft_cap"] > 0 else None,
            is_causal=is_causal,
            shortformer=positions == "shortformer",
        )
        mlp = None
        if not c["attn_only"]:
            act = _choice(c, "act_fn", ACTIVATIONS)
            b_in, b_out = (f"{block}.mlp.b_{part}" in weights for part in ("in", "out"))
            mlp = Mlp(c["d_mlp"] or 4 * c["d_model"], act, c["gated_mlp"], b_in, b_out)
        layers.append(
            Layer(attention, mlp, a_norm=norm, m_norm=norm if mlp else None, is_parallel=c["parallel_attn_mlp"])
        )
    softcap = c["output_logits_soft_cap"]
    return Architecture(
        d_model=c["d_model"],
        d_vocab=c["d_vocab"],
        n_ctx=c["n_ctx"],
        layers=tuple(layers),
        embedding=Embedding(
            {"standard": "learned", "shortformer": "shortformer", "rotary": "none"}[positions], c["n_ctx"]
        ),
        readout=Readout(norm, has_bias="unembed.b_U" in weights, softcap=softcap if softcap > 0 else None),
        d_out=None if c["d_vocab_out"] < 0 else c["d_vocab_out"],
    )


def _choice(config: Mapping[str, Any], field: str, choices: Mapping[Any, Any]) -> Any:
    if config[field] not in choices:
        raise CheckpointError(
            f"config field {field!r} is {config[field]!r}, which is not supported",
            expected=list(choices),
            found=config[field],
        )
    return choices[config[field]]
