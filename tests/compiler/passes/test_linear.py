"""Linear layers against torch; and what only looks like them, against the oracle. No weight is copied."""

from __future__ import annotations

import itertools
import random as chance_module
from unittest import mock

import pytest
import torch

import scrub as rc
from scrub.compiler import compile as compile_expressions
from scrub.compiler.ops import Constant, Contract, Sum
from scrub.compiler.ops.linear import Linear
from scrub.compiler.values import values_below
from scrub.graph import Expr
from tests.compiler.cases import check_case, make_case
from tests.compiler.passes.lowered import Lowered, array, random, symbol

PASSES = (("linear",), ("simplify", "linear"), ("simplify", "contractions", "linear"))


def storages(low: Lowered) -> set[int]:
    """Where the constants lie that are matrices and vectors of linear layers."""
    layers = [value for value in values_below(low.outputs) if isinstance(value.op, Linear)]
    weights = [arg.op.tensor for layer in layers for arg in layer.args[1:] if isinstance(arg.op, Constant)]
    return {weight.untyped_storage().data_ptr() for weight in weights}


@pytest.mark.parametrize("passes", PASSES, ids="+".join)
def test_weights_lying_either_way_with_and_without_bias(passes: tuple[str, ...]) -> None:
    x, b = symbol("x", 3, 4), array(5, seed=1)
    bound = {x: random(3, 4, seed=2)}
    for seed, (is_turned, has_bias, out, factor) in enumerate(
        itertools.product((True, False), (True, False), ("s e", "e s"), (1.0, -2.0))
    ):
        w = array(5, 4, seed=seed) if is_turned else array(4, 5, seed=seed)
        product: Expr = rc.Einsum.from_string(f"s d, {'e d' if is_turned else 'd e'} -> {out}", x, w).scale(factor)
        bias = rc.Rearrange(b, "e -> e 1") if out == "e s" else b
        low = Lowered(product.add(bias) if has_bias else product, passes)
        assert low.count(Linear) == 1
        assert low.count(Contract) == (factor != 1.0 and len(passes) == 1)
        assert low.count(Sum) == (has_bias and factor != 1.0 and len(passes) == 1)
        assert w.value.untyped_storage().data_ptr() in storages(low)
        want = factor * bound[x] @ (w.value.T if is_turned else w.value)
        want = want + b.value if has_bias else want
        torch.testing.assert_close(low.run(bound)[0], want.T if out == "e s" else want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("passes", PASSES, ids="+".join)
@pytest.mark.parametrize("is_biased", [True, False])
def test_queries_keys_and_values_of_one_weight_are_one_product(is_biased: bool, passes: tuple[str, ...]) -> None:
    """Heads are batch axes; the weight of all is one tensor, as Hugging Face's `c_attn`."""
    seq, d_model, heads, d_head = 3, 4, 2, 5
    whole, biases = random(d_model, 3, heads, d_head), random(3, heads, d_head, seed=1)
    x, out = symbol("x", seq, d_model), symbol("w", d_model, d_head)
    inner, b = symbol("in", seq, d_model), symbol("b", d_head)
    linear: Expr = rc.Einsum.from_string("s d, d e -> s e", inner, out)
    spec = rc.ModuleSpec(linear.add(b), [inner, out, b]) if is_biased else rc.ModuleSpec(linear, [inner, out])
    calls = [
        rc.Module(
            spec,
            f"part{i}",
            w=rc.Array(whole[:, i].transpose(0, 1)),
            **{"in": x, **({"b": rc.Array(biases[i])} if is_biased else {})},
        )
        for i in range(3)
    ]
    low = Lowered(calls, passes, drawn=[x])
    assert low.count(Linear) == 1
    assert low.count(Contract) == low.count(Sum) == 0
    wanted = {whole.untyped_storage().data_ptr()} | ({biases.untyped_storage().data_ptr()} if is_biased else set())
    assert storages(low) == wanted
    tensor = random(2, seq, d_model, seed=3)
    for i, found in enumerate(low.run({x: tensor})):
        want = torch.einsum("nsd,dhe->nhse", tensor, whole[:, i])
        want = want + biases[i][:, None] if is_biased else want
        torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-10)


def test_weights_that_do_not_lie_together_stay_apart() -> None:
    x, y, whole = symbol("x", 3, 4), symbol("y", 3, 4), random(4, 30)
    cut = lambda start, stop: rc.Array(whole[:, start:stop])  # noqa: E731
    together = [(x, cut(0, 5)), (x, cut(5, 9)), (x, cut(9, 10))]
    apart = [
        (x, cut(11, 14)),
        (y, cut(14, 16)),
        (x, rc.Array(whole[:, 16:20].clone())),
        (x, rc.Array(whole[:, 20:24:2])),
    ]
    exprs = [rc.Einsum.from_string("s d, d e -> s e", *pair) for pair in (*together, *apart)]
    bound = {x: random(3, 4, seed=1), y: random(3, 4, seed=2)}
    low = Lowered(exprs, ("linear",))
    assert low.count(Linear) == 5  # every second column is no matrix that can be read where it lies: it is copied
    for found, (given, weight) in zip(low.run(bound), (*together, *apart), strict=True):
        assert isinstance(weight, rc.Array)
        torch.testing.assert_close(found, bound[given] @ weight.value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("passes", PASSES[2:], ids="+".join)
def test_output_projections_sum_over_heads(passes: tuple[str, ...]) -> None:
    """The heads' own axis and the axis of the batch of calls are the rows of one weight."""
    heads, seq, d_head, d_model = 2, 3, 4, 5
    z, mixed, w = symbol("z", heads, seq, d_head), symbol("mixed", seq, d_head), symbol("w", d_head, d_model)
    weight, bias = array(heads, d_head, d_model), array(d_model, seed=1)
    spec = rc.ModuleSpec(rc.Einsum.from_string("s e, e d -> s d", mixed, w), [mixed, w])
    calls = rc.Module(spec, "heads", mixed=z, w=weight)
    expr = rc.Einsum.from_string("h s d -> s d", calls).add(bias)
    low = Lowered(expr, passes, drawn=[z])
    assert low.count(Linear) == 1
    assert low.count(Contract) == low.count(Sum) == 0
    tensor = random(2, heads, seq, d_head, seed=2)
    want = torch.einsum("nhse,hed->nsd", tensor, weight.value) + bias.value
    torch.testing.assert_close(low.run({z: tensor})[0], want, rtol=1e-10, atol=1e-10)


def near_miss(chance: chance_module.Random, x: Expr, y: Expr) -> Expr:
    """Products of a matrix with weights, in all orders of axes, some with axes kept that both have, and biases."""
    patterns = [
        "a b, b c -> a c", "a b, b c -> c a", "a b, c b -> a c", "b a, b c -> a c", "a b, b c -> a b c",
        "a b, b c -> a", "a b, b c -> c", "a b, a b -> a", "a b, a b -> ", "a a, a c -> c", "a b, b b -> a b",
        "a b, c d -> a d", "a b, a c -> a c", "a b, a c -> a b c", "a b, b c -> b c",
    ]  # fmt: skip
    weight = chance.choice(
        [array(3, 3, seed=5), array(3, 3, 3, seed=6).index([1]), array(3, 3, 3, seed=7).index(rc.I[:, 2]), y]
    )
    weight = weight.scale(2.0) if chance.random() < 0.1 else weight
    operands = (x, weight)
    pattern = chance.choice(patterns)
    if chance.random() < 0.3:
        operands, (left, out) = operands[::-1], pattern.split(" -> ")
        pattern = ", ".join(reversed(left.split(", "))) + " -> " + out
    product: Expr = rc.Einsum.from_string(pattern, *operands)
    if chance.random() < 0.2:
        product = product.scale(-0.5)
    if product.ndim and chance.random() < 0.7:
        biases: list[Expr] = [
            array(3, seed=8),
            rc.Rearrange(array(3, seed=8), "a -> a 1"),
            array(1, seed=9),
            y.index([0]),
            x,
        ]
        terms = [product, *chance.sample(biases, chance.choice([1, 1, 2]))]
        chance.shuffle(terms)
        total: Expr = rc.Add(*terms)
        product = rc.Add(total, product) if chance.random() < 0.1 else total
    return product


def test_near_misses_have_the_value_of_the_oracle() -> None:
    hits = 0
    for seed in range(300):
        chance = chance_module.Random(seed)
        x, y = (rc.DiscreteVar(array(2, 3, 3, seed=seed + i)) for i in range(2))
        expr = near_miss(chance, x, y)
        case = make_case(f"near miss {seed}", [expr], seed=seed)
        assert case is not None
        passes = PASSES[seed % len(PASSES)]
        with mock.patch.object(Linear, "emit", autospec=True, side_effect=Linear.emit) as emitted:
            check_case(case, passes)
        hits += emitted.called
    assert 30 <= hits <= 200, hits


def test_the_same_product_with_two_biases() -> None:
    """None of them goes in: the product would be computed twice. And one bias with two signs is two biases."""
    x, y, w, b = symbol("x", 3, 4), symbol("y", 3, 4), array(4, 5), array(5, seed=1)
    one, two = (rc.Einsum.from_string("s d, d e -> s e", given, w) for given in (x, y))
    low = Lowered([one.add(b), one.add(b.scale(-1.0))], ("simplify", "linear"))
    assert (low.count(Linear), low.count(Sum)) == (1, 2)
    low = Lowered([one.add(b), two.sub(b)], ("simplify", "linear"))
    assert (low.count(Linear), low.count(Sum)) == (2, 0)
    bound = {x: random(3, 4, seed=2), y: random(3, 4, seed=3)}
    for found, given, sign in zip(low.run(bound), (x, y), (1.0, -1.0), strict=True):
        torch.testing.assert_close(found, bound[given] @ w.value + sign * b.value, rtol=1e-10, atol=1e-10)


def test_a_residual_stays_a_term_of_the_sum() -> None:
    x, w, b = symbol("x", 3, 4), array(4, 4), array(4, seed=1)
    low = Lowered(rc.Add(x, rc.Einsum.from_string("s d, d e -> s e", x, w), b), ("linear",))
    assert (low.count(Linear), [op.coefficients for op in low.ops(Sum)]) == (1, [(1.0, 1.0)])
    tensor = random(3, 4, seed=2)
    torch.testing.assert_close(low.run({x: tensor})[0], tensor + tensor @ w.value + b.value)


@pytest.mark.parametrize(
    ("n", "seq", "d", "e"), [(0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 1, 4), (2, 3, 4, 1), (1, 1, 1, 1), (2, 3, 0, 2)]
)
def test_sizes_of_one_and_zero(n: int, seq: int, d: int, e: int) -> None:
    x, w, b = symbol("x", seq, d), array(d, e), array(e, seed=1)
    tensor = random(n, seq, d, seed=2)
    program = compile_expressions(
        rc.Einsum.from_string("s d, d e -> s e", x, w).add(b), batched=[x], passes=("linear",)
    )
    torch.testing.assert_close(program.run({x: tensor})[0], tensor @ w.value + b.value)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2), (torch.float16, 5e-3)])
def test_lower_precision(dtype: torch.dtype, tolerance: float) -> None:
    x, w, b = symbol("x", 7, 32), array(32, 16, dtype=dtype), array(16, seed=1, dtype=dtype)
    low = Lowered(rc.Einsum.from_string("s d, d e -> s e", x, w).add(b), ("linear",), dtypes={x: dtype})
    tensor = random(7, 32, seed=2, dtype=dtype)
    (found,) = low.run({x: tensor})
    assert (low.count(Linear), low.count(Sum), found.dtype) == (1, 0, dtype)
    want = tensor.double() @ w.value.double() + b.value.double()
    torch.testing.assert_close(found.double(), want, rtol=tolerance, atol=tolerance)


def test_gradients() -> None:
    x, w, b = symbol("x", 2, 3, 4), array(2, 4, 5), array(5, seed=1)
    low = Lowered(rc.Einsum.from_string("h s e, h e d -> s d", x, w).scale(2.0).add(b), ("simplify", "linear"))
    assert low.count(Linear) == 1
    assert torch.autograd.gradcheck(lambda given: low.run({x: given})[0], random(2, 3, 4, seed=2).requires_grad_())
