"""Two functions, one after the other, as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Expr, Function, GeneralFunction, elementwise
from scrub.graph.functions.elementwise import Elementwise
from scrub.graph.functions.softmax import LogSoftmax, Softmax
from scrub.rewrite.matcher import Matcher, MatcherIn
from scrub.rewrite.rule import NoMatch, rewrite

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

FUSIONS: dict[tuple[Function, Function], Function] = {
    (Elementwise("reciprocal"), Elementwise("sqrt")): Elementwise("rsqrt"),
    (Elementwise("reciprocal"), Elementwise("rsqrt")): Elementwise("sqrt"),
    (Elementwise("exp"), LogSoftmax()): Softmax(),
    (Elementwise("log"), Softmax()): LogSoftmax(),
    (Elementwise("cos"), Elementwise("abs")): Elementwise("cos"),
    (Elementwise("gaussian_pdf"), Elementwise("abs")): Elementwise("gaussian_pdf"),
}
"""(outer, inner) -> the function that is both."""


def _case(maker: Maker) -> Expr:
    outer, inner = maker.random.choice(list(FUSIONS))
    shape = maker.shape()
    if inner.label.endswith("softmax"):
        shape = (*shape[:2], maker.random.choice([1, 2, 3]))
    x = maker.random_expr(shape, 1) if maker.random.random() < 0.2 else maker.expr(shape, 1)
    if inner.label in ("sqrt", "rsqrt"):
        x = elementwise("sigmoid", x)
    names = [maker.name("n") if maker.random.random() < 0.4 else None for _ in range(2)]
    return GeneralFunction(GeneralFunction(x, spec=inner, name=names[0]), spec=outer, name=names[1])


@rewrite(keeps="value", cases=_case, simplifies=True)
def fuse_functions(function: GeneralFunction, *, dissolve: MatcherIn = True) -> Expr | NoMatch:
    """A function of a function, as the one function that is both (`FUSIONS`).

        log(softmax(x))  ->  log_softmax(x)        reciprocal(sqrt(x))  ->  rsqrt(x)

    Where the inner one under- or overflows (a softmax of far apart values), the result does not.

    Args:
        function: the outer function.
        dissolve: which inner functions may go.

    >>> from scrub.graph import Scalar, softmax
    >>> fuse_functions(elementwise("log", softmax(Scalar(2.0, (3,), name="x"))))
    log_softmax(x) [3] GeneralFunction log_softmax
    """
    inner = function.children[0] if function.children else None
    if not isinstance(inner, GeneralFunction):
        return NoMatch("it is not applied to a function")
    both = FUSIONS.get((function.spec, inner.spec))
    if both is None:
        return NoMatch(f"{function.spec.label} of {inner.spec.label} is no function of its own")
    if not Matcher(dissolve)(inner):
        return NoMatch(f"{inner!r} may not be taken apart")
    return GeneralFunction(*inner.children, spec=both)
