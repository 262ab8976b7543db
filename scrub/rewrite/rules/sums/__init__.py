"""Rules of sums."""

from scrub.rewrite.rules.sums.flatten import flatten_sum

__all__ = ["flatten_sum"]
