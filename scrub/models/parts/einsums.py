"""Einsums and rearrangements on the last axes of expressions that may have batch axes in front."""

from __future__ import annotations

from scrub.graph import Einsum, Expr, Rearrange


def on_last_axes(pattern: str, *operands: Expr, name: str | None = None) -> Einsum:
    """An einsum where `...` stands for the batch axes of an operand, aligned from the right.

    >>> import torch
    >>> from scrub.graph import Array
    >>> x, w = Array(torch.ones(2, 3, 4)), Array(torch.ones(4, 5))
    >>> on_last_axes("... d, d m -> ... m", x, w).shape
    (2, 3, 5)
    """
    left, right = pattern.split("->")
    parts = left.split(",")
    counts = [x.ndim - len(p.replace("...", "").split()) for p, x in zip(parts, operands, strict=True)]
    written = [p.replace("...", _axes(n)) for p, n in zip(parts, counts, strict=True)]
    most = max(counts)
    return Einsum.from_string(f"{','.join(written)} -> {right.replace('...', _axes(most))}", *operands, name=name)


def rearrange_last_axes(x: Expr, pattern: str, name: str | None = None, **sizes: int) -> Rearrange:
    """A rearrangement where `...` stands for the batch axes.

    >>> import torch
    >>> from scrub.graph import Array
    >>> rearrange_last_axes(Array(torch.ones(2, 3, 4)), "... (h d) -> ... h d", h=2).shape
    (2, 3, 2, 2)
    """
    named = pattern.split("->")[0].replace("...", "")
    depth, n_axes = 0, 0
    for word in named.replace("(", " ( ").replace(")", " ) ").split():
        n_axes += (word == "(") if depth == 0 or word == "(" else 0
        n_axes += word not in "()" and depth == 0
        depth += (word == "(") - (word == ")")
    return Rearrange(x, pattern.replace("...", _axes(x.ndim - n_axes)), name=name, **sizes)


def _axes(n: int) -> str:
    return " ".join(f"batch{i}" for i in reversed(range(n)))
