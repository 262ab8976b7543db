"""Functions that `GeneralFunction` applies, one family a file. Importing this package registers them."""

from scrub.graph.functions import (
    accumulate,
    binary,
    cast,
    elementwise,
    gen_index,
    last_dim_size,
    power,
    reduce,
    softmax,
    sorting,
    top_k,
    where,
)
from scrub.graph.functions.base import ELEMENTWISE, FUNCTIONS, Function, FunctionShape, function

__all__ = [
    "ELEMENTWISE",
    "FUNCTIONS",
    "Function",
    "FunctionShape",
    "accumulate",
    "binary",
    "cast",
    "elementwise",
    "function",
    "gen_index",
    "last_dim_size",
    "power",
    "reduce",
    "softmax",
    "sorting",
    "top_k",
    "where",
]
