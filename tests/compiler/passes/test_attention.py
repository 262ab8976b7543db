"""Attention against torch's plain arithmetic; and what only looks like it, against the oracle."""

from __future__ import annotations

import itertools
import math
import random as chance_module

import pytest
import torch

import scrub as rc
from scrub.compiler.ops.attention import Attention, attended
from scrub.graph import Expr
from scrub.models import Attention as Options
from scrub.models.parts.attention import MASKED_SCORE, head_spec, masked_score
from tests.compiler.cases import check_case, make_case
from tests.compiler.passes.lowered import Lowered, array, random, symbol

PASSES = (("attention",), ("simplify", "attention"), ("simplify", "siblings", "attention", "contractions", "linear"))


def plain(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, bias: torch.Tensor | float = 0.0
) -> torch.Tensor:
    return torch.softmax(scale * q @ k.transpose(-1, -2) + bias, -1) @ v


def causal(seq: int, masked: float = MASKED_SCORE, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.full((seq, seq), masked, dtype=dtype).triu(1)


def attention(q: Expr, k: Expr, v: Expr, scale: float, bias: Expr | None = None) -> Expr:
    scores: Expr = rc.Einsum.from_string("q e, k e, -> q k", q, k, rc.Scalar(scale))
    probs = rc.softmax(scores if bias is None else rc.Add(scores, bias))
    return rc.Einsum.from_string("q k, k f -> q f", probs, v)


@pytest.mark.parametrize("passes", PASSES, ids="+".join)
@pytest.mark.parametrize("scale", [0.3, 1.0, -0.7, 0.0])
def test_masks_of_all_kinds(passes: tuple[str, ...], scale: float) -> None:
    q, k, v = symbol("q", 4, 3), symbol("k", 4, 3), symbol("v", 4, 2)
    bound = {s: random(*s.shape, seed=i) for i, s in enumerate((q, k, v))}
    mask = symbol("mask", 4, 4)
    zero_one = rc.Array(torch.ones(4, 4, dtype=torch.float64).tril())
    masks: list[tuple[Expr | None, torch.Tensor | float, bool]] = [
        (None, 0.0, False),
        (rc.Array(torch.zeros(4, 4, dtype=torch.float64)), 0.0, False),
        (rc.Array(causal(4)), causal(4), True),
        (rc.Array(causal(4, -math.inf)), causal(4, -math.inf), True),
        (rc.Array(causal(4, -2.0)), causal(4, -2.0), False),
        (rc.Array(causal(4).T), causal(4).T, False),
        (rc.Add(zero_one, rc.Scalar(-1.0)).scale(3e4), causal(4), True),
        (rc.Add(zero_one.scale(3e4), rc.Scalar(-3e4)), causal(4), True),
        (array(4, seed=7), random(4, seed=7), False),
        (rc.Rearrange(array(4, seed=7), "q -> q 1"), random(4, seed=7)[:, None], False),
        (mask, random(4, 4, seed=8), False),
    ]
    for expr, tensor, is_causal in masks:
        low = Lowered(attention(q, k, v, scale, expr), passes)
        (op,) = low.ops(Attention)
        assert op.is_causal == is_causal
        found = low.run({**bound, mask: random(4, 4, seed=8)})[0]
        torch.testing.assert_close(found, plain(*bound.values(), scale, tensor), rtol=1e-10, atol=1e-10)


def test_axes_in_any_order_are_turned() -> None:
    """Heads as axes of the einsum, queries and keys with theirs in all orders, more factors in the last product."""
    sizes = {"h": 2, "q": 3, "k": 4, "e": 5, "f": 6, "g": 2}
    orders = itertools.product(
        itertools.permutations("hqe"), itertools.permutations("hke"), itertools.permutations("hkf")
    )
    for number, names in enumerate(itertools.islice(orders, 0, None, 7)):
        x, y, z = ("".join(name) for name in names)
        symbols = [symbol(name + str(i), *(sizes[letter] for letter in name)) for i, name in enumerate((x, y, z))]
        w = array(sizes["h"], sizes["f"], sizes["g"])
        scores = rc.Einsum.from_string(f"{' '.join(x)}, {' '.join(y)} -> h q k", *symbols[:2])
        out = rc.Einsum.from_string(f"h q k, {' '.join(z)}, h f g -> q g", rc.softmax(scores), symbols[2], w)
        low = Lowered(out, PASSES[number % 2])
        assert low.count(Attention) == 1
        bound = {s: random(*s.shape, seed=i) for i, s in enumerate(symbols)}
        q, k, v = (
            torch.einsum(f"{name}->{to}", bound[s])
            for s, name, to in zip(symbols, (x, y, z), ("hqe", "hke", "hkf"), strict=True)
        )
        want = torch.einsum("hqf,hfg->qg", plain(q, k, v, 1.0), w.value)
        torch.testing.assert_close(low.run(bound)[0], want, rtol=1e-10, atol=1e-10)


def near_miss(chance: chance_module.Random, q: Expr, k: Expr, v: Expr, m: Expr) -> Expr:
    """Attention of square matrices with things changed at random."""
    scores_of = chance.choice(
        ["q e, k e -> q k"] * 3 + ["q e, k e -> k q", "e q, k e -> q k", "q e, k k -> q k", "q e, e e -> q e"]
    )
    scores: Expr = rc.Einsum.from_string(scores_of, q, k).scale(chance.choice([0.5, 1.0, -1.0]))
    scores = rc.elementwise("tanh", scores) if chance.random() < 0.08 else scores
    more = [m] * chance.choice([0, 0, 1, 2]) + [rc.Rearrange(m, "a b -> b a")] * chance.choice([0, 0, 1])
    more += [scores.scale(0.5)] if chance.random() < 0.1 else []
    more += [rc.Scalar(0.7)] if chance.random() < 0.2 else []
    masked = rc.Add(scores, *more) if more else scores
    masked = masked.scale(2.0) if chance.random() < 0.2 else masked
    masked = rc.Rearrange(masked, "a b -> b a") if chance.random() < 0.08 else masked
    function = chance.choice([rc.softmax] * 6 + [rc.log_softmax])
    probs = function(masked)
    mixed_of = chance.choice(
        ["q k, k f -> q f"] * 4
        + ["q k, q f -> k f", "q k, k f -> q k", "q k, k f -> q", "q q, q f -> q f", "q k, f k -> f q"]
    )
    out: Expr = rc.Einsum.from_string(mixed_of, probs, v)
    if chance.random() < 0.1:
        out = rc.Einsum.from_string("q k, q k, k f -> q f", probs, m, v)
    if chance.random() < 0.1:
        out = rc.Add(rc.Einsum.from_string("q k -> q", probs), rc.Scalar(0.5) if out.ndim != 2 else out)
    return out


def test_near_misses_have_the_value_of_the_oracle() -> None:
    hits = 0
    for seed in range(250):
        chance = chance_module.Random(seed)
        q, k, v, m = (
            rc.DiscreteVar(array(2, 3, 3, seed=seed + i)) if chance.random() < 0.4 else array(3, 3, seed=seed + i)
            for i in range(4)
        )
        if chance.random() < 0.5:
            m = rc.Array(causal(3, chance.choice([-3e4, -math.inf, -1.0])))
        expr = near_miss(chance, q, k, v, m)
        case = make_case(f"near miss {seed}", [expr], seed=seed)
        assert case is not None
        check_case(case, PASSES[seed % len(PASSES)])
        if not expr.free_symbols and not any(isinstance(node, rc.DiscreteVar) for node in (q, k, v, m)):
            hits += Lowered(expr, PASSES[seed % len(PASSES)]).count(Attention) > 0
    assert 8 <= hits <= 60, hits


def test_a_pattern_that_is_asked_for_stays() -> None:
    q, k, v = array(4, 3), array(4, 3, seed=1), array(4, 3, seed=2)
    expr = attention(q, k, v, 0.5)
    probs = expr.children[0]
    scores = probs.children[0]
    for other in (probs, scores, rc.Einsum.from_string("q k, q e -> k e", probs, q)):
        assert Lowered([expr, other], ("attention",)).count(Attention) == 0
    assert Lowered([expr, expr.scale(2.0)], ("attention",)).count(Attention) == 1


def test_a_pattern_without_draws_is_not_computed_for_each_draw() -> None:
    q, k, v = symbol("q", 4, 3), symbol("k", 4, 3), symbol("v", 4, 3)
    expr = attention(q, k, v, 0.5)
    assert Lowered(expr, ("attention",), drawn=[v]).count(Attention) == 0
    assert Lowered(expr, ("attention",), drawn=[q]).count(Attention) == 1
    assert Lowered(expr, ("attention",), drawn=[q, v]).count(Attention) == 1


def test_a_query_that_sees_nothing() -> None:
    """With a finite mask it sees everything alike; with -inf there is no value, and the kernel must not invent one."""
    q, k, v = array(4, 3), array(4, 3, seed=1), array(4, 3, seed=2)
    mask = causal(4)
    mask[2] = MASKED_SCORE
    low = Lowered(attention(q, k, v, 0.5, rc.Array(mask)), ("attention",))
    assert low.count(Attention) == 1
    torch.testing.assert_close(low.run()[0], plain(q.value, k.value, v.value, 0.5, mask), rtol=1e-10, atol=1e-10)
    mask = mask.clone()
    mask[2] = -math.inf
    low = Lowered(attention(q, k, v, 0.5, rc.Array(mask)), ("attention",))
    assert low.run()[0].isnan().any(1).tolist() == [False, False, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["causal", "rows hidden", "symbol"])
def test_lower_precision(dtype: torch.dtype, kind: str) -> None:
    shapes = {"q": (6, 8), "k": (6, 8), "v": (6, 8)}
    symbols = [symbol(name, *shape) for name, shape in shapes.items()]
    mask = causal(6, masked_score(dtype), dtype)
    if kind == "rows hidden":
        mask[3] = masked_score(dtype)
    bias: Expr = symbol("mask", 6, 6) if kind == "symbol" else rc.Array(mask)
    expr = attention(*symbols, 1 / math.sqrt(8), bias)
    low = Lowered(expr, ("attention",), dtypes=dict.fromkeys([*symbols, bias.free_symbols and bias], dtype))
    assert low.count(Attention) == 1
    bound = {s: random(*s.shape, seed=i, dtype=dtype) for i, s in enumerate(symbols)}
    found = low.run({**bound, **({bias: mask} if kind == "symbol" else {})})[0]
    assert found.dtype == dtype
    want = plain(*(tensor.double() for tensor in bound.values()), 1 / math.sqrt(8), mask.double())
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype]
    rows = [0, 1, 2, 4, 5] if kind == "rows hidden" else slice(None)  # a shift by 3e4 is lost in the sums of that row
    torch.testing.assert_close(found.double()[rows], want[rows], rtol=tolerance, atol=tolerance)
    assert found.isfinite().all()


SIZES = [(2, 3, 4), (1, 3, 4), (2, 1, 4), (2, 3, 1), (0, 3, 4), (2, 0, 4), (2, 3, 0), (1, 1, 1)]


@pytest.mark.parametrize(("batch", "heads", "positions"), SIZES)
def test_layouts_and_sizes(batch: int, heads: int, positions: int) -> None:
    """Whatever lies where in memory, whichever axes queries, keys, values and mask have."""
    base = (3, batch, heads)
    layouts = [(0, 1, 2, 3, 4), (1, 0, 3, 2, 4), (3, 2, 1, 0, 4), (2, 3, 0, 1, 4), (0, 1, 2, 4, 3)]
    for number, (layout, missing) in enumerate(itertools.product(layouts, itertools.product((True, False), repeat=3))):
        sizes = (*base, positions, 5)
        tensors: list[torch.Tensor] = []
        present: list[tuple[bool, ...]] = []
        for i in range(3):
            own = (True, True, True) if i == 0 else tuple(missing[i:]) + tuple(missing[:i])
            stored = random(*(sizes[axis] for axis in layout), seed=10 * number + i)
            full = stored.permute(*(layout.index(axis) for axis in range(5)))
            if 0 in base and not all(own):
                own = (True, True, True)
            tensors.append(full[tuple(slice(None) if is_there else 0 for is_there in own)])
            present.append(own)
        bias = random(*((heads,) if number % 2 else ()), positions, positions, seed=number)
        own = (False, False, bool(number % 2))
        found = attended((*present, own), 0.4, False, *tensors, bias)
        q, k, v, b = (_full(t, p) for t, p in zip((*tensors, bias), (*present, own), strict=True))
        want = plain(q, k, v, 0.4, b)
        torch.testing.assert_close(found, want.expand(found.shape), rtol=1e-10, atol=1e-10)
        assert found.shape == (*base, positions, 5)


def _full(tensor: torch.Tensor, present: tuple[bool, ...]) -> torch.Tensor:
    for position, is_there in enumerate(present):
        tensor = tensor if is_there else tensor.unsqueeze(position)
    return tensor


@pytest.mark.parametrize("passes", PASSES, ids="+".join)
def test_heads_of_the_model_library(passes: tuple[str, ...]) -> None:
    """Heads over shared inputs, a 0/1 mask turned into a bias, keys for groups of queries; the output is summed."""
    seq, d_model, d_head, groups, per_group = 4, 6, 3, 2, 3
    spec = head_spec(Options(1, 1, d_head, d_head**-0.5), seq, d_model)
    x = symbol("x", seq, d_model)
    weights = {
        "q": array(per_group, groups, d_model, d_head, seed=1),
        "k": array(groups, d_model, d_head, seed=2),
        "v": array(groups, d_model, d_head, seed=3),
        "o": array(per_group, groups, d_head, d_model, seed=4),
    }
    heads = rc.Module(
        spec,
        "heads",
        **{f"a.{part}.input": x for part in "qkv"},
        **{f"a.w.{part}_h": weight for part, weight in weights.items()},
    )
    ones = rc.Array(torch.ones(seq, seq, dtype=torch.float64).tril())
    expr = rc.Einsum.from_string("i g s d -> s d", heads).update("a.mask", lambda _: ones)
    low = Lowered(expr, passes, drawn=[x])
    assert [op.is_causal for op in low.ops(Attention)] == [True]
    tensor = random(2, seq, d_model, seed=9)
    q, k, v = (torch.einsum("bsd,...de->b...se", tensor, weights[part].value) for part in "qkv")
    mixed = plain(q, k[:, None], v[:, None], 1 / math.sqrt(d_head), causal(seq))
    want = torch.einsum("bigse,iged->bsd", mixed, weights["o"].value)
    torch.testing.assert_close(low.run({x: tensor})[0], want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("is_causal", [True, False])
def test_gradients(is_causal: bool) -> None:
    q, k, v, mask = symbol("q", 3, 2), symbol("k", 3, 2), symbol("v", 3, 2), symbol("mask", 3, 3)
    low = Lowered(attention(q, k, v, 0.5, rc.Array(causal(3)) if is_causal else mask), ("attention",))
    assert low.count(Attention) == 1
    tensors = [random(*s.shape, seed=i).requires_grad_() for i, s in enumerate(low.symbols)]

    def run(*given: torch.Tensor) -> torch.Tensor:
        return low.run(dict(zip(low.symbols, given, strict=True)))[0]

    assert torch.autograd.gradcheck(run, tensors)
