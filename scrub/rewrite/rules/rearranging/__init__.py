"""Rules of rearranging: fusing, dropping, and moving past sums and functions.

None moves past a `Tag`. That would keep the value, but a tag stands for the identity of what is below it, and where
that is the group of random variables another expression there is another group.
"""

from scrub.rewrite.rules.rearranging.fuse import fuse_rearrange
from scrub.rewrite.rules.rearranging.identity import drop_identity_rearrange
from scrub.rewrite.rules.rearranging.through_add import pull_rearrange_through_add, push_rearrange_through_add
from scrub.rewrite.rules.rearranging.through_function import (
    pull_rearrange_through_function,
    push_rearrange_through_function,
)

__all__ = [
    "drop_identity_rearrange",
    "fuse_rearrange",
    "pull_rearrange_through_add",
    "pull_rearrange_through_function",
    "push_rearrange_through_add",
    "push_rearrange_through_function",
]
