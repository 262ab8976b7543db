"""Rules of indexing: fusing, splitting, and pushing below each node type that allows it."""

from scrub.rewrite.rules.indexing.fuse import fuse_index
from scrub.rewrite.rules.indexing.identity import drop_identity_index
from scrub.rewrite.rules.indexing.push import push_index
from scrub.rewrite.rules.indexing.push_down import push_index_down
from scrub.rewrite.rules.indexing.split import split_index
from scrub.rewrite.rules.indexing.through_add import push_index_through_add
from scrub.rewrite.rules.indexing.through_array import push_index_through_array
from scrub.rewrite.rules.indexing.through_concat import push_index_through_concat
from scrub.rewrite.rules.indexing.through_conv import push_index_through_conv
from scrub.rewrite.rules.indexing.through_cumulant import push_index_through_cumulant
from scrub.rewrite.rules.indexing.through_discrete_var import push_index_through_discrete_var
from scrub.rewrite.rules.indexing.through_einsum import push_index_through_einsum
from scrub.rewrite.rules.indexing.through_function import push_index_through_function
from scrub.rewrite.rules.indexing.through_module import push_index_through_module
from scrub.rewrite.rules.indexing.through_rearrange import push_index_through_rearrange
from scrub.rewrite.rules.indexing.through_scalar import push_index_through_scalar
from scrub.rewrite.rules.indexing.through_scatter import push_index_through_scatter
from scrub.rewrite.rules.indexing.through_set_symbolic_shape import push_index_through_set_symbolic_shape
from scrub.rewrite.rules.indexing.through_tag import push_index_through_tag

__all__ = [
    "drop_identity_index",
    "fuse_index",
    "push_index",
    "push_index_down",
    "push_index_through_add",
    "push_index_through_array",
    "push_index_through_concat",
    "push_index_through_conv",
    "push_index_through_cumulant",
    "push_index_through_discrete_var",
    "push_index_through_einsum",
    "push_index_through_function",
    "push_index_through_module",
    "push_index_through_rearrange",
    "push_index_through_scalar",
    "push_index_through_scatter",
    "push_index_through_set_symbolic_shape",
    "push_index_through_tag",
    "split_index",
]
