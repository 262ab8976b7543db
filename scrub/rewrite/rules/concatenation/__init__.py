"""Rules of concats and scatters, and splitting an axis or a value into named parts."""

from scrub.rewrite.rules.concatenation.concat_to_scatters import concat_to_scatters
from scrub.rewrite.rules.concatenation.drop_empty_parts import drop_empty_parts
from scrub.rewrite.rules.concatenation.drop_empty_scatter import drop_empty_scatter
from scrub.rewrite.rules.concatenation.drop_identity_scatter import drop_identity_scatter
from scrub.rewrite.rules.concatenation.explicit_reduce import explicit_reduce
from scrub.rewrite.rules.concatenation.fuse_concat import fuse_concat
from scrub.rewrite.rules.concatenation.fuse_scatter import fuse_scatter
from scrub.rewrite.rules.concatenation.parts import AxisPart
from scrub.rewrite.rules.concatenation.pull_up_concat import pull_up_concat
from scrub.rewrite.rules.concatenation.pull_up_scatter import pull_up_scatter
from scrub.rewrite.rules.concatenation.residual_rewrite import residual_rewrite
from scrub.rewrite.rules.concatenation.scatter_to_concat import scatter_to_concat
from scrub.rewrite.rules.concatenation.scatter_to_index import scatter_to_index
from scrub.rewrite.rules.concatenation.split_to_concat import split_to_concat

__all__ = [
    "AxisPart",
    "concat_to_scatters",
    "drop_empty_parts",
    "drop_empty_scatter",
    "drop_identity_scatter",
    "explicit_reduce",
    "fuse_concat",
    "fuse_scatter",
    "pull_up_concat",
    "pull_up_scatter",
    "residual_rewrite",
    "scatter_to_concat",
    "scatter_to_index",
    "split_to_concat",
]
