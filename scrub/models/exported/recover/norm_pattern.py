"""Norms found in the arithmetic they are made of.

    RMSNorm:    x / sqrt(mean(x^2) + eps) * w
    LayerNorm:  c / sqrt(mean(c^2) + eps) * w + b,   c = x - mean(x)

Found are sums and products that agree with these formulas axis by axis, whatever the order of terms and factors, and
wherever axes of size 1 come and go between them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from scrub.graph import Add, Einsum, Expr, GeneralFunction, Rearrange, Scalar
from scrub.graph.functions.cast import Cast
from scrub.graph.functions.elementwise import Elementwise
from scrub.graph.functions.power import Pow
from scrub.models.exported.recover.views import factors, is_view
from scrub.rewrite import NoMatch

Term = tuple[Expr, tuple[int | None, ...]]
"""A factor, and for each of its axes which axis of the product it is; None for one of size 1 that goes."""

_TOLERANCE = 1e-9  # of 1 / d_model against the number in the expression


@dataclass(frozen=True)
class Norm:
    """A norm over the last axis.

    Attributes:
        x: what is normed, [..., d_model].
        is_centred: whether the mean is taken away: LayerNorm.
        eps: added to the mean square.
        weight, bias: [d_model] or None.
        computes_in, gives: casts of x, and of the result before it is scaled by the weight.
    """

    x: Expr
    is_centred: bool
    eps: float
    weight: Expr | None = None
    bias: Expr | None = None
    computes_in: Cast | None = None
    gives: Cast | None = None


def find_norm(node: Add | Einsum) -> Norm | NoMatch:
    """The norm that a node computes; or why it computes none."""
    if isinstance(node, Einsum):
        found = _find_scaled(node)
        return found if isinstance(found, Norm) else _find_cast(node) or found
    reason = NoMatch("it is no sum of a product and a bias for each feature")
    if len(node.children) != 2:
        return reason
    for product, bias in (node.children, node.children[::-1]):
        if isinstance(product, Einsum) and product.shape == node.shape and _is_feature(bias, node):
            scaled = _find_scaled(product)
            if isinstance(scaled, Norm):
                return replace(scaled, bias=_as_vector(bias))
            reason = scaled
    return reason


def _find_scaled(node: Einsum) -> Norm | NoMatch:
    """x, or x less its mean, times the reciprocal of its root mean square, times a weight perhaps."""
    last = node.ndim - 1
    x_squared = next((_squared(inside) for expr, _ in _factors(node)[1] if (inside := _inside_root(expr))), None)
    if x_squared is None:
        return NoMatch("it has no factor that is one over a root of a square")
    number, terms = _factors(node, whole=x_squared)
    roots = [term for term in terms if (inside := _inside_root(term[0])) is not None and last not in term[1]]
    if last < 0 or len(roots) != 1 or number != 1.0:
        return NoMatch("it has no factor that is one over a root")
    (root,) = roots
    rest = [term for term in terms if term is not root]
    whole = [term for term in rest if term == (x_squared, tuple(range(node.ndim)))]
    if len(whole) != 1 or any(term not in whole and set(term[1]) - {None} != {last} for term in rest):
        return NoMatch("its other factors are no activation and a weight for each feature")
    inside = _inside_root(root[0])
    assert inside is not None
    mean_square = _less_scalar(inside)
    if mean_square is None:
        return NoMatch("what the root is of is no mean square and a small number")
    (square, eps), (x, axes) = mean_square, whole[0]
    if not _is_mean((square, root[1]), [(x, axes), (x, axes)], last, 1.0):
        return NoMatch("what the root is of is not the mean square of what is scaled")
    weights = [_as_vector(term[0]) for term in rest if term not in whole]
    if len(weights) > 1 or None in weights:
        return NoMatch("it has several weights")
    uncentred = _less_mean(x)
    weight = weights[0] if weights else None
    return Norm(x if uncentred is None else uncentred, uncentred is not None, eps, weight)


def _find_cast(node: Einsum) -> Norm | None:
    """A weight times the cast of a norm that is computed in another dtype."""
    operands = factors(node)
    casts = [i for i in operands if node.in_axes[i] == node.out_axes and _cast_of(node.children[i]) is not None]
    if len(operands) != 2 or len(casts) != 1 or len(node.children) > 2:
        return None
    (normed,), (weight,) = casts, set(operands) - set(casts)
    inside = node.children[normed].children[0]
    found = _find_scaled(inside) if isinstance(inside, Einsum) else None
    if not isinstance(found, Norm) or found.weight is not None or node.in_axes[weight] != node.out_axes[-1:]:
        return None
    own = _cast_of(found.x)
    x = found.x if own is None else found.x.children[0]
    return replace(found, x=x, weight=node.children[weight], computes_in=own, gives=_cast_of(node.children[normed]))


def _cast_of(expr: Expr) -> Cast | None:
    return expr.spec if isinstance(expr, GeneralFunction) and isinstance(expr.spec, Cast) else None


def _inside_root(expr: Expr) -> Expr | None:
    """a, where the expression is 1 / sqrt(a)."""
    if not isinstance(expr, GeneralFunction):
        return None
    if isinstance(expr.spec, Elementwise) and expr.spec.function == "rsqrt":
        return expr.children[0]
    if isinstance(expr.spec, Elementwise) and expr.spec.function == "reciprocal":
        (root,) = expr.children
        is_root = isinstance(root, GeneralFunction) and root.spec == Elementwise("sqrt")
        return root.children[0] if is_root else None
    if isinstance(expr.spec, Pow) and isinstance(expr.children[1], Scalar) and expr.children[1].value == -0.5:
        return expr.children[0]
    return None


def _less_scalar(expr: Expr) -> tuple[Expr, float] | None:
    """(a, c), where the expression is a + c for a number c."""
    if not isinstance(expr, Add) or len(expr.children) != 2:
        return None
    numbers = [child for child in expr.children if isinstance(child, Scalar)]
    others = [child for child in expr.children if not isinstance(child, Scalar)]
    return (others[0], numbers[0].value) if len(others) == 1 and others[0].shape == expr.shape else None


def _less_mean(expr: Expr) -> Expr | None:
    """x, where the expression is x less its mean over the last axis."""
    if not isinstance(expr, Add) or len(expr.children) != 2:
        return None
    for x, mean in (expr.children, expr.children[::-1]):
        if x.shape == expr.shape:
            axes = tuple(axis if size != 1 else None for axis, size in enumerate(mean.shape, expr.ndim - mean.ndim))
            own = tuple(range(expr.ndim))
            if _is_mean((mean, axes), [(x, own)], expr.ndim - 1, -1.0):
                return x
    return None


def _is_mean(mean: Term, of: list[Term], last: int, sign: float) -> bool:
    """Whether an expression is `sign` times the mean of a product over axis `last`, entry by entry of the others."""
    number, terms = _factors_of(*mean, summed=last, whole=of[0][0])
    size = of[0][0].shape[-1]
    if not isinstance(size, int) or abs(number * size - sign) > _TOLERANCE:  # pyright: ignore[reportUnnecessaryIsInstance]
        return False

    def key(term: Term) -> tuple[Expr, tuple[int | None, ...]]:
        expr, axes = term
        return expr, tuple(axis if size != 1 else None for axis, size in zip(axes, expr.shape, strict=True))

    return Counter(map(key, of)) == Counter(map(key, terms))


def _squared(expr: Expr) -> Expr | None:
    """The first expression that is multiplied by itself, going down where there is one way only."""
    while True:
        if isinstance(expr, Einsum):
            pairs = expr.operands
            twice = [pair[0] for i, pair in enumerate(pairs) if pair in pairs[:i] and not isinstance(pair[0], Scalar)]
            if twice:
                return twice[0]
        elif isinstance(expr, GeneralFunction) and _is_square(expr):
            return expr.children[0]
        below = [child for child in expr.children if not isinstance(child, Scalar)]
        if len(below) != 1:
            return None
        (expr,) = below


def _factors(node: Einsum, *, whole: Expr | None = None) -> tuple[float, list[Term]]:
    """The number and the factors of an elementwise product, however nested; `whole` is not taken apart."""
    return _factors_of(node, tuple(range(node.ndim)), summed=None, whole=whole)


def _factors_of(
    expr: Expr, axes: tuple[int | None, ...], *, summed: int | None, whole: Expr | None
) -> tuple[float, list[Term]]:
    """The number and the factors that an expression is the product of; `summed` is the axis of sums on the way.

    Args:
        expr: what to take apart.
        axes: which axis of the whole each of its axes is.
        summed: the axis that the sum in it is over, which is to be one of the factors' last axis; None if no sum is to
            be taken apart.
        whole: what is not taken apart.
    """
    number, terms = 1.0, list[Term]()
    may_sum = summed is not None
    stack: list[Term] = [(expr, axes)]
    while stack:
        node, own = stack.pop()
        if node is whole:
            terms.append((node, own))
        elif isinstance(node, Scalar):
            number *= node.value
        elif isinstance(node, Rearrange) and all(len(group) <= 1 for group in (*node.left, *node.right)):
            at = {group[0]: axis for group, axis in zip(node.right, own, strict=True) if group}
            if len(at) != sum(map(len, node.left)):
                terms.append((node, own))
                continue
            stack.append((node.children[0], tuple(at[group[0]] if group else None for group in node.left)))
        elif isinstance(node, GeneralFunction) and _is_square(node):
            stack += [(node.children[0], own)] * 2
        elif isinstance(node, Einsum) and len(set(node.out_axes)) == len(node.out_axes):
            at = dict(zip(node.out_axes, own, strict=True))
            sizes = {a: s for child, labels in node.operands for a, s in zip(labels, child.shape, strict=True)}
            gone = [label for label, size in sizes.items() if label not in at and size != 1]
            if len(gone) > (1 if may_sum else 0) or any(len(set(labels)) < len(labels) for labels in node.in_axes):
                terms.append((node, own))
                continue
            if gone:
                at[gone[0]] = summed
                may_sum = False
            stack += [(child, tuple(at.get(label) for label in labels)) for child, labels in node.operands]
        else:
            terms.append((node, own))
    return number, terms[::-1]


def _is_square(node: GeneralFunction) -> bool:
    return isinstance(node.spec, Pow) and isinstance(node.children[1], Scalar) and node.children[1].value == 2.0


def _is_feature(child: Expr, whole: Expr) -> bool:
    """Whether a term is a view that has only the last axis, and others of size 1."""
    return (
        child.ndim > 0
        and child.shape[-1] == whole.shape[-1]
        and all(size == 1 for size in child.shape[:-1])
        and (whole.ndim > 1 or is_view(child))
    )


def _as_vector(expr: Expr) -> Expr | None:
    """The expression [..., d_model] with ones as [d_model]."""
    if expr.ndim == 1:
        return expr
    if any(size != 1 for size in expr.shape[:-1]):
        return None
    last = expr.ndim - 1
    return Rearrange.from_groups(expr, (*(((),) * last), (0,)), ((0,),), {})
