"""Claims about sizes that have turned out to be true."""

from __future__ import annotations

from scrub.graph import Expr, SetSymbolicShape
from scrub.rewrite.rule import NoMatch, rewrite


@rewrite(keeps="value", pattern=(SetSymbolicShape,), simplifies=True)
def drop_settled_shape(claim: SetSymbolicShape) -> Expr | NoMatch:
    """A claim that says no more than what is known of the expression is the expression.

        set_symbolic_shape(x [3], (3,))  ->  x

    >>> from scrub.graph import Scalar
    >>> drop_settled_shape(SetSymbolicShape(Scalar(1.0, (3,), name="x"), (3,)))
    'x' [3] Scalar 1.0
    """
    child = claim.children[0]
    known_names = child.axis_names or (None,) * child.ndim
    for axis, (said, own) in enumerate(zip(claim.claimed, child.shape, strict=True)):
        if said is not None and said != own:
            return NoMatch(f"axis {axis} is {own}, and {said} by this claim alone")
    for axis, (given, known) in enumerate(zip(claim.given_names, known_names, strict=True)):
        if given is not None and given != known:
            return NoMatch(f"axis {axis} has its name {given!r} from it")
    return child
