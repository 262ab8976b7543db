"""Rules of functions."""

from scrub.rewrite.rules.functions.casts import drop_cast
from scrub.rewrite.rules.functions.fold import fold_constants
from scrub.rewrite.rules.functions.fuse import fuse_functions
from scrub.rewrite.rules.functions.gather import gather_to_index
from scrub.rewrite.rules.functions.inverses import cancel_inverses
from scrub.rewrite.rules.functions.power import power_to_function
from scrub.rewrite.rules.functions.redundant import drop_redundant_function
from scrub.rewrite.rules.functions.scalar_function import function_of_scalar
from scrub.rewrite.rules.functions.softmax_shift import drop_softmax_shift

__all__ = [
    "cancel_inverses",
    "drop_cast",
    "drop_redundant_function",
    "drop_softmax_shift",
    "fold_constants",
    "function_of_scalar",
    "fuse_functions",
    "gather_to_index",
    "power_to_function",
]
