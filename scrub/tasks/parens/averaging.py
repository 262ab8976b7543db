"""What the averaging head computes: the direction it writes the share of "(" along, and how it weighs positions."""

from __future__ import annotations

from typing import Literal

import torch

from scrub.compiler import compile as compile_exprs
from scrub.graph import Array, Einsum, Expr, Symbol
from scrub.models import LoadedModel
from scrub.rewrite import IterativeMatcher
from scrub.tasks.parens.data import CLOSE, MAX_PARENS, N_CTX, OPEN, from_strings, padding_mask
from scrub.tasks.parens.features import MOSTLY_OPEN, NOT_MOSTLY_OPEN, length, position_classes
from scrub.tasks.parens.model import MASK, TOKENS, parens_expression

Head = tuple[int, int]
SHARE = "signed_share"
"""An input: 2 p - 1, where p is the share of "("."""


def share_direction(model: LoadedModel, head: Head) -> torch.Tensor:
    """v [d_model]: half of what a layer-0 head writes for "(" minus what it writes for ")".

    A head that attends to all parentheses alike writes v (2 p - 1) and a constant, where p is the share of "(". The
    embeddings go through the norm with the mean of the positions' embeddings.

    >>> from scrub.models import load_shipped
    >>> share_direction(load_shipped("parens"), (0, 0)).shape
    torch.Size([56])
    """
    layer, number = head
    weights = {name: weight for name, weight in model.weights.items() if isinstance(weight, torch.Tensor)}
    positions = weights["t.w.pos_embeds"][1 : MAX_PARENS + 1].mean(0)
    embedded = weights["t.w.tok_embeds"][[OPEN, CLOSE]] + positions
    norm = (weights[f"a{layer}.norm.w"], weights[f"a{layer}.norm.b"])
    read = torch.nn.functional.layer_norm(embedded, embedded.shape[-1:], *norm)
    difference = (read[0] - read[1]) / 2
    return difference @ weights[f"a{layer}.w.v"][number] @ weights[f"a{layer}.w.o"][number]


def share_times_direction(model: LoadedModel, head: Head) -> Expr:
    """phi(p) = v (2 p - 1), [1, d_model], of the input `SHARE`: the guess at what the head writes at one position."""
    v = Array(share_direction(model, head)[None], f"a{head[0]}.h{head[1]}.v")
    return Einsum((Symbol.new_from_name((), SHARE), ()), (v, (0, 1)), out_axes=(0, 1))


def attention_pattern(model: LoadedModel, head: Head, tokens: torch.Tensor) -> torch.Tensor:
    """What a layer-0 head attends to, [n, 42 queries, 42 keys], on rows of tokens [n, 42]."""
    layer, number = head
    logits = parens_expression(model)
    pattern = logits.get_unique(IterativeMatcher(f"a{layer}.h{number}").chain("a.attn_probs"))
    symbols = {str(symbol.name): symbol for symbol in pattern.free_symbols}
    program = compile_exprs(pattern, batched=list(symbols.values()))
    (values,) = program.run({symbols[TOKENS]: tokens, symbols[MASK]: padding_mask(tokens)})
    return values


def averaging_weights(model: LoadedModel, head: Head) -> torch.Tensor:
    """How a layer-0 head weighs positions: [41 lengths, 42 positions, 2], before and from the position on.

    On an input of that length in which all parentheses are equal, the mean attention that position i pays to each
    parenthesis before i, and to each from i on; the mean of an input of "(" and one of ")". Zero where there are none.
    """
    weights = torch.zeros(MAX_PARENS + 1, N_CTX, 2, dtype=torch.float64)
    sizes = range(1, MAX_PARENS + 1)
    tokens = from_strings(["(" * n for n in sizes] + [")" * n for n in sizes])
    pattern = attention_pattern(model, head, tokens).double()
    pattern = (pattern[: len(sizes)] + pattern[len(sizes) :]) / 2
    key = torch.arange(N_CTX)
    for i in range(N_CTX):
        for row, n in enumerate(sizes):
            is_paren = (key >= 1) & (key <= n)
            for side, chosen in enumerate((is_paren & (key < i), is_paren & (key >= i))):
                if bool(chosen.any()):
                    weights[n, i, side] = pattern[row, i, chosen].mean()
    return weights


def weighted_position_classes(
    tokens: torch.Tensor, weights: torch.Tensor, *, decided_in: Literal["integers", "float32"] = "integers"
) -> torch.Tensor:
    """[n, 42]: `position_classes` with the share of "(" as a head weighs it.

    The share at position i is that of weights, w_before for each parenthesis before i and w_after for each from i on:
    it exceeds 1/2 where w_before (surplus of "(" before i) + w_after (surplus from i on) is positive.

    Args:
        tokens: [n, 42].
        weights: see `averaging_weights`.
        decided_in: "integers": by that sign, from counts, so that a share of 1/2 is 1/2. "float32": by dividing sums
            of weights in single precision, for which a share of 1/2 may come out on either side.
    """
    is_open, is_close = tokens == OPEN, tokens == CLOSE
    w_before, w_after = weights[length(tokens)].unbind(-1)
    if decided_in == "integers":
        step = is_open.long() - is_close.long()
        after = step.flip(1).cumsum(1).flip(1)
        before = step.sum(1, keepdim=True) - after
        is_mostly_open = w_before * before + w_after * after > 0
    else:
        is_mostly_open = _share_in_float32(is_open, is_open | is_close, w_before, w_after) > 0.5
    classes = position_classes(tokens)
    is_share = (classes == MOSTLY_OPEN) | (classes == NOT_MOSTLY_OPEN)
    return torch.where(is_share, torch.where(is_mostly_open, MOSTLY_OPEN, NOT_MOSTLY_OPEN), classes)


def _share_in_float32(
    is_open: torch.Tensor, is_paren: torch.Tensor, w_before: torch.Tensor, w_after: torch.Tensor
) -> torch.Tensor:
    """[n, 42]: weights of "(" over weights of all parentheses, each weight rounded and summed in single precision."""
    query, key = torch.arange(N_CTX)[:, None], torch.arange(N_CTX)[None, :]
    each = torch.where(key < query, w_before.float()[:, :, None], w_after.float()[:, :, None])
    of_all = each * is_paren[:, None, :]
    share = of_all / of_all.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return (share * is_open[:, None, :]).sum(-1)
