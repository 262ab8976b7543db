"""A concat as a sum of scatters."""

from __future__ import annotations

from scrub.graph import Add, Concat, Expr, Scatter
from scrub.rewrite.rule import NoMatch, rewrite


@rewrite(keeps="value", pattern=(Concat,))
def concat_to_scatters(concat: Concat) -> Expr | NoMatch:
    """Each part among zeros, and all of them added.

        [a, b]  ->  [a, 0] + [0, b]

    >>> from scrub.graph import Scalar
    >>> a, b = Scalar(1.0, (2,), name="a"), Scalar(2.0, (3,), name="b")
    >>> concat_to_scatters(Concat(a, b, axis=0, name="c")).print()
    'c' [5] Add
      scatter(a at [0:2]) [5] Scatter [0:2]
        'a' [2] Scalar 1.0
      scatter(b at [2:5]) [5] Scatter [2:5]
        'b' [3] Scalar 2.0
    """
    whole = [slice(None)] * concat.axis
    terms: list[Expr] = []
    start = 0
    for part in concat.children:
        stop = start + part.shape[concat.axis]
        terms.append(Scatter(part, [*whole, slice(start, stop)], concat.shape))
        start = stop
    return Add(*terms)
