"""The normal form in which structure is looked for: linear layers open, axes apart, numbers merged."""

from __future__ import annotations

from scrub.graph import Expr
from scrub.models.exported.recover.axes import (
    lift_merge,
    pair_ones,
    scale_operands,
    scale_product,
    split_into_weights,
    turn_product,
    turn_terms,
    unmerge_operands,
)
from scrub.models.exported.recover.cores import open_attention
from scrub.models.exported.recover.layers import open_linear, separate_fused
from scrub.rewrite import not_through, simplify
from scrub.rewrite.rules import (
    absorb_permutations,
    drop_identity_einsum,
    drop_identity_index,
    drop_identity_rearrange,
    drop_identity_sum,
    drop_one_operands,
    fuse_functions,
    fuse_index,
    fuse_rearrange,
    merge_scalar_operands,
    power_to_function,
)

OUTSIDE_RECOVERED = not_through({"a.head", "ln.out", "ln.scaled"})
"""Everywhere but in the bodies of recovered heads and norms, which are as they should be."""


def normal_form(expr: Expr) -> Expr:
    """The expression with axes apart: splits of axes gone into weights, merges gone up, until nothing changes."""
    rules = [
        open_linear,
        open_attention,
        pair_ones,
        drop_identity_rearrange,
        fuse_rearrange,
        drop_identity_index,
        fuse_index,
        drop_identity_einsum,
        drop_identity_sum,
        absorb_permutations,
        turn_product,
        turn_terms,
        unmerge_operands,
        split_into_weights,
        lift_merge,
        scale_product,
        scale_operands,
        merge_scalar_operands,
        drop_one_operands,
        power_to_function,
        fuse_functions,
    ]
    while True:
        apart = separate_fused(simplify(expr, rules, keep_names=False, traversal=OUTSIDE_RECOVERED))
        if apart is expr:
            return expr
        expr = apart
