"""Rewrites of a whole model that leave its logits alone but move weights: folding norms and biases, centring.

Each takes a `LoadedModel` and returns another, whose weights are expressions of the old ones: nothing is computed until
they are used, and the compiler computes it once. None of them is applied unless it is asked for.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Nanda and Bloom 2022, TransformerLens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from scrub.graph import Add, CheckpointError, Expr, Scalar
from scrub.graph.rearrange import insert_axes
from scrub.models.architecture import Architecture, Experts, Layer, Mlp, Norm, Readout
from scrub.models.loaded import LoadedModel
from scrub.models.parts.einsums import on_last_axes
from scrub.models.parts.norms import has_bias

Weights = dict[str, Expr]


def fold_layer_norm(model: LoadedModel) -> LoadedModel:
    """The weight and bias of every norm before attention, MLP and unembedding, moved into the matrices that read it.

        (x * w + b) W + c  ->  x (w W) + (b W + c)

    The norms that are left only centre and scale. Norms of what a layer writes, of the residual stream itself (BERT),
    of queries and keys, and of embeddings stay as they are.

    Raises:
        CheckpointError: positions are added between norm and matrices (shortformer), or experts would need biases.

    >>> from transformers import LlamaConfig
    >>> from scrub.models import load
    >>> model = load(LlamaConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=64))
    >>> folded = fold_layer_norm(model)
    >>> "a0.norm.w" in model.weights, "a0.norm.w" in folded.weights
    (True, False)
    """
    a, weights = model.architecture, model.weight_expressions()
    layers: list[Layer] = []
    for number, layer in enumerate(a.layers):
        attention, mlp = layer.attention, layer.mlp
        _check_only_matrices_read(layer, number)
        before_mlp = ("a", layer.a_norm) if layer.shares_norm else ("m", layer.m_norm)
        if mlp is not None:
            mlp = _fold_mlp(weights, before_mlp[1], mlp, number, f"{before_mlp[0]}{number}.norm")
        reads = [f"a{number}.w.{part}" for part in "qkv"]
        if _fold(weights, layer.a_norm, f"a{number}.norm", reads):
            biases = "".join(part for part in "qkvo" if part in attention.bias + "qkv")
            attention = dataclasses.replace(attention, bias=biases)
        for part, norm in (("a", layer.a_norm), ("m", layer.m_norm)):
            _drop(weights, norm, f"{part}{number}.norm")
        bare = {"a_norm": _bare(layer.a_norm), "m_norm": _bare(layer.m_norm)}
        layers.append(dataclasses.replace(layer, attention=attention, mlp=mlp, **bare))
    readout = _fold_readout(weights, a)
    architecture = dataclasses.replace(a, layers=tuple(layers), readout=readout)
    return dataclasses.replace(model, architecture=architecture, weights=weights)


def fold_value_biases(model: LoadedModel) -> LoadedModel:
    """The biases of values moved into the bias of attention's output: attention probabilities sum to 1.

        sum_h (p_h (x W_V + b_V)) W_O + b_O  ->  sum_h (p_h x W_V) W_O + (b_O + sum_h b_V W_O)

    >>> from transformers import GPT2Config
    >>> from scrub.models import load
    >>> model = fold_value_biases(load(GPT2Config(n_layer=2)))
    >>> model.architecture.layers[0].attention.bias
    'qko'
    """
    a, weights = model.architecture, model.weight_expressions()
    layers: list[Layer] = []
    for number, layer in enumerate(a.layers):
        attention = layer.attention
        if "v" in attention.bias:
            heads = "i g" if len(attention.query_axes) == 2 else "g"
            bias, out = weights.pop(f"a{number}.b.v"), f"a{number}.b.o"
            written = on_last_axes(f"g e, {heads} e d -> d", bias, weights[f"a{number}.w.o"], name=out)
            weights[out] = Add(weights[out], written, name=out) if out in weights else written
            kept = attention.bias.replace("v", "")
            attention = dataclasses.replace(attention, bias=kept if "o" in kept else kept + "o")
        layers.append(dataclasses.replace(layer, attention=attention))
    return dataclasses.replace(model, architecture=dataclasses.replace(a, layers=tuple(layers)), weights=weights)


def center_weights(model: LoadedModel) -> LoadedModel:
    """Everything that writes to the residual stream, minus its mean over the stream's features.

    Each LayerNorm that reads the stream subtracts that mean anyway.

    Raises:
        CheckpointError: something reads the stream otherwise than by a LayerNorm, or a norm or a projection lies
            between what is written and the stream.

    >>> from transformers import GPT2Config
    >>> from scrub.models import load
    >>> center_weights(load(GPT2Config(n_layer=2))).weights["a0.w.o"]
    'a0.w.o' [12, 64, 768] Add
    """
    a, weights = model.architecture, model.weight_expressions()
    _check_all_read_by_layer_norms(a)
    written = ["t.w.tok_embeds", "t.w.pos_embeds", "t.w.type_embeds", "t.w.patches", "t.b.patches", "t.w.class_token"]
    if a.embedding.positions == "shortformer":
        written.remove("t.w.pos_embeds")
    for number in range(a.n_layers):
        written += [f"a{number}.w.o", f"a{number}.b.o", f"m{number}.w.out", f"m{number}.b.out"]
    for name in written:
        if name in weights:
            weights[name] = _centred(weights[name], name)
    return dataclasses.replace(model, weights=weights)


def _check_only_matrices_read(layer: Layer, number: int) -> None:
    has_weights = layer.a_norm is not None and (layer.a_norm.weight or has_bias(layer.a_norm))
    problem = "adds positions to what its norm puts out (shortformer)" if layer.attention.shortformer else ""
    if layer.adds_to_normed:
        problem = "adds to the residual stream what its norms put out"
    if problem and has_weights:
        raise CheckpointError(f"fold_layer_norm: layer {number} {problem}", hint="keep the norms of this model")


def _bare(norm: Norm | None) -> Norm | None:
    return norm and dataclasses.replace(norm, weight=False, bias=False, one_plus_weight=False)


def _fold(weights: Weights, norm: Norm | None, norm_name: str, matrices: list[str]) -> bool:
    """Fold a norm into matrices [*, d_model, out] that read it. Whether they have biases for it now."""
    if norm is None:
        return False
    w, b = weights.get(f"{norm_name}.w"), weights.get(f"{norm_name}.b")
    if w is not None and norm.one_plus_weight:
        w = Add(w, Scalar(1.0), name=f"{norm_name}.one_plus_w")
    for name in matrices:
        old = weights[name]
        if b is not None:
            bias = name.replace(".w.", ".b.", 1)
            added = on_last_axes("d, ... d e -> ... e", b, old, name=bias)
            weights[bias] = Add(weights[bias], added, name=bias) if bias in weights else added
        if w is not None:
            weights[name] = on_last_axes("d, ... d e -> ... d e", w, old, name=name)
    return b is not None


def _drop(weights: Weights, norm: Norm | None, norm_name: str) -> None:
    if norm is not None:
        for part in "wb":
            weights.pop(f"{norm_name}.{part}", None)


def _fold_mlp(weights: Weights, norm: Norm | None, mlp: Mlp | Experts, number: int, norm_name: str) -> Mlp | Experts:
    one = mlp.expert if isinstance(mlp, Experts) else mlp
    takes_no_bias = isinstance(mlp, Experts) or (mlp.is_gated and mlp.bias_after_gate)
    if takes_no_bias and norm is not None and has_bias(norm):
        raise CheckpointError(f"fold_layer_norm: experts or gate of m{number} would need biases", hint="keep the norm")
    names = ["router"] * isinstance(mlp, Experts) + ["gate"] * one.is_gated + ["in"]
    has_new_biases = _fold(weights, norm, norm_name, [f"m{number}.w.{name}" for name in names])
    if isinstance(mlp, Experts):
        return mlp
    return dataclasses.replace(mlp, bias_in=mlp.bias_in or has_new_biases)


def _fold_readout(weights: Weights, a: Architecture) -> Readout:
    r = a.readout
    reader = "w.project_out" if r.d_embed is not None else "w.unembed" if r.transform is None else "w.transform"
    if r.d_embed is not None and r.norm is not None and has_bias(r.norm):
        raise CheckpointError("fold_layer_norm: the projection before the unembedding would need a bias", found=r)
    has_new_biases = _fold(weights, r.norm, "final.norm", [f"t.{reader}"])
    _drop(weights, r.norm, "final.norm")
    has_bias_now = r.has_bias or (has_new_biases and reader == "w.unembed")
    return dataclasses.replace(r, norm=_bare(r.norm), has_bias=has_bias_now)


def _centred(weight: Expr, name: str) -> Expr:
    d_model = int(weight.shape[-1])
    mean = on_last_axes("... d,  -> ...", weight, Scalar(-1.0 / d_model))
    return Add(weight, insert_axes(mean, at=mean.ndim, count=1), name=name)


def _check_all_read_by_layer_norms(a: Architecture) -> None:
    problems: Mapping[str, bool] = {
        "the embeddings pass a norm or a projection": a.embedding.norm is not None or a.embedding.d_embed is not None,
        "the final norm is no LayerNorm": a.readout.norm is None or a.readout.norm.kind != "ln",
    }
    for number, layer in enumerate(a.layers):
        has_own_norm = layer.mlp is not None and not layer.shares_norm
        readers = [layer.a_norm, *([layer.m_norm] if has_own_norm else [])]
        between = [layer.a_out_norm, layer.mid_norm, layer.m_out_norm, layer.out_norm]
        problems = {
            **problems,
            f"layer {number} reads the stream otherwise": any(norm is None or norm.kind != "ln" for norm in readers),
            f"layer {number} adds what norms put out": layer.adds_to_normed,
            f"layer {number} has norms behind attention or MLP": any(norm is not None for norm in between),
        }
    found = [problem for problem, is_there in problems.items() if is_there]
    if found:
        raise CheckpointError(
            f"center_weights: {'; '.join(found)}",
            expected="LayerNorms before attention, MLP and unembedding, and no others on the residual stream",
            found=found,
        )
