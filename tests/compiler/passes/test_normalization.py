"""LayerNorm and RMSNorm, however they are written, against torch; and what only looks like them, against the oracle."""

from __future__ import annotations

import itertools
import random as chance_module

import pytest
import torch
import torch.nn.functional as F

import scrub as rc
from scrub.compiler import compile as compile_expressions
from scrub.compiler.ops.normalization import Normalized
from scrub.graph import Expr
from scrub.graph.functions.power import Pow
from scrub.models import Norm
from scrub.models.parts.norms import norm_spec
from tests.compiler.cases import check_case, make_case
from tests.compiler.passes.lowered import Lowered, array, random, symbol

PASSES = (("normalization",), ("simplify", "normalization"), ("simplify", "normalization", "contractions", "linear"))


def power(base: Expr, exponent: float) -> Expr:
    return rc.GeneralFunction(base, rc.Scalar(exponent), spec=Pow())


ROOTS = {
    "rsqrt": lambda u: rc.elementwise("rsqrt", u),
    "reciprocal of sqrt": lambda u: rc.elementwise("reciprocal", rc.elementwise("sqrt", u)),
    "power": lambda u: power(u, -0.5),
    "reciprocal of power": lambda u: rc.elementwise("reciprocal", power(u, 0.5)),
}
VARIANCES = {
    "product with itself": lambda c, n: rc.Einsum((c, (0, 1)), (c, (0, 1)), (rc.Scalar(1 / n), ()), out_axes=(0,)),
    "mean of square": lambda c, n: power(c, 2.0).mean(1),
    "mean of product": lambda c, n: rc.Einsum((c, (0, 1)), (c, (0, 1)), out_axes=(0, 1)).mean(1),
    "scaled sum": lambda c, n: rc.Einsum((c, (0, 1)), (c, (0, 1)), out_axes=(0,)).scale(1 / n),
}


def centred(x: Expr) -> Expr:
    return rc.Add(x, rc.Rearrange(x.mean(1).scale(-1.0), "s -> s 1"))


def divided(c: Expr, root: Expr, w: Expr | None, way: str) -> Expr:
    if w is None:
        return rc.Einsum((c, (0, 1)), (root, (0,)), out_axes=(0, 1))
    if way == "together":
        return rc.Einsum((c, (0, 1)), (root, (0,)), (w, (1,)), out_axes=(0, 1))
    first, other = ((w, (1,)), (root, (0,))) if way == "weight first" else ((root, (0,)), (w, (1,)))
    inner = rc.Einsum((c, (0, 1)), first, out_axes=(0, 1))
    return rc.Einsum((inner, (0, 1)), other, out_axes=(0, 1))


@pytest.mark.parametrize("passes", PASSES, ids="+".join)
@pytest.mark.parametrize(("root", "variance"), list(itertools.product(ROOTS, VARIANCES)))
def test_however_it_is_written(root: str, variance: str, passes: tuple[str, ...]) -> None:
    x, w, b = symbol("x", 3, 5), symbol("w", 5), symbol("b", 5)
    bound = {s: random(*s.shape, seed=i) for i, s in enumerate((x, w, b))}
    for is_centred, has_weight, has_bias, way in itertools.product(
        (True, False), (True, False), (True, False), ("together", "weight first", "weight last")
    ):
        c = centred(x) if is_centred else x
        factor = ROOTS[root](VARIANCES[variance](c, 5).add(rc.Scalar(0.1)))
        expr = divided(c, factor, w if has_weight else None, way)
        expr = expr.add(b) if has_bias else expr
        low = Lowered(expr, passes)
        (op,) = low.ops(Normalized)
        assert (op.is_centred, op.has_weight, op.has_bias) == (is_centred, has_weight, has_bias and is_centred)
        weight, bias = bound[w] if has_weight else None, bound[b] if has_bias else None
        if is_centred:
            want = F.layer_norm(bound[x], (5,), weight, bias, 0.1)
        else:
            want = F.rms_norm(bound[x], (5,), weight, 0.1) + (0.0 if bias is None else bias)
        torch.testing.assert_close(low.run(bound)[0], want, rtol=1e-10, atol=1e-10)


def test_a_sum_that_is_no_mean_is_a_scaled_norm() -> None:
    """x / sqrt(|x|^2 + eps), and variances that are off by a factor: the factor comes out of the root exactly."""
    x = symbol("x", 3, 5)
    tensor = random(3, 5)
    for factor in (1.0, 0.25, 1 / 6, float(torch.tensor(0.2, dtype=torch.float32))):
        total = rc.Einsum((x, (0, 1)), (x, (0, 1)), out_axes=(0,)).scale(factor)
        expr = divided(x, rc.elementwise("rsqrt", total.add(rc.Scalar(0.3))), None, "")
        low = Lowered(expr, ("normalization",))
        assert low.count(Normalized) == 1
        want = tensor / (factor * tensor.square().sum(1, keepdim=True) + 0.3).sqrt()
        torch.testing.assert_close(low.run({x: tensor})[0], want, rtol=1e-12, atol=1e-12)


def near_miss(chance: chance_module.Random, x: Expr, y: Expr, w: Expr, b: Expr) -> Expr:
    """A norm of a square matrix x with things changed at random."""
    c = x
    if chance.random() < 0.6:
        mean_of, factor = chance.choice([(x, -1.0), (x, -1.0), (x, -1.0), (y, -1.0), (x, 1.0), (x, -0.5)])
        spread = chance.choice(["s -> s 1", "s -> s 1", "s -> 1 s"])
        c = rc.Add(x, rc.Rearrange(mean_of.mean(1).scale(factor), spread))
    squared = chance.choice([c, c, c, c, x])
    axes = chance.choice([((0, 1), (0, 1))] * 4 + [((0, 1), (1, 0))])
    summed = chance.choice([(0,), (0,), (0,), (1,)])
    other = chance.choice([squared, squared, squared, y])
    total = rc.Einsum((squared, axes[0]), (other, axes[1]), out_axes=summed).scale(chance.choice([1 / 3, 1 / 3, 0.5]))
    total = rc.Add(total, total.scale(0.5)) if chance.random() < 0.1 else total
    radicand = total.add(
        chance.choice([rc.Scalar(3.0), rc.Scalar(0.5), rc.Einsum((y, (0, 1)), (y, (0, 1)), out_axes=(0,))])
    )
    radicand = rc.elementwise("abs", radicand) if chance.random() < 0.1 or other is y else radicand
    name = chance.choice(["rsqrt"] * 5 + ["sqrt", "reciprocal"])
    root = rc.elementwise(name, radicand)
    by = chance.choice([(0,), (0,), (0,), (0,), (1,)])
    out = chance.choice([(0, 1), (0, 1), (1, 0), (0,)])
    factors = [(chance.choice([c, c, c, c, x]), (0, 1)), (root, by)]
    if chance.random() < 0.5:
        factors.append((w, chance.choice([(1,), (1,), (0,)])))
    if chance.random() < 0.1:
        factors.append((root, (0,)))
    chance.shuffle(factors)
    expr: Expr = rc.Einsum(*factors, out_axes=out)
    if chance.random() < 0.2:
        expr = expr.add(rc.Einsum((root, (0,)), (c, (0, 1)), out_axes=out).scale(2.0))
    if chance.random() < 0.5:
        expr = expr.add(chance.choice([b, b, rc.Rearrange(b, "s -> s 1") if len(out) == 2 else b]))
    if chance.random() < 0.15:
        expr = rc.Add(expr, rc.Rearrange(root, "s -> s 1") if len(out) == 2 else root)
    return expr.scale(2.0) if chance.random() < 0.2 else expr


def test_near_misses_have_the_value_of_the_oracle() -> None:
    hits = 0
    for seed in range(250):
        chance = chance_module.Random(seed)
        x: Expr = rc.DiscreteVar(array(2, 3, 3, seed=seed)) if seed % 2 else array(3, 3, seed=seed)
        y, w, b = array(3, 3, seed=seed + 1), array(3, seed=seed + 2), array(3, seed=seed + 3)
        expr = near_miss(chance, x, y, w, b)
        case = make_case(f"near miss {seed}", [expr], seed=seed)
        assert case is not None
        passes = PASSES[seed % len(PASSES)]
        check_case(case, passes)
        if not seed % 2:
            hits += Lowered(expr, passes).count(Normalized) > 0
    assert 10 <= hits <= 60, hits


def test_a_root_that_is_used_elsewhere_is_not_computed_twice() -> None:
    x = symbol("x", 3, 5)
    root = rc.elementwise("rsqrt", VARIANCES["product with itself"](x, 5))
    expr = divided(x, root, None, "")
    assert Lowered(expr, ("normalization",)).count(Normalized) == 1
    assert Lowered([expr, root], ("normalization",)).count(Normalized) == 0


def test_a_mean_that_is_used_elsewhere_is_no_hindrance() -> None:
    x = symbol("x", 3, 5)
    c = centred(x)
    expr = divided(c, rc.elementwise("rsqrt", VARIANCES["product with itself"](c, 5)), None, "")
    low = Lowered([expr, c], ("normalization",))
    assert [op.is_centred for op in low.ops(Normalized)] == [True]
    tensor = random(3, 5)
    torch.testing.assert_close(low.run({x: tensor})[0], F.layer_norm(tensor, (5,), eps=0.0), rtol=1e-10, atol=1e-10)


def test_weights_of_several_norms_of_one_value_and_weights_with_batch_axes() -> None:
    """A batch of weights does not go into the kernel, which takes one weight; the norm is still one."""
    x, w = symbol("x", 3, 5), symbol("w", 2, 5)
    row, s = symbol("row", 5), symbol("s", 3, 5)
    c = centred(s)
    spec = rc.ModuleSpec(
        divided(
            c, rc.elementwise("rsqrt", VARIANCES["product with itself"](c, 5).add(rc.Scalar(1.0))), row, "together"
        ),
        [s, row],
    )
    low = Lowered(rc.Module(spec, "norms", s=x, row=w), ("simplify", "normalization"))
    assert [op.has_weight for op in low.ops(Normalized)] == [False]
    bound = {x: random(3, 5), w: random(2, 5, seed=1)}
    want = torch.stack([F.layer_norm(bound[x], (5,), row, eps=1.0) for row in bound[w]])
    torch.testing.assert_close(low.run(bound)[0], want, rtol=1e-10, atol=1e-10)


def test_norms_that_are_computed_together_with_weights_of_their_own() -> None:
    """Siblings of different weights become one norm with a batch of weights."""
    x, w, b = symbol("x", 3, 2, 5), array(3, 5), array(3, 5, seed=1)
    norms: list[Expr] = []
    for i in range(3):
        c = centred(x.index([i]))
        root = rc.elementwise("rsqrt", VARIANCES["product with itself"](c, 5).add(rc.Scalar(0.1)))
        norm = divided(c, root, w.index([i]), "together").add(b.index([i]))
        norms.append(rc.elementwise("tanh", norm))
    low = Lowered(rc.Concat(*norms, axis=0), ("normalization", "siblings"))
    assert low.count(Normalized) == 1
    tensor = random(3, 2, 5, seed=2)
    want = F.layer_norm(tensor, (5,), eps=0.1) * w.value[:, None] + b.value[:, None]
    torch.testing.assert_close(low.run({x: tensor})[0], want.tanh().flatten(0, 1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("n", "seq", "d"), [(0, 2, 3), (2, 0, 3), (1, 1, 1), (3, 2, 1)])
def test_sizes_of_one_and_zero(n: int, seq: int, d: int) -> None:
    x, w, b = symbol("x", seq, d), array(d), array(d, seed=1)
    norm = rc.Module(norm_spec(Norm(), seq, d), "norm", **{"ln.input": x, "ln.w": w, "ln.b": b})
    program = compile_expressions(norm, batched=[x], passes=("normalization",))
    tensor = random(n, seq, d)
    want = F.layer_norm(tensor, (d,), w.value, b.value, 1e-5)
    torch.testing.assert_close(program.run({x: tensor})[0], want)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 3e-3)])
def test_lower_precision(dtype: torch.dtype, tolerance: float) -> None:
    x, w, b = symbol("x", 7, 64), array(64, dtype=dtype), array(64, seed=1, dtype=dtype)
    norm = rc.Module(norm_spec(Norm(), 7, 64), "norm", **{"ln.input": x, "ln.w": w, "ln.b": b})
    low = Lowered(norm, ("normalization",), dtypes={x: dtype})
    assert low.count(Normalized) == 1
    tensor = random(7, 64, seed=2, dtype=dtype)
    (found,) = low.run({x: tensor})
    assert found.dtype == dtype
    want = F.layer_norm(tensor.double(), (64,), w.value.double(), b.value.double(), 1e-5)
    torch.testing.assert_close(found.double(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("is_centred", [True, False])
def test_gradients(is_centred: bool) -> None:
    x, w, b = symbol("x", 3, 4), symbol("w", 4), symbol("b", 4)
    c = centred(x) if is_centred else x
    root = rc.elementwise("rsqrt", VARIANCES["product with itself"](c, 4).add(rc.Scalar(0.1)))
    low = Lowered(divided(c, root, w, "together").add(b), ("normalization",))
    assert low.count(Normalized) == 1
    tensors = [random(*s.shape, seed=i).requires_grad_() for i, s in enumerate(low.symbols)]

    def run(*given: torch.Tensor) -> torch.Tensor:
        return low.run(dict(zip(low.symbols, given, strict=True)))[0]

    assert torch.autograd.gradcheck(run, tensors)
