"""`configure_transformer`: rewrites a lowered model into the shape in which hypotheses are written (SPEC 8.2).

Each step is an equality rewrite of its own; this composes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Literal

import torch

from scrub.compiler import evaluate_many
from scrub.graph import Add, Array, CheckpointError, Expr, HeadSplitError, Module, ScrubError, postorder
from scrub.models.heads import HeadGroup, n_heads_of, split_heads
from scrub.models.splits import flatten_residual
from scrub.rewrite import Matcher, Regex, bind, bind_sizes, partially_substitute, substitute

SplitConfig = Literal["full"] | set[int] | Mapping[int, Sequence[HeadGroup]]
_WEIGHTS_OF_THE_WHOLE = ("t.w.", "t.b.")
_BLOCK, _ATTENTION = Regex(r"^b\d+$"), Regex(r"^a\d+$")
_READER = Regex(r"^([am]\d+(.norm)?|b\d+(.mid_norm)?|final.norm|t.(first|projected_out|logits(.lin)?))$")
_READS = {"ln.input", "a.input", "m.input"}
_STREAM = Matcher(Regex(r"^(t.input|b\d+(.mid(_norm)?)?)$"))
_RESIDUAL = Regex(r".resid$")
_PART_OF_BLOCK = Regex(r"^([am].(norm|p_bias|out_norm)|b.(mid(_norm)?|out))$")


class To(IntEnum):
    """How far down weights are pushed: into which modules they are bound.

    BLOCK leaves blocks as modules. ATTN_MLP and ATTN_MLP_NORM dissolve the blocks; the two are the same here, since
    the norm is a module beside attention and not inside it. ATTN_HEAD_MLP_NORM dissolves attention into its heads too.
    """

    BLOCK = 0
    ATTN_MLP = 1
    ATTN_MLP_NORM = 2
    ATTN_HEAD_MLP_NORM = 3


def configure_transformer(
    expr: Expr,
    *,
    to: To = To.ATTN_HEAD_MLP_NORM,
    split_by_head_config: SplitConfig | None = None,
    use_pull_up_head_split: bool = False,
    use_flatten_res: bool = False,
    check_valid: bool = False,
) -> Expr:
    """Push weights down, dissolve blocks, split layers into heads, flatten the residual stream.

    Names that result: `b{l}` the residual stream after a block, `a{l}` attention, `a{l}.norm` its norm,
    `a{l}.{group}` a group of heads, `a{l}.h{i}` a head where every one is split.

    Args:
        expr: the lowered model, `t.bind_w`.
        to: how far weights are pushed down.
        split_by_head_config: None for no split; "full" for every head of every layer; a set of layers; or
            {layer: [(heads, name), ...]} with groups that partition the heads. An int drops the head axis, a slice or
            list keeps it and sums.
        use_pull_up_head_split: give each group its own inputs, by dissolving the attention modules that are split.
        use_flatten_res: make what every norm, attention and MLP reads of the residual stream one sum of all that was
            written to it, `{reader}.resid`. In a model with norms on the stream (BERT) it is flat from norm to norm.
        check_valid: evaluate before and after on random inputs and raise on a difference.

    Raises:
        HeadSplitError: a layer or head does not exist, or the groups do not partition the heads.

    >>> from scrub.models import load_shipped
    >>> bind_w = load_shipped("attn_only_2l").lower(seq_len=4)["t.bind_w"]
    >>> groups = {1: [(0, "first"), (slice(1, 8), "rest")]}
    >>> split = configure_transformer(bind_w, split_by_head_config=groups, use_pull_up_head_split=True)
    >>> split.get({"a1.first", "a1.rest"})
    ('a1.first' [4, 256] Module, 'a1.rest' [4, 256] Einsum abc->bc)
    """
    module = expr.cast(Module)
    blocks = {block.name: block for block in module.get(_BLOCK) if isinstance(block, Module)}
    if not blocks:
        raise CheckpointError(
            "this is no lowered transformer: it has no modules b0, b1, ...",
            nodes=[expr],
            hint="start from lower_transformer(...)['t.bind_w']; configuring dissolves the blocks, so do it once",
        )
    groups = _resolve_split(split_by_head_config, [blocks[f"b{layer}"] for layer in range(len(blocks))])
    inner = {s.name or "" for s in module.bindings if not (s.name or "").startswith(_WEIGHTS_OF_THE_WHOLE)}
    result: Expr = partially_substitute(module, inner)
    if to > To.BLOCK or groups or use_flatten_res:
        result = result.update(_BLOCK, _dissolve_block)
    if use_flatten_res:
        result = result.update(_READER, _as_sum)
    if groups:
        split = {f"a{layer}": chosen for layer, chosen in groups.items()}
        result = result.update(set(split), lambda a: _split_attention(a, split[str(a.name)]))
    if to == To.ATTN_HEAD_MLP_NORM:
        result = result.update(_ATTENTION, substitute)
    elif use_pull_up_head_split and groups:
        result = result.update({f"a{layer}" for layer in groups}, substitute)
    if use_flatten_res:
        result = result.update(_RESIDUAL, flatten_residual())
    if check_valid:
        check_equal(*(_with_causal_mask(_with_known_sizes(model)) for model in (expr, result)))
    return result


def _with_causal_mask(model: Expr) -> Expr:
    """The model with its mask bound: under a random mask, attention would not depend on queries and keys."""
    masks = [symbol for symbol in model.free_symbols if (symbol.name or "").startswith("a.mask")]
    causal = {
        symbol: Array(torch.ones(symbol.shape, dtype=_floating_dtype(model), device=model.device).tril())
        for symbol in masks
    }
    return bind(model, causal)


def check_equal(before: Expr, after: Expr, *, seed: int = 0, tolerance: float = 1e-5) -> None:
    """Evaluate two expressions on the same random values of their free symbols, and raise if they differ.

    Sizes that are open are taken to be 5.

    Raises:
        ScrubError: by more than `tolerance` x the largest value.

    >>> from scrub.models import load_shipped
    >>> bind_w = load_shipped("attn_only_2l").lower(seq_len=4)["t.bind_w"]
    >>> check_equal(bind_w, configure_transformer(bind_w))
    """
    generator = torch.Generator().manual_seed(seed)
    before, after = _with_known_sizes(before), _with_known_sizes(after)
    if before.shape != after.shape:
        raise ScrubError(
            "the rewrite changed the shape", nodes=[before, after], expected=before.shape, found=after.shape
        )
    symbols = dict.fromkeys((*before.free_symbols, *after.free_symbols))
    dtype, device = _floating_dtype(before), before.device or "cpu"
    values = {s: torch.randn(s.shape, generator=generator).to(device, dtype) for s in symbols}
    first, second = evaluate_many([before, after], values)
    error = float((first - second).abs().max())
    if not error <= tolerance * max(1.0, float(first.abs().max())):
        raise ScrubError(
            f"the rewrite changed the value by {error:.3g}", nodes=[before, after], expected=tolerance, found=error
        )


def _with_known_sizes(expr: Expr) -> Expr:
    return bind_sizes(expr, dict.fromkeys(map(str, expr.free_sizes), 5)) if expr.free_sizes else expr


def _floating_dtype(expr: Expr) -> torch.dtype:
    """That of its floating-point arrays; a module's own dtype may be open, since that of its symbols is."""
    dtypes = (node.dtype for node in postorder([expr]) if isinstance(node, Array))
    return next((dtype for dtype in dtypes if dtype is not None and dtype.is_floating_point), torch.float64)


def _resolve_split(config: SplitConfig | None, blocks: Sequence[Module]) -> dict[int, Sequence[HeadGroup]]:
    n_layers = len(blocks)
    if config is None:
        return {}
    if isinstance(config, str) and config != "full":
        raise HeadSplitError(f"split_by_head_config is {config!r}", expected="full", found=config)
    layers = range(n_layers) if config == "full" else config
    unknown = [layer for layer in layers if not 0 <= layer < n_layers]
    if unknown:
        raise HeadSplitError(
            f"layer {unknown[0]} does not exist, the model has {n_layers}",
            expected=f"0 to {n_layers - 1}",
            found=unknown[0],
        )
    return dict(config) if isinstance(config, Mapping) else {layer: _every_head(blocks[layer]) for layer in layers}


def _every_head(block: Module) -> list[HeadGroup]:
    return [(head, f"h{head}") for head in range(n_heads_of(block.body.get_unique("a.head.on_inp").cast(Module)))]


def _dissolve_block(block: Expr) -> Expr:
    """The block inlined, with its layer in the names of its parts. What is bound to it keeps its own names."""
    if not isinstance(block, Module):
        return block
    layer = (block.name or "").removeprefix("b")
    body = block.body.update(_PART_OF_BLOCK, lambda n: n.rename((n.name or "").replace(".", f"{layer}.", 1)))
    body = body.update({"a", "m"}, lambda n: n.rename(f"{n.name}{layer}"))
    return substitute(block.with_children((body, *block.args)))


def _split_attention(attention: Expr, groups: Sequence[HeadGroup]) -> Expr:
    module = attention.cast(Module)
    return module.with_children((split_heads(module.body, groups, layer=module.name or "a"), *module.args))


def _as_sum(reader: Expr) -> Expr:
    """What the reader takes of the residual stream, as a sum called `{reader}.resid`.

    Readers are norms, attention and MLPs, which are calls, and what reads logits where there is no final norm.
    """
    if isinstance(reader, Module):
        reads = [symbol.name in _READS for symbol in reader.bindings]
        args = [_sum_of(arg, reader) if is_read else arg for arg, is_read in zip(reader.args, reads, strict=True)]
        return reader.with_children((reader.body, *args))
    if (reader.name or "").startswith("t."):
        return reader.with_children([_sum_of(child, reader) for child in reader.children])
    return reader


def _sum_of(arg: Expr, reader: Expr) -> Expr:
    return Add(arg, name=f"{reader.name}.resid") if _STREAM(arg) else arg
