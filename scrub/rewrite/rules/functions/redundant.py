"""Functions that change nothing, because of what they are applied to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrub.graph import Expr, GeneralFunction, elementwise, softmax
from scrub.graph.functions.elementwise import Elementwise
from scrub.graph.functions.softmax import Softmax
from scrub.rewrite.rule import NoMatch, rewrite

if TYPE_CHECKING:
    from scrub.rewrite.testing.maker import Maker

NON_NEGATIVE = (
    "relu",
    "abs",
    "exp",
    "sigmoid",
    "sqrt",
    "rsqrt",
    "step",
    "gaussian_pdf",
    "gaussian_cdf",
    "log_exp_p_1",
)
"""Functions whose values are never negative."""


def _case(maker: Maker) -> Expr:
    shape = maker.shape()
    x = maker.random_expr(shape, 1) if maker.random.random() < 0.2 else maker.expr(shape, 1)
    name = maker.name("n") if maker.random.random() < 0.4 else None
    if shape and maker.random.random() < 0.2:
        inner = softmax(x, name)
    else:
        inner = elementwise(maker.random.choice([*NON_NEGATIVE, "step", "step", "tanh"]), x, name)
    outer_name = maker.name("n") if maker.random.random() < 0.4 else None
    return elementwise(maker.random.choice(["relu", "abs", "step"]), inner, outer_name)


@rewrite(keeps="value", cases=_case, simplifies=True)
def drop_redundant_function(function: GeneralFunction) -> Expr | NoMatch:
    """`relu` or `abs` of what is never negative is that, and so is a step of a step.

        relu(abs(x))  ->  abs(x)        step(step(x))  ->  step(x)

    >>> from scrub.graph import Scalar
    >>> drop_redundant_function(elementwise("abs", elementwise("relu", Scalar(2.0, name="x"))))
    relu(x) [] GeneralFunction relu
    """
    if not isinstance(function.spec, Elementwise) or function.spec.function not in ("relu", "abs", "step"):
        return NoMatch(f"{function.spec.label} is none of relu, abs and step")
    inner = function.children[0]
    if not isinstance(inner, GeneralFunction):
        return NoMatch(f"{inner!r} is not a function")
    if function.spec.function == "step":
        return inner if inner.spec == Elementwise("step") else NoMatch(f"{inner!r} is not a step")
    is_positive = isinstance(inner.spec, Elementwise) and inner.spec.function in NON_NEGATIVE
    if not is_positive and not isinstance(inner.spec, Softmax):
        return NoMatch(f"{inner!r} may be negative")
    return inner
