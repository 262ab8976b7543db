"""Simplified graphs have the same values, and fewer steps where there is something to simplify."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import scrub as rc
from scrub.compiler import compile as compile_expr
from scrub.compiler.ops import Constant, Contract, Fill, Joined, Picked, Rearranged, Sibling, Sum, ToBatch, ToCore
from scrub.compiler.passes import PASSES, simplify
from scrub.compiler.passes.sums import MAX_TERMS
from scrub.compiler.values import Graph, Value, values_below
from tests.compiler.cases import cases, check_case
from tests.compiler.passes.lowered import Lowered, array, random, symbol
from tests.steps import num_steps

PASS = "simplify"
X, Y = symbol("x", 3, 4), symbol("y", 3, 4)
BOUND = {X: random(3, 4, seed=1), Y: random(3, 4, seed=2)}


def _simplified(expr: rc.Expr, *, drawn: bool = False) -> Lowered:
    """The expression simplified, after comparing its values with those of the unsimplified one."""
    before, after = (Lowered(expr, passes, drawn=[X, Y] if drawn else []) for passes in ((), (PASS,)))
    of = {s: BOUND[s].expand(2, 3, 4) if drawn else BOUND[s] for s in before.symbols}
    for want, got in zip(before.run(of), after.run(of), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    (reference,) = rc.evaluate_many([expr], {s: BOUND[s] for s in before.symbols})
    torch.testing.assert_close(after.run(of)[0], reference.expand(after.run(of)[0].shape), rtol=1e-12, atol=1e-12)
    return after


def _computing(lowered: Lowered) -> list[str]:
    return sorted(type(v.op).__name__ for v in values_below(lowered.outputs) if v.args)


@pytest.mark.parametrize(
    ("expr", "ops"),
    [
        (X.scale(3.0).scale(2.0), ["Contract"]),
        (X.scale(2.0).scale(0.5), []),
        (X.scale(0.5).add(Y), ["Sum"]),
        (X.scale(0.5).mul(Y.scale(-2.0)), ["Contract"]),
        (rc.Rearrange(rc.Rearrange(X, "a b -> b a").scale(-1.0), "b a -> a b").add(Y), ["Sum"]),
        (rc.Rearrange(rc.Rearrange(X, "a b -> (a b)"), "(a b) -> b a", a=3), ["Rearranged"]),
        (rc.Rearrange(rc.Rearrange(X, "a (b c) -> (a b) c", b=2), "(a b) c -> a (b c)", a=3), []),
        (X.add(X).add(Y), ["Sum"]),
        (X.add(Y).add(rc.Scalar(1.0)).add(X), ["Sum"]),
        (rc.Einsum.from_string("b a, a c -> b c", rc.Rearrange(X, "a b -> b a"), Y), ["Contract"]),
        (rc.Einsum.from_string("a b -> b a", rc.Einsum.from_string("a b -> b a", X)), []),
        (rc.Concat(X, Y, axis=0).index(rc.I[4]), ["Picked"]),
        (rc.Concat(X, Y, axis=0).index(rc.I[3:]), []),
        (rc.Concat(X.index(rc.I[:1]), X.index(rc.I[1:2]), axis=0), ["Picked"]),
        (rc.Concat(X.index(rc.I[:1]), X.index(rc.I[1:]), axis=0), []),
        (X.index(rc.I[1:]).index(rc.I[1, 2:]), ["Picked"]),
        (X.index(rc.I[:, 0:4]), []),
        (rc.Rearrange(rc.Scalar(2.0), "-> 3 4").add(X), ["Sum"]),
        (rc.Rearrange(rc.Scalar(2.0), "-> 3 4").mul(X), ["Contract"]),
        (rc.Rearrange(rc.Rearrange(X.index(rc.I[:1, :1]), "1 1 -> "), "-> 1 1"), ["Picked"]),
    ],
)
@pytest.mark.parametrize("drawn", [False, True])
def test_what_is_left(expr: rc.Expr, ops: list[str], drawn: bool) -> None:
    found = _simplified(expr, drawn=drawn)
    assert [op for op in _computing(found) if op != "Rearranged" or ops == ["Rearranged"]] == ops
    assert len(_computing(found)) <= len(ops) + (ops == ["Picked"])


def test_a_mean_is_subtracted_as_a_term() -> None:
    mean = rc.Einsum.from_string("a b, -> a", X, rc.Scalar(0.25))
    found = _simplified(X.add(rc.Rearrange(mean.scale(-1.0), "a -> a 1")))
    assert _computing(found) == ["Contract", "Rearranged", "Sum"]


def test_sums_that_are_needed_for_themselves_stay() -> None:
    inner = X.add(Y)
    found = Lowered([inner.add(X.scale(2.0)), inner], (PASS,))
    assert found.count(Sum) == 2
    smaller = rc.Rearrange(X.index(rc.I[:1]).add(Y.index(rc.I[:1])), "1 b -> b")
    assert _simplified(smaller.add(X)).count(Sum) == 2  # as one sum, it would be of larger terms


def test_no_sum_grows_without_end() -> None:
    total: rc.Expr = X
    for i in range(3 * MAX_TERMS):
        total = total.add(array(3, 4, seed=i))
    found = _simplified(total)
    assert max(len(op.coefficients) for op in found.ops(Sum)) <= MAX_TERMS
    assert 3 <= found.count(Sum) <= 6


def _heads(x: rc.Expr, weights: rc.Expr, name: str = "heads") -> rc.Module:
    """One head of [3, 4] for each matrix of `weights` [heads, 4, 4]."""
    of, w = symbol("head.x", 3, 4), symbol("head.w", 4, 4)
    spec = rc.ModuleSpec(rc.Einsum.from_string("s d, d e -> s e", of, w), [of, w])
    return rc.Module(spec, name, **{"head.x": x, "head.w": weights})


@pytest.mark.parametrize("num_heads", [1, 2, 5])
def test_heads_are_summed_where_they_are(num_heads: int) -> None:
    heads = _heads(X, array(num_heads, 4, 4))
    found = _simplified(rc.Einsum.from_string("h s d -> s d", heads))
    assert found.count(ToCore) == 0
    assert found.count(Contract) == (2 if num_heads > 1 else 1)
    weighted = _simplified(rc.Einsum.from_string("h s d, h -> s d", heads, array(num_heads, seed=3)))
    assert weighted.count(ToCore) == 0


def test_one_batch_axis_with_two_meanings_stays_two() -> None:
    one, other = (_heads(x, array(2, 4, 4)) for x in (X, Y))
    for spec in ("h s d, g s d -> s d", "h s d, g s d -> h g s", "h s d, g s d -> g h d", "h s d, h s d -> s d"):
        _simplified(rc.Einsum.from_string(spec, one, other))


def test_one_head_of_many_is_a_sibling() -> None:
    found = _simplified(_heads(X, array(5, 4, 4)).index(rc.I[3, 1:]))
    assert found.count(ToCore) == 0
    assert [op.at for op in found.ops(Sibling)] == [3]


def test_batch_axes_of_size_one_are_none() -> None:
    found = _simplified(_heads(X, array(1, 4, 4)))
    assert found.count(ToBatch) == 0
    assert all(not value.axes for value in values_below(found.outputs))


def test_the_pass_by_itself_on_batch_axes() -> None:
    graph = Graph()
    tensor = torch.arange(6.0).reshape(2, 3)
    constant = graph.value(Constant("w", tensor.device, tensor))
    axis = graph.axis(2)
    batched = graph.value(ToBatch(axis), constant)
    assert simplify(graph, [graph.value(ToCore(axis), batched)]) == [constant]
    assert simplify(graph, [graph.value(ToBatch(axis), graph.value(ToCore(axis), batched))]) == [batched]
    filled = graph.value(Picked((1, None)), graph.value(Fill(2.0, (4, 5))))
    assert simplify(graph, [filled])[0].op == Fill(2.0, (5,))
    assert simplify(graph, [graph.value(Joined(0), constant)]) == [constant]


def test_values_stay_and_the_pass_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[bool] = []

    def observed(graph: Graph, outputs: list[Value]) -> list[Value]:
        new = simplify(graph, outputs)
        for old, made in zip(outputs, new, strict=True):
            assert (old.axes, old.shape, old.dtype) == (made.axes, made.shape, made.dtype)
        changes.append(new != list(outputs))
        for _ in range(3):  # what had two uses may now have one, so that it may do more each time; not for long
            again, new = new, simplify(graph, new)
        assert again == new
        return new

    monkeypatch.setitem(PASSES, PASS, observed)
    for case in cases(0, 250):
        check_case(case, (PASS,))
    assert sum(changes) >= 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_shipped_model_keeps_its_values(dtype: torch.dtype) -> None:
    check_on_shipped_model(PASS, dtype)


def check_on_shipped_model(name: str, dtype: torch.dtype) -> None:
    """Values with one pass, and with all but it, are those of the reference evaluator."""
    tokens = symbol("tokens", 8)
    logits = rc.cast(rc.load_shipped("attn_only_2l").call(tokens), dtype=dtype)
    rows = torch.randint(0, 2048, (3, 8), generator=torch.Generator().manual_seed(0))
    want = torch.stack([rc.evaluate_many([logits], {tokens: row})[0] for row in rows])
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for passes in ((name,), [other for other in PASSES if other != name], tuple(PASSES)):
        got = compile_expr(logits, batched=[tokens], passes=passes).run({tokens: rows})[0]
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance * float(want.abs().max()))


def _nested(count: int) -> rc.Expr:
    total: rc.Expr = X
    for i in range(count):
        total = rc.Rearrange(total.scale(1.0 + i).add(Y), "a b -> b a" if i % 2 else "a b -> a b")
        total = rc.Rearrange(total, "b a -> a b") if i % 2 else total
    return total


def _product(count: int) -> rc.Expr:
    total: rc.Expr = X
    for i in range(count):
        total = rc.Einsum.from_string("a b, b c -> a c", total.scale(0.5), array(4, 4, seed=i))
    return total


def _joined(count: int) -> rc.Expr:
    total: rc.Expr = X
    for _ in range(count):
        total = rc.Concat(total, Y, axis=0).index(rc.I[1:4])
    return total


@pytest.mark.parametrize("make", [_nested, _product, _joined])
def test_cost_is_linear(make: Callable[[int], rc.Expr]) -> None:
    def steps(count: int) -> int:
        before = Lowered(make(count), ())
        graph = Graph()
        return num_steps(lambda: simplify(graph, before.outputs))

    steps(5)
    few, many = steps(100), steps(200)
    assert many <= 2.3 * few


def test_a_deep_chain() -> None:
    found = Lowered(_nested(3_000), (PASS,))
    assert found.count(Rearranged) == 0


def test_scores_keep_their_digits_beside_large_masks() -> None:
    scores, mask = (rc.Symbol.new_from_name((6, 6), name) for name in ("scores", "mask"))
    bias = rc.Einsum.from_string("q k,  -> q k", rc.Add(mask, rc.Scalar(-1.0)), rc.Scalar(3e4))
    pattern = rc.softmax(rc.Add(scores, bias))
    bound: dict[rc.Expr, torch.Tensor] = {
        scores: torch.randn(6, 6, generator=torch.Generator().manual_seed(0)),
        mask: torch.ones(6, 6).tril(),
    }
    (found,) = compile_expr(pattern, passes=("simplify",)).run(bound)
    exact = torch.softmax(bound[scores].double() + (bound[mask].double() - 1) * 3e4, dim=-1)
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)
