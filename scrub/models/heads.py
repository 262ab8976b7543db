"""Splitting attention: a layer's heads into named groups, and a head's attention by key position.

Both are equality rewrites: they change where a hypothesis can take hold, not the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch

from scrub.graph import Add, Array, Einsum, Expr, HeadSplitError, I, Module, Rearrange, Symbol
from scrub.graph.index import IndexEntry
from scrub.models.splits import Group, partition
from scrub.rewrite import IterativeMatcher, restrict

HeadGroup = tuple[IndexEntry, str]
"""(heads, name): an int is one head without head axis; a slice or list of heads is summed."""


def split_heads(attention: Expr, groups: Sequence[HeadGroup], *, layer: str) -> Add:
    """The sum over the heads of a layer as a sum of groups, each with a call of its own.

    Args:
        attention: the sum over the head axis of a batched call of the head module.
        groups: must partition the heads.
        layer: name of the layer's attention; a group "prev" becomes `{layer}.prev`.

    Raises:
        HeadSplitError: a head does not exist, is in two groups or in none, or two groups have the same name.

    >>> from scrub.models import load_shipped
    >>> bind_w = load_shipped("attn_only_2l").lower(seq_len=4)["t.bind_w"]
    >>> layer0 = bind_w.get_unique(IterativeMatcher("b0").chain("a.sum"))
    >>> groups = [(3, "one"), ([0, 1, 2, 4, 5, 6, 7], "rest")]
    >>> [group.name for group in split_heads(layer0, groups, layer="a0").children]
    ['a0.one', 'a0.rest']
    """
    summed = attention.cast(Einsum)
    heads = summed.children[0].cast(Module)
    n_heads = n_heads_of(heads)
    parts = partition(groups, n_heads, where=layer, noun="head", from_end=False, error=HeadSplitError)
    return Add(*(_group(heads, part, f"{layer}.{part.label}") for part in parts), name=attention.name)


def n_heads_of(heads: Module) -> int:
    """Number of query heads of a batched call of the head module: its batch axes, [heads] or [of a group, groups]."""
    return math.prod(int(size) for size in heads.shape[: heads.ndim - heads.body.ndim])


def split_keys(masks: Mapping[str, torch.Tensor]) -> Callable[[Expr], Expr]:
    """A transform for `update`: splits the weighted sum of values (`a.comb_v`) by which keys a query attends to.

    `comb_v[q] = sum_k probs[q, k] v[k]` becomes one sum per mask, `sum_k mask[q, k] probs[q, k] v[k]`, named
    `a.comb_v.{label}`. Attention itself is untouched: probabilities are not renormalised.

    Args:
        masks: label -> [query, key], which must sum to 1 everywhere.

    >>> previous = torch.eye(4).roll(-1, dims=1).tril()
    >>> split = split_keys({"prev_pos": previous, "other_pos": 1 - previous})
    """
    shapes = {label: tuple(mask.shape) for label, mask in masks.items()}
    if len(set(shapes.values())) != 1:
        raise HeadSplitError(
            f"split_keys: masks need one common shape [query, key], not {shapes}",
            expected="one shape",
            found=shapes,
        )
    total = torch.stack([mask.to("cpu", torch.float64) for mask in masks.values()]).sum(0)
    if not bool((total == 1).all()):
        q, k = (int(i) for i in (total != 1).nonzero()[0])
        raise HeadSplitError(
            f"split_keys: the masks sum to {float(total[q, k])} at query {q}, key {k}",
            expected=1.0,
            found=float(total[q, k]),
            hint="give the rest a group of its own: 1 - mask",
        )

    def transform(node: Expr) -> Expr:
        comb_v = node.cast(Einsum)
        (probs, axes), *others = comb_v.operands
        if total.shape != probs.shape:
            raise HeadSplitError(
                f"split_keys: masks of shape {tuple(total.shape)} for attention of shape {probs.shape}",
                nodes=[node, probs],
                expected=probs.shape,
                found=tuple(total.shape),
            )
        parts = [
            Einsum(
                (probs, axes),
                (Array(_as_mask(mask).to(device=probs.device), f"mask.{label}"), axes),
                *others,
                out_axes=comb_v.out_axes,
                name=f"{comb_v.name}.{label}",
            )
            for label, mask in masks.items()
        ]
        return Add(*parts, name=comb_v.name)

    return transform


def head_input(head: str, part: Literal["q", "k", "v"]) -> IterativeMatcher:
    """The query, key or value input of a head or group of heads, and not those of heads further below.

    Use with `see_through=True`: the input is a parameter of the head's module.

    >>> value_tokens = head_input("a1.ind", "v").chain("tokens")
    """
    every = {f"a.{p}.input" for p in "qkv"}
    return IterativeMatcher(head).chain(restrict(f"a.{part}.input", term_early_at=every))


def _as_mask(mask: torch.Tensor) -> torch.Tensor:
    """Booleans where the mask says only yes or no: these go with a model of any floating dtype."""
    is_yes = mask == 1
    return is_yes if bool((is_yes | (mask == 0)).all()) else mask


def _group(heads: Module, group: Group, name: str) -> Expr:
    """The heads of a group: one without head axis, or several along one axis, summed.

    Where heads share keys and values, head `g * n + i` is entry [i, g] of the query's axes and entry [g] of the key's.
    """
    batch = tuple(int(size) for size in heads.shape[: heads.ndim - heads.body.ndim])
    head = group.positions[0]
    if len(batch) == 1:
        at: dict[int, tuple[IndexEntry, ...]] = {0: (), 1: (group.entry,)}
    elif group.is_single:
        at = {0: (), 1: (head // batch[0],), 2: (head % batch[0], head // batch[0])}
    else:
        return _grouped(heads, group.positions, batch[0], name)
    args = [arg.index(at[arg.ndim - symbol.ndim]) if arg.ndim > symbol.ndim else arg for symbol, arg in _bound(heads)]
    call = heads.with_children((heads.body, *args))
    if group.is_single:
        return call.rename(name)
    return _summed(call, name)


def _grouped(heads: Module, chosen: Sequence[int], per_group: int, name: str) -> Expr:
    """Several heads that share keys and values with others, along one axis."""
    args: list[Expr] = []
    for symbol, arg in _bound(heads):
        n_batch = arg.ndim - symbol.ndim
        if n_batch == 2:
            axes = " ".join(f"x{i}" for i in range(symbol.ndim))
            args.append(Rearrange(arg, f"i g {axes} -> (g i) {axes}").index(I[list(chosen)]))
        else:
            args.append(arg.index(I[[head // per_group for head in chosen]]) if n_batch else arg)
    return _summed(heads.with_children((heads.body, *args)), name)


def _summed(heads: Expr, name: str) -> Einsum:
    """The sum over the first axis, that of heads."""
    axes = tuple(range(heads.ndim))
    return Einsum((heads, axes), out_axes=axes[1:], name=name)


def _bound(heads: Module) -> list[tuple[Symbol, Expr]]:
    return list(heads.bindings.items())
