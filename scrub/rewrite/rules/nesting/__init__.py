"""Rules that regroup sums and products."""

from scrub.rewrite.rules.nesting.nest_product import nest_product
from scrub.rewrite.rules.nesting.nest_sum import nest_sum
from scrub.rewrite.rules.nesting.spec import REST, Group

__all__ = ["REST", "Group", "nest_product", "nest_sum"]
