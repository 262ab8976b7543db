"""Rules of cumulants."""

from scrub.rewrite.rules.cumulants.constants import cumulant_of_constants
from scrub.rewrite.rules.cumulants.factors import pull_factors_out_of_cumulant
from scrub.rewrite.rules.cumulants.independent import drop_independent_cumulant
from scrub.rewrite.rules.cumulants.moments import cumulant_to_expectations
from scrub.rewrite.rules.cumulants.products import split_cumulant_of_products
from scrub.rewrite.rules.cumulants.stored import use_stored_cumulant
from scrub.rewrite.rules.cumulants.sums import split_cumulant_of_sum

__all__ = [
    "cumulant_of_constants",
    "cumulant_to_expectations",
    "drop_independent_cumulant",
    "pull_factors_out_of_cumulant",
    "split_cumulant_of_products",
    "split_cumulant_of_sum",
    "use_stored_cumulant",
]
