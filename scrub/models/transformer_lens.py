"""State dicts in the layout of TransformerLens' `HookedTransformer`, with a config of its fields.

Source: Nanda and Bloom 2022, TransformerLens; names and shapes are those of its `HookedTransformer.state_dict()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch

from scrub.graph import CheckpointError
from scrub.models.architecture import Architecture, Attention, Embedding, Layer, Mlp, Norm, Readout, RotaryTable
from scrub.models.checkpoint import expression_weights
from scrub.models.families.family import Family, Source
from scrub.models.lens_config import read_lens_config, refuse
from scrub.models.lens_positions import alibi_multipliers, rotary_tables
from scrub.models.loaded import LoadedModel
from scrub.models.names import LENS_WEIGHTS

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "silu": "silu",
    "solu": "solu",
    "solu_ln": "solu",
}
_NORMS = {
    None: None,
    "LN": Norm("ln"),
    "LNPre": Norm("ln", weight=False, bias=False),
    "RMS": Norm("rms"),
    "RMSPre": Norm("rms", weight=False),
}
_FINAL_RMS = {"LN": "RMS", "LNPre": "RMSPre"}
_POSITIONS = {"standard": "learned", "shortformer": "shortformer", "rotary": "none", "alibi": "none"}
_BUFFERS = (".attn.mask", ".attn.IGNORE", ".attn.rotary_sin", ".attn.rotary_cos")


def from_transformer_lens(weights: Mapping[str, torch.Tensor] | torch.nn.Module, config: Any = None) -> LoadedModel:
    """A model from a state dict of `HookedTransformer`, or from the module. Weights are shared, not copied.

    Biases are there where the state dict has them, so that models without some load as well. With an `attention_mask`,
    positions count the tokens that it shows; unlike `HookedTransformer`'s, bidirectional attention minds it too.

    Args:
        weights: "embed.W_E", "blocks.0.attn.W_Q" [heads, d_model, d_head] and so on; or a `HookedTransformer`.
        config: fields of `HookedTransformerConfig` as a mapping, or that config; those that are missing have its
            defaults. None: the module's own.

    Raises:
        CheckpointError: a weight is missing, unknown or of the wrong shape, or a field is not supported.

    >>> fields = {"n_layers": 1, "d_model": 4, "d_head": 2, "d_vocab": 3, "n_ctx": 5, "normalization_type": None}
    >>> shapes = {"embed.W_E": (3, 4), "pos_embed.W_pos": (5, 4), "unembed.W_U": (4, 3), "blocks.0.attn.W_O": (2, 2, 4)}
    >>> shapes |= {f"blocks.0.attn.W_{part}": (2, 4, 2) for part in "QKV"}
    >>> weights = {name: torch.ones(shape) for name, shape in shapes.items()}
    >>> from_transformer_lens(weights, {**fields, "attn_only": True}).call(torch.tensor([0, 2])).evaluate()
    tensor([[136., 136., 136.],
            [136., 136., 136.]])
    >>> from_transformer_lens(weights, {**fields, "positional_embedding_type": "sinusoidal"})
    Traceback (most recent call last):
        ...
    scrub.graph.errors.CheckpointError: config field 'positional_embedding_type' is 'sinusoidal', which is not supported
    ...
    """
    if isinstance(weights, torch.nn.Module):
        config = getattr(weights, "cfg", None) if config is None else config
        weights = weights.state_dict()
    if config is None:
        raise CheckpointError(
            "a state dict does not say what model it is of", expected="config", hint="give the fields of its config"
        )
    fields, given = read_lens_config(config)
    dtype = weights["embed.W_E"].dtype if "embed.W_E" in weights else torch.get_default_dtype()
    if fields.dtype not in (None, dtype):
        refuse(fields, "dtype", expected=dtype, given=f"weights of {dtype}")
    architecture = _architecture(fields, weights, dtype)
    ignored = _BUFFERS if fields.positional_embedding_type != "alibi" else (*_BUFFERS, "pos_embed.W_pos")
    family = Family("transformer_lens", (), lambda _config, _name: architecture, _sources(weights), {}, ignored=ignored)
    return LoadedModel(architecture, expression_weights(family, architecture, weights), family.model_type, given)


def _architecture(c: SimpleNamespace, weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> Architecture:
    norm = _norm(c, _choice(c, "normalization_type", _NORMS))
    final = _norm(c, _NORMS[_FINAL_RMS.get(c.normalization_type, c.normalization_type)]) if c.final_rms else norm
    positions = _choice(c, "positional_embedding_type", _POSITIONS)
    is_learned = positions != "none"
    tables = rotary_tables(c, dtype) if c.positional_embedding_type == "rotary" else {}
    return Architecture(
        d_model=c.d_model,
        d_vocab=c.d_vocab,
        n_ctx=c.n_ctx,
        layers=tuple(_layer(c, number, norm, tables, weights) for number in range(c.n_layers)),
        embedding=Embedding(
            positions,
            c.n_ctx if is_learned else 0,
            positions_from_mask=is_learned,
            norm=Norm("ln", c.eps) if c.post_embedding_ln else None,
        ),
        readout=Readout(final, has_bias="unembed.b_U" in weights, softcap=_cap(c.output_logits_soft_cap)),
        d_out=c.d_vocab_out,
    )


def _layer(
    c: SimpleNamespace,
    number: int,
    norm: Norm | None,
    tables: Mapping[str, RotaryTable],
    weights: Mapping[str, torch.Tensor],
) -> Layer:
    block = f"blocks.{number}"
    attn_type = c.attn_types[number] if c.use_local_attn else "global"
    is_causal = _choice(c, "attention_dir", {"causal": True, "bidirectional": False})
    divisor = c.attn_scale if c.use_attn_scale else 1.0
    attention = Attention(
        c.n_heads,
        c.n_key_value_heads or c.n_heads,
        c.d_head,
        1.0 / (divisor * (number + 1 if c.scale_attn_by_inverse_layer_idx else 1)),
        bias="".join(p.lower() for p in "QKVO" if {f"{block}.attn.b_{p}", f"{block}.attn._b_{p}"} & weights.keys()),
        qk_norm=Norm("rms", c.eps) if c.use_qk_norm else None,
        rotary=tables.get(attn_type),
        alibi_slopes=alibi_multipliers(c.n_heads) if c.positional_embedding_type == "alibi" else None,
        softcap=_cap(c.attn_scores_soft_cap),
        is_causal=is_causal,
        # HookedTransformer cuts the window out of the causal mask, and bidirectional attention has none.
        window=c.window_size if attn_type == "local" and is_causal else None,
        shortformer=c.positional_embedding_type == "shortformer",
    )
    mlp = None if c.attn_only else _mlp(c, {part for part in ("in", "out") if f"{block}.mlp.b_{part}" in weights})
    after = norm and Norm("rms", c.eps) if c.use_normalization_before_and_after else None
    return Layer(
        attention,
        mlp,
        a_norm=norm,
        a_out_norm=after,
        m_norm=norm if mlp else None,
        m_out_norm=after if mlp else None,
        is_parallel=c.parallel_attn_mlp,
    )


def _mlp(c: SimpleNamespace, biases: set[str]) -> Mlp:
    post_norm = None
    if c.act_fn == "solu_ln":
        if c.gated_mlp:
            refuse(c, "act_fn", expected="solu", given="gated_mlp")
        post_norm = _norm(c, _NORMS["LN" if c.normalization_type == "LN" else "LNPre"])
    return Mlp(
        c.d_mlp,
        _choice(c, "act_fn", _ACTIVATIONS),
        c.gated_mlp,
        "in" in biases,
        "out" in biases,
        bias_after_gate=c.gated_mlp,
        post_norm=post_norm,
    )


def _sources(weights: Mapping[str, torch.Tensor]) -> dict[str, Source]:
    """Where weights are stored. Keys and values that heads share are stored with an underscore."""
    shared = any(name.endswith(".attn._W_K") for name in weights)
    sources = {name: Source(stored) for name, stored in LENS_WEIGHTS.items()}
    for name in ("a.w.q", "a.b.q", "a.w.o"):
        sources[name] = sources[name]._replace(view=_grouped)
    for name in ("a.w.k", "a.w.v", "a.b.k", "a.b.v") if shared else ():
        block, weight = sources[name].weight.rsplit(".", 1)
        sources[name] = Source(f"{block}._{weight}")
    return sources


def _grouped(w: torch.Tensor, layer: Layer) -> torch.Tensor:
    """[heads, ...] as [heads of a group, groups, ...] where heads share keys and values."""
    groups = layer.attention.n_key_value_heads
    if len(layer.attention.query_axes) == 1:
        return w
    return w.view(groups, w.shape[0] // groups, *w.shape[1:]).transpose(0, 1)


def _norm(c: SimpleNamespace, norm: Norm | None) -> Norm | None:
    return norm and Norm(norm.kind, c.eps, norm.weight, norm.bias)


def _cap(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _choice(c: SimpleNamespace, field: str, choices: Mapping[Any, Any]) -> Any:
    if getattr(c, field) not in choices:
        refuse(c, field, expected=list(choices))
    return choices[getattr(c, field)]
