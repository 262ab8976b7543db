"""Products of matrices, as `Einsum`."""

from __future__ import annotations

from collections.abc import Sequence

from scrub.graph import Add, Einsum, Expr, Scalar
from scrub.models.exported.axes import expand, multiply, product
from scrub.models.exported.call import Call, Number, Operand
from scrub.models.exported.registry import aten


@aten("aten.linear.default", keep=True)
def linear(call: Call, x: Operand, weight: Operand, bias: Operand | None = None) -> Expr:
    """x W^T + b."""
    axes = tuple(range(x.ndim))
    summed, out = x.ndim - 1, x.ndim
    has_rows = weight.ndim == 2
    result = Einsum(
        (x.expr, axes),
        (weight.expr, (out, summed) if has_rows else (summed,)),
        out_axes=(*axes[:-1], out) if has_rows else axes[:-1],
        name=call.name if bias is None else call.named("product"),
    )
    return result if bias is None else Add(result, bias.expr)


@aten("aten.matmul.default", "aten.mm.default", "aten.bmm.default", "aten.mv.default", "aten.dot.default", keep=True)
def matmul(call: Call, x: Operand, y: Operand) -> Expr:
    """The matrix product; leading axes are those of a batch, and broadcast."""
    return _matmul(x.expr, y.expr)


@aten("aten.addmm.default", "aten.baddbmm.default", "aten.addbmm.default", "aten.addmv.default", keep=True)
def addmm(call: Call, bias: Operand, x: Operand, y: Operand, *, beta: Number = 1, alpha: Number = 1) -> Expr:
    """beta bias + alpha x y; `addbmm` sums the products over the batch."""
    result = _matmul(x.expr, y.expr)
    if call.operator == "aten.addbmm.default":
        result = Einsum((result, (0, 1, 2)), out_axes=(1, 2))
    if alpha != 1:
        result = multiply(result, Scalar(alpha))
    if not beta:
        return result
    offset = bias.expr if beta == 1 else multiply(bias.expr, Scalar(beta))
    return Add(result.rename(call.named("product")), offset)


@aten("aten.outer.default", keep=True)
def outer(call: Call, x: Operand, y: Operand) -> Expr:
    """All products of an entry of one with an entry of the other."""
    return Einsum((call.operand(x), (0,)), (call.operand(y), (1,)), out_axes=(0, 1))


@aten("aten.addcmul.default", keep=True)
def addcmul(call: Call, x: Operand, y: Operand, z: Operand, *, value: Number = 1) -> Expr:
    """x + value y z."""
    factors = [y.expr, z.expr] + ([Scalar(value)] if value != 1 else [])
    return expand(Add(x.expr, multiply(*factors)), call.shape)


@aten("aten._trilinear.default")
def trilinear(
    call: Call,
    x: Operand,
    y: Operand,
    z: Operand,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    sumdim: Sequence[int],
    unroll_dim: int = 1,
) -> Expr:
    """The product of three tensors that get new axes at these places, summed: what `nn.Bilinear` computes."""
    ndim = x.ndim + len(expand1)
    own = [[axis for axis in range(ndim) if axis not in new] for new in (expand1, expand2, expand3)]
    out = [axis for axis in range(ndim) if axis not in sumdim]
    return product(x.expr, y.expr, z.expr, axes=own, out=out)


@aten("aten.einsum.default", keep=True)
def einsum(call: Call, equation: str, tensors: Sequence[Operand], path: object = None) -> Expr:
    """Sums of products in Einstein's notation; axes of size 1 broadcast."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    number: dict[str, int] = {}
    num_dots = max(t.ndim - len(term.replace("...", "")) for t, term in zip(tensors, terms, strict=True))
    dots = [number.setdefault(f"...{i}", len(number)) for i in range(num_dots)] if "..." in left else []

    def axes(term: str, num: int) -> list[int]:
        before, ellipsis, after = term.partition("...")
        between = dots[len(dots) - num :] if ellipsis else []
        return [*(_letter(number, c) for c in before), *between, *(_letter(number, c) for c in after)]

    own = [axes(term, t.ndim - len(term.replace("...", ""))) for t, term in zip(tensors, terms, strict=True)]
    if arrow:
        out = axes(right, len(dots))
    else:
        once = sorted(c for c in set(left) - set(",.") if left.count(c) == 1)
        out = [*dots, *(number[c] for c in once)]
    return product(*(t.expr for t in tensors), axes=own, out=out)


def _letter(number: dict[str, int], letter: str) -> int:
    return number.setdefault(letter, len(number))


def _matmul(x: Expr, y: Expr) -> Expr:
    """As `torch.matmul`."""
    num_batch = max(x.ndim, y.ndim, 2) - 2
    rows, summed, columns = num_batch, num_batch + 1, num_batch + 2
    own_x = [rows, summed] if x.ndim > 1 else [summed]
    own_y = [summed, columns] if y.ndim > 1 else [summed]
    batch_x = range(num_batch - max(x.ndim - 2, 0), num_batch)
    batch_y = range(num_batch - max(y.ndim - 2, 0), num_batch)
    out = [*range(num_batch), *([rows] if x.ndim > 1 else []), *([columns] if y.ndim > 1 else [])]
    return product(x, y, axes=[[*batch_x, *own_x], [*batch_y, *own_y]], out=out)
