"""A block of a transformer as a module: norms, attention, MLP, and the sums that are the residual stream."""

from __future__ import annotations

from scrub.graph import Add, Expr, ModuleSpec, Size, Symbol
from scrub.models.architecture import Experts, Layer
from scrub.models.parts.attention import MASKED_SCORE, attention_spec, attention_weights
from scrub.models.parts.mlp import mlp_spec, mlp_weights
from scrub.models.parts.norms import call, norm_weights, normed


def block_spec(layer: Layer, seq: Size, d_model: int, *, masked: float = MASKED_SCORE) -> ModuleSpec:
    """A block on `b.input` [seq, d_model]; see `Layer` for the formula.

    Names: `a.norm`, `a` (attention without its bias), `a.p_bias` (with it), `a.out_norm`; `b.mid` the residual stream
    after attention, `b.mid_norm`; `m.norm`, `m`, `m.p_bias`, `m.out_norm`; `b.out`, `b.out_norm`.
    """
    x = Symbol.new_from_name((seq, d_model), "b.input")
    attention = attention_spec(layer.attention, seq, d_model, masked=masked)
    read = normed(layer.a_norm, x, "a.norm")
    written = _part(attention, "a", read, "o" in layer.attention.bias)
    written = normed(layer.a_out_norm, written, "a.out_norm")
    residual = read if layer.adds_to_normed else x
    if layer.mlp is None:
        out: Expr = Add(residual, written, name="b.out")
    else:
        mlp = mlp_spec(layer.mlp, seq, d_model)
        mid: Expr = x
        if not layer.is_parallel:
            mid = normed(layer.mid_norm, Add(residual, written, name="b.mid"), "b.mid_norm")
        read = read if layer.shares_norm else normed(layer.m_norm, mid, "m.norm")
        added = _part(mlp, "m", read, has_last_bias(layer))
        added = normed(layer.m_out_norm, added, "m.out_norm")
        residual = read if layer.adds_to_normed else mid
        out = Add(x, written, added, name="b.out") if layer.is_parallel else Add(residual, added, name="b.out")
    return ModuleSpec(normed(layer.out_norm, out, "b.out_norm"), [x, *block_weights(layer, d_model)])


def block_weights(layer: Layer, d_model: int) -> list[Symbol]:
    """Symbols of the weights of a block, `a.w.q` and so on."""
    weights = [*norm_weights(layer.a_norm, "a.norm", d_model), *attention_weights(layer.attention, d_model)]
    if "o" in layer.attention.bias:
        weights.append(_bias("a", d_model))
    weights += norm_weights(layer.a_out_norm, "a.out_norm", d_model)
    weights += norm_weights(layer.mid_norm, "b.mid_norm", d_model)
    weights += norm_weights(layer.m_norm, "m.norm", d_model)
    if layer.mlp is not None:
        weights += mlp_weights(layer.mlp, d_model)
        if has_last_bias(layer):
            weights.append(_bias("m", d_model))
    weights += norm_weights(layer.m_out_norm, "m.out_norm", d_model)
    return weights + norm_weights(layer.out_norm, "b.out_norm", d_model)


def has_last_bias(layer: Layer) -> bool:
    """Whether a bias is added to what the MLP writes."""
    mlp = layer.mlp.expert if isinstance(layer.mlp, Experts) else layer.mlp
    return mlp is not None and mlp.bias_out


def _bias(part: str, d_model: int) -> Symbol:
    return Symbol.new_from_name((d_model,), f"{part}.b.o" if part == "a" else "m.b.out")


def _part(spec: ModuleSpec, name: str, x: Expr, has_bias: bool) -> Expr:
    out = call(spec, name, x, *spec.symbols[1:])
    return Add(out, _bias(name, x.shape[-1]), name=f"{name}.p_bias") if has_bias else out
