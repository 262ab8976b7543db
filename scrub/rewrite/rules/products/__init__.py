"""Rules of products: of einsums."""

from scrub.rewrite.rules.products.absorb_outer_permutation import absorb_outer_permutation
from scrub.rewrite.rules.products.absorb_permutations import absorb_permutations
from scrub.rewrite.rules.products.contract_over_concat import contract_over_concat
from scrub.rewrite.rules.products.distribute import distribute
from scrub.rewrite.rules.products.distribute_through import distribute_through
from scrub.rewrite.rules.products.drop_identity import drop_identity_einsum
from scrub.rewrite.rules.products.drop_ones import drop_one_operands
from scrub.rewrite.rules.products.drop_zeros import drop_zero_product
from scrub.rewrite.rules.products.flatten import flatten_einsum
from scrub.rewrite.rules.products.merge_scalars import merge_scalar_operands
from scrub.rewrite.rules.products.push_down_traces import push_down_traces

__all__ = [
    "absorb_outer_permutation",
    "absorb_permutations",
    "contract_over_concat",
    "distribute",
    "distribute_through",
    "drop_identity_einsum",
    "drop_one_operands",
    "drop_zero_product",
    "flatten_einsum",
    "merge_scalar_operands",
    "push_down_traces",
]
