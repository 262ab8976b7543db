"""Norms as modules: `ln.input` [seq, size], weight `ln.w`, bias `ln.b`."""

from __future__ import annotations

from scrub.graph import Add, Einsum, Expr, I, Module, ModuleSpec, Scalar, Size, Symbol, elementwise
from scrub.graph.rearrange import insert_axes
from scrub.models.architecture import Norm


def norm_spec(norm: Norm, seq: Size, size: int) -> ModuleSpec:
    """A norm over the last axis of `ln.input` [seq, size].

    >>> [symbol.name for symbol in norm_spec(Norm("rms"), 5, 8).symbols]
    ['ln.input', 'ln.w']
    """
    x = Symbol.new_from_name((seq, size), "ln.input")
    symbols = [x]
    per_feature = Scalar(1.0 / size, name="ln.recip_d_model")
    centred: Expr = x
    if norm.kind == "ln":
        mean = Einsum((x, (0, 1)), (per_feature, ()), out_axes=(0,), name="ln.mean")
        centred = Add(x, insert_axes(mean.scale(-1.0), at=1, count=1), name="ln.centred")
    var = Einsum((centred, (0, 1)), (centred, (0, 1)), (per_feature, ()), out_axes=(0,), name="ln.var")
    recip_std = elementwise("rsqrt", Add(var, Scalar(norm.eps, name="ln.eps")), name="ln.recip_std")
    factors: list[tuple[Expr, tuple[int, ...]]] = [(centred, (0, 1)), (recip_std, (0,))]
    if norm.weight:
        w = Symbol.new_from_name((size,), "ln.w")
        symbols.append(w)
        factors.append((weight_factor(norm, w), (1,)))
    out: Expr = Einsum(*factors, out_axes=(0, 1), name="ln.scaled")
    if has_bias(norm):
        b = Symbol.new_from_name((size,), "ln.b")
        symbols.append(b)
        out = Add(out, b, name="ln.out")
    return ModuleSpec(out, symbols)


def weight_factor(norm: Norm, weight: Expr) -> Expr:
    """What is multiplied by: the weight, or 1 + weight."""
    return Add(weight, Scalar(1.0), name="ln.one_plus_w") if norm.one_plus_weight else weight


def has_bias(norm: Norm) -> bool:
    """Root-mean-square norms have none."""
    return norm.bias and norm.kind == "ln"


def norm_weights(norm: Norm | None, prefix: str, size: int) -> list[Symbol]:
    """Symbols of the weights of a norm, `{prefix}.w` and `{prefix}.b`, as far as it has them."""
    if norm is None:
        return []
    parts = ["w"] * norm.weight + ["b"] * has_bias(norm)
    return [Symbol.new_from_name((size,), f"{prefix}.{part}") for part in parts]


def normed(norm: Norm | None, x: Expr, name: str) -> Expr:
    """`x` [seq, size] or [size] through a norm called `name` with the symbols of `norm_weights`; x if None."""
    if norm is None:
        return x
    weights = norm_weights(norm, name, x.shape[-1])
    if x.ndim == 1:
        spec = norm_spec(norm, 1, x.shape[-1])
        return call(spec, name, insert_axes(x, at=0, count=1), *weights).index(I[0])
    return call(norm_spec(norm, *x.shape), name, x, *weights)


def call(spec: ModuleSpec, name: str, *args: Expr) -> Module:
    """A call with arguments in the order of the parameters."""
    return Module(spec, name, **{str(s.name): arg for s, arg in zip(spec.symbols, args, strict=True)})
