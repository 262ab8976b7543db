"""Equality rewrites, one rule a file; importing this package registers them."""

from scrub.rewrite.rules.concatenation import (
    AxisPart,
    concat_to_scatters,
    drop_empty_parts,
    drop_empty_scatter,
    drop_identity_scatter,
    explicit_reduce,
    fuse_concat,
    fuse_scatter,
    pull_up_concat,
    pull_up_scatter,
    residual_rewrite,
    scatter_to_concat,
    scatter_to_index,
    split_to_concat,
)
from scrub.rewrite.rules.sums import flatten_sum
from scrub.rewrite.rules.weight import weight

__all__ = [
    "AxisPart",
    "concat_to_scatters",
    "drop_empty_parts",
    "drop_empty_scatter",
    "drop_identity_scatter",
    "explicit_reduce",
    "flatten_sum",
    "fuse_concat",
    "fuse_scatter",
    "pull_up_concat",
    "pull_up_scatter",
    "residual_rewrite",
    "scatter_to_concat",
    "scatter_to_index",
    "split_to_concat",
    "weight",
]
