"""An expression as an estimate of it plus what the estimate leaves."""

from __future__ import annotations

from scrub.graph import Add, Expr
from scrub.rewrite.rule import NoMatch, Options, rewrite
from scrub.rewrite.rules.sums.terms import computes_in
from scrub.rewrite.testing.maker import Maker


def _cases(maker: Maker) -> Expr:
    return maker.expr(maker.shape(), 2)


def _choices(expr: Expr) -> list[Options]:
    estimate = Maker(expr.digest).expr(expr.shape, 2)
    return [{"estimate": estimate}, {"estimate": estimate, "residual_name": "the rest"}, {"estimate": expr}]


@rewrite(keeps="value", cases=_cases, choices=_choices)
def residual_rewrite(expr: Expr, *, estimate: Expr, residual_name: str | None = None) -> Expr | NoMatch:
    """The estimate plus the residual, what is left of the expression when the estimate is taken from it.

        x  ->  estimate + (x - estimate)

    So a hypothesis can leave the estimate alone and resample the residual. Values are taken to be finite.

    Args:
        expr: any expression.
        estimate: of its shape and dtype.
        residual_name: name of the residual; `{name}.residual` if not given and the expression has a name.

    >>> from scrub.graph import Scalar
    >>> x, mean = Scalar(3.0, name="x").scale(1.0, name="act"), Scalar(2.0, name="mean")
    >>> residual_rewrite(x, estimate=mean).print(max_depth=1)
    'act' [] Add
      'mean' [] Scalar 2.0
      'act.residual' [] Add ...
    """
    if estimate.shape != expr.shape:
        return NoMatch(f"the estimate has shape {list(estimate.shape)}, the expression {list(expr.shape)}")
    if residual_name is None and expr.name is not None:
        residual_name = f"{expr.name}.residual"
    result = Add(estimate, expr.sub(estimate, name=residual_name))
    if result.dtype != expr.dtype:
        return NoMatch(f"with an estimate of {estimate.dtype} the dtype {expr.dtype} would become {result.dtype}")
    if estimate.dtype is None and not computes_in(estimate, expr):
        return NoMatch(f"the estimate {estimate!r} may have values that {expr.dtype} does not hold")
    return result
