"""Rules of sums."""

from scrub.rewrite.rules.sums.broadcasts import make_broadcasts_explicit
from scrub.rewrite.rules.sums.drop_identity import drop_identity_sum
from scrub.rewrite.rules.sums.drop_zeros import drop_zero_terms
from scrub.rewrite.rules.sums.factor_operand import factor_common_operand
from scrub.rewrite.rules.sums.factor_subsum import factor_common_subsum
from scrub.rewrite.rules.sums.flatten import flatten_sum
from scrub.rewrite.rules.sums.merge_duplicates import merge_duplicate_terms
from scrub.rewrite.rules.sums.merge_scalars import merge_scalar_terms

__all__ = [
    "drop_identity_sum",
    "drop_zero_terms",
    "factor_common_operand",
    "factor_common_subsum",
    "flatten_sum",
    "make_broadcasts_explicit",
    "merge_duplicate_terms",
    "merge_scalar_terms",
]
