"""How families see stored weights, without copying them: axes split into heads, transposed, cut out of a fused one.

A linear layer of torch stores [out, in]; GPT-2's `Conv1D` stores [in, out], see `conv1d`. In fused and grouped weights,
query head `g * n + i` belongs to group g, so its axis splits into (groups, heads of a group).
"""

from __future__ import annotations

import torch

from scrub.models.architecture import Attention, Layer
from scrub.models.families.family import View


def linear(w: torch.Tensor, layer: Layer) -> torch.Tensor:
    """[out, in] as [in, out]."""
    return w.transpose(-1, -2)


def queries(w: torch.Tensor, layer: Layer) -> torch.Tensor:
    """[(heads d_head), d_model] as [*heads, d_model, d_head]; a bias [(heads d_head)] as [*heads, d_head]."""
    split = _split_queries(w, layer.attention)
    return split.transpose(-1, -2) if w.ndim == 2 else split


def keys(w: torch.Tensor, layer: Layer) -> torch.Tensor:
    """[(groups d_head), d_model] as [groups, d_model, d_head]; a bias too. Keys and values are stored alike."""
    split = _first_axis_as(w, layer.attention.n_key_value_heads, layer.attention.d_head)
    return split.transpose(-1, -2) if w.ndim == 2 else split


def outputs(w: torch.Tensor, layer: Layer) -> torch.Tensor:
    """[d_model, (heads d_head)] as [*heads, d_head, d_model]."""
    return _split_queries(w.transpose(0, 1), layer.attention)


def conv1d(view: View | None = None) -> View:
    """The view of a weight stored [in, out]."""
    return lambda w, layer: w if view is None else view(w.transpose(0, 1) if w.ndim == 2 else w, layer)


def third(part: int, view: View) -> View:
    """The view of one of queries, keys and values stored one after the other, [(3 heads d_head), ...]."""
    return lambda w, layer: view(_first_axis_as(w, 3, w.shape[0] // 3)[part], layer)


def third_of_each_head(part: int) -> View:
    """The view of one of queries, keys and values stored head by head, [(heads 3 d_head), ...]."""

    def see(w: torch.Tensor, layer: Layer) -> torch.Tensor:
        heads = layer.attention.n_heads
        split = _first_axis_as(w, heads, 3, w.shape[0] // (3 * heads))[:, part]
        return _per_head(split) if w.ndim == 2 else split

    return see


def grouped_slice(part: str, view: View) -> View:
    """The view of queries, keys or values stored one after the other with fewer key-value heads (Phi-3)."""

    def see(w: torch.Tensor, layer: Layer) -> torch.Tensor:
        a = layer.attention
        n_queries, n_keys = a.n_heads * a.d_head, a.n_key_value_heads * a.d_head
        if w.shape[0] != n_queries + 2 * n_keys:
            return w
        return view(w.split_with_sizes((n_queries, n_keys, n_keys))["qkv".index(part)], layer)

    return see


def half(part: int, view: View) -> View:
    """The view of one of two weights stored one after the other along the first axis: gate and up."""
    return lambda w, layer: view(_first_axis_as(w, 2, w.shape[0] // 2)[part], layer)


def _per_head(split: torch.Tensor) -> torch.Tensor:
    """[heads, d_head, d_model] as [heads, d_model, d_head]."""
    return split.transpose(-1, -2)


def _split_queries(w: torch.Tensor, attention: Attention) -> torch.Tensor:
    groups, heads = attention.n_key_value_heads, attention.n_heads
    if groups == heads:
        return _first_axis_as(w, heads, attention.d_head)
    return _first_axis_as(w, groups, heads // groups, attention.d_head).transpose(0, 1)


def _first_axis_as(w: torch.Tensor, *sizes: int) -> torch.Tensor:
    """[(sizes), ...] as [*sizes, ...]: splitting an axis is a view whatever the strides are."""
    return w.view(*sizes, *w.shape[1:])
