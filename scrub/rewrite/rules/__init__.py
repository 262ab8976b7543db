"""Equality rewrites, one rule a file; importing this package registers them."""

from scrub.rewrite.rules.sums import flatten_sum
from scrub.rewrite.rules.weight import weight

__all__ = ["flatten_sum", "weight"]
