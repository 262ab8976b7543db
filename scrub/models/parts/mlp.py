"""MLPs as modules: plain, gated, and mixtures of experts. Parameters are `m.input` and the weights."""

from __future__ import annotations

from scrub.graph import Add, Einsum, Expr, GeneralFunction, ModuleSpec, Size, Symbol, elementwise, softmax
from scrub.graph.functions.top_k import KeepTopK
from scrub.models.architecture import Experts, Mlp
from scrub.models.parts.norms import call, norm_weights, normed


def mlp_weights(mlp: Mlp | Experts, d_model: int) -> list[Symbol]:
    """Symbols of an MLP's weights but for its last bias, in the order in which the module takes them.

    Weights of experts have the experts as first axis; biases of single experts are not supported.
    """
    if isinstance(mlp, Experts):
        each = [Symbol.new_from_name((mlp.n_experts, *s.shape), str(s.name)) for s in mlp_weights(mlp.expert, d_model)]
        return [Symbol.new_from_name((d_model, mlp.n_experts), "m.w.router"), *each]
    shapes: dict[str, tuple[int, ...]] = {}
    if mlp.is_gated:
        shapes["m.w.gate"] = (d_model, mlp.d_mlp)
    shapes["m.w.in"] = (d_model, mlp.d_mlp)
    shapes["m.w.out"] = (mlp.d_mlp, d_model)
    if mlp.bias_in:
        has_gate_bias = mlp.is_gated and not mlp.bias_after_gate
        shapes |= {f"m.b.{part}": (mlp.d_mlp,) for part in ["gate"] * has_gate_bias + ["in"]}
    symbols = [Symbol.new_from_name(shape, name) for name, shape in shapes.items()]
    return symbols + norm_weights(mlp.post_norm, "m.post_norm", mlp.d_mlp)


def mlp_spec(mlp: Mlp | Experts, seq: Size, d_model: int) -> ModuleSpec:
    """The MLP on `m.input` [seq, d_model]. The last bias, if any, is added outside.

    >>> mlp_spec(Mlp(16, "relu"), 5, 8).symbols
    ('m.input' [5, 8] Symbol ..., 'm.w.in' [8, 16] Symbol ..., 'm.w.out' [16, 8] Symbol ..., 'm.b.in' [16] Symbol ...)
    """
    x = Symbol.new_from_name((seq, d_model), "m.input")
    weights = mlp_weights(mlp, d_model)
    if isinstance(mlp, Experts):
        return ModuleSpec(_mixture(mlp, x, weights), [x, *weights])
    by_name = {str(s.name): s for s in weights}
    is_late = mlp.is_gated and mlp.bias_after_gate
    pre = _linear(x, by_name, "in", "m.pre", None if is_late else by_name.get("m.b.in"))
    if mlp.is_gated:
        gate = _activated(mlp.act, _linear(x, by_name, "gate", "m.gate.pre", by_name.get("m.b.gate")), "m.gate")
        late = by_name.get("m.b.in") if is_late else None
        post: Expr = Einsum.from_string("s m, s m -> s m", gate, pre, name="m.post" if late is None else "m.post.lin")
        post = post if late is None else Add(post, late, name="m.post")
    else:
        post = _activated(mlp.act, pre, "m.post")
    post = normed(mlp.post_norm, post, "m.post_norm")
    return ModuleSpec(Einsum.from_string("s m, m d -> s d", post, by_name["m.w.out"], name="m.proj"), [x, *weights])


def _activated(act: str, pre: Expr, name: str) -> Expr:
    if act == "solu":
        return Einsum.from_string("s m, s m -> s m", pre, softmax(pre, name="m.act_probs"), name=name)
    return elementwise(act, pre, name=name)


def _linear(x: Expr, weights: dict[str, Symbol], part: str, name: str, bias: Symbol | None) -> Expr:
    out = Einsum.from_string("s d, d m -> s m", x, weights[f"m.w.{part}"], name=name if bias is None else f"{name}.lin")
    return out if bias is None else Add(out, bias, name=name)


def _mixture(experts: Experts, x: Symbol, weights: list[Symbol]) -> Expr:
    """Every expert on every token, weighted: zero where the router did not choose it."""
    router, *each = weights
    logits = Einsum.from_string("s d, d e -> s e", x, router, name="m.router.logits")
    probs = softmax(logits, name="m.router.probs")
    chosen: Expr = GeneralFunction(probs, spec=KeepTopK(experts.n_active), name="m.router.chosen")
    if experts.is_renormalized:
        total = Einsum.from_string("s e -> s", chosen, name="m.router.total")
        recip = elementwise("reciprocal", total, name="m.router.recip_total")
        chosen = Einsum.from_string("s e, s -> s e", chosen, recip, name="m.router.weights")
    outputs = call(mlp_spec(experts.expert, *x.shape), "m.experts", x, *each)
    return Einsum.from_string("e s d, s e -> s d", outputs, chosen, name="m.mixed")
