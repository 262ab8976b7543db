"""What passes look for, and what only looks like it: random expressions of the shapes that models are made of.

Each is built from a maker's random parts with something turned at random: a scale, an axis, an operand order, a mask, a
part left out. A pass that recognises too much computes the wrong thing on some of them.
"""

from tests.compiler.patterns import heads, places, products  # noqa: F401 - registers them
from tests.compiler.patterns.layers import variants
from tests.compiler.patterns.registry import PATTERNS

__all__ = ["PATTERNS", "variants"]
