"""Functions of one number."""

from __future__ import annotations

from scrub.graph import Add, Expr, GeneralFunction, Scalar, elementwise
from scrub.graph.functions.binary import Binary
from scrub.graph.functions.where import Where
from scrub.models.exported.axes import expand, multiply
from scrub.models.exported.call import Call, Number, Operand
from scrub.models.exported.registry import aten

_SAME_NAME = (
    "sin cos tan asin acos atan sinh cosh asinh atanh tanh sigmoid relu exp expm1 log log1p log2 log10 sqrt rsqrt "
    "erf erfc floor ceil trunc"
)
_UNARY = {f"aten.{name}.default": name for name in _SAME_NAME.split()}


@aten(*_UNARY)
def unary(call: Call, x: Operand) -> Expr:
    """Functions that torch and `Elementwise` call by the same name; of integers in the default floating dtype."""
    name = _UNARY[call.operator]
    if not call.dtype.is_floating_point:
        return GeneralFunction(x.expr, call.whole(0), spec=Binary("maximum")) if name == "relu" else x.expr
    return elementwise(name, call.operand(x))


@aten("aten.abs.default", "aten.sign.default")
def sized(call: Call, x: Operand) -> Expr:
    """The size of a number, or its sign; of integers by comparison."""
    is_abs = call.operator == "aten.abs.default"
    if call.dtype.is_floating_point:
        return elementwise("abs" if is_abs else "sign", x.expr)
    if is_abs:
        return GeneralFunction(x.expr, multiply(x.expr, Scalar(-1)), spec=Binary("maximum"))
    above = GeneralFunction(x.expr, call.whole(-1), spec=Binary("maximum"))
    return GeneralFunction(above, call.whole(1), spec=Binary("minimum"))


@aten("aten.round.default", "aten.round.decimals")
def round_(call: Call, x: Operand, decimals: int = 0) -> Expr:
    """Rounded to so many decimals, halves to even."""
    if not call.dtype.is_floating_point:
        return x.expr
    if not decimals:
        return elementwise("round", x.expr)
    scale = 10.0**decimals
    return multiply(elementwise("round", multiply(x.expr, Scalar(scale))), Scalar(1 / scale))


@aten("aten.gelu.default")
def gelu(call: Call, x: Operand, approximate: str = "none") -> Expr:
    """x Φ(x), or its approximation by tanh."""
    return elementwise("gelu_new" if approximate == "tanh" else "gelu", x.expr)


@aten("aten.silu.default", keep=True)
def silu(call: Call, x: Operand) -> Expr:
    """x sigmoid(x)."""
    return elementwise("silu", x.expr)


@aten("aten.softplus.default", keep=True)
def softplus(call: Call, x: Operand, beta: Number = 1, threshold: Number = 20) -> Expr:
    """log(1 + exp(beta x)) / beta. Above the threshold torch gives x, which is the same up to rounding from 20 on."""
    if beta == 1 and threshold == 20:
        return elementwise("log_exp_p_1", x.expr)
    scaled = multiply(x.expr, Scalar(float(beta)))
    smooth = multiply(elementwise("log_exp_p_1", scaled), Scalar(1.0 / beta))
    is_above = GeneralFunction(scaled, Scalar(float(threshold), scaled.shape), spec=Binary("gt"))
    return GeneralFunction(is_above, x.expr, smooth, spec=Where())


@aten("aten.log_sigmoid.default", keep=True)
def log_sigmoid(call: Call, x: Operand) -> Expr:
    """-log(1 + exp(-x))."""
    return multiply(elementwise("log_exp_p_1", multiply(x.expr, Scalar(-1.0))), Scalar(-1.0))


@aten("aten.mish.default", keep=True)
def mish(call: Call, x: Operand) -> Expr:
    """x tanh(log(1 + exp(x)))."""
    return multiply(x.expr, elementwise("tanh", elementwise("log_exp_p_1", x.expr)))


@aten("aten.leaky_relu.default")
def leaky_relu(call: Call, x: Operand, negative_slope: Number = 0.01) -> Expr:
    """x where positive, a multiple of it elsewhere."""
    return _by_sign(call, x.expr, multiply(x.expr, Scalar(float(negative_slope))))


@aten("aten.rrelu_with_noise_functional.default")
def rrelu(
    call: Call,
    x: Operand,
    noise: object,
    lower: Number = 0.125,
    upper: Number = 1 / 3,
    training: bool = False,
    *_: object,
) -> tuple[Expr | None, ...]:
    """The same with the mean of the slopes that training draws."""
    return leaky_relu(call, x, (lower + upper) / 2), None


@aten("aten._prelu_kernel.default", keep=True)
def prelu(call: Call, x: Operand, weight: Operand) -> Expr:
    """The same with a learned slope."""
    return _by_sign(call, x.expr, expand(multiply(x.expr, weight.expr), call.shape))


@aten("aten.elu.default")
def elu(call: Call, x: Operand, alpha: Number = 1, scale: Number = 1, input_scale: Number = 1) -> Expr:
    """scale x where positive, scale alpha (exp(input_scale x) - 1) elsewhere."""
    curved = elementwise("expm1", multiply(x.expr, Scalar(float(input_scale))))
    below = multiply(curved, Scalar(float(alpha) * float(scale)))
    return _by_sign(call, multiply(x.expr, Scalar(float(scale))) if scale != 1 else x.expr, below, sign_of=x.expr)


@aten("aten.hardsigmoid.default", "aten.hardswish.default", keep=True)
def hardsigmoid(call: Call, x: Operand) -> Expr:
    """min(max(x + 3, 0), 6) / 6, for hardswish times x."""
    cut = _cut(Add(x.expr, Scalar(3.0)), 0.0, 6.0)
    sixth = Scalar(1 / 6)
    return multiply(cut, sixth) if "sigmoid" in call.operator else multiply(x.expr, cut, sixth)


@aten("aten.hardtanh.default")
def hardtanh(call: Call, x: Operand, low: Number = -1, high: Number = 1) -> Expr:
    """x, but at least -1 and at most 1, or other bounds."""
    return _cut(x.expr, float(low), float(high))


def _cut(x: Expr, low: float, high: float) -> Expr:
    above = GeneralFunction(x, Scalar(low, x.shape), spec=Binary("maximum"))
    return GeneralFunction(above, Scalar(high, x.shape), spec=Binary("minimum"))


def _by_sign(call: Call, above: Expr, below: Expr, *, sign_of: Expr | None = None) -> Expr:
    x = above if sign_of is None else sign_of
    is_positive = GeneralFunction(x, Scalar(0.0, x.shape), spec=Binary("gt"))
    return GeneralFunction(is_positive, above, below, spec=Where())
