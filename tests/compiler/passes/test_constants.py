"""What depends on constants alone is computed once where that is cheap to keep, and weights are never copied."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub.compiler.ops import Constant, Contract, Fill, Joined, OnDiagonal, Run, Stacked, Sum, ToBatch
from scrub.compiler.passes import PASSES, fold_constants
from scrub.compiler.passes.constants import SMALL_BYTES
from scrub.compiler.values import Axis, Graph, Value, values_below
from tests.compiler.cases import cases, check_case
from tests.compiler.passes.lowered import Lowered, array, random, symbol
from tests.compiler.passes.test_simplify import check_on_shipped_model
from tests.steps import num_steps

PASS = "constants"
AXIS = Axis(7, 3)


def _tensors(lowered: Lowered) -> list[torch.Tensor]:
    return [op.tensor for op in lowered.ops(Constant)]


def _is_within(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    return tensor.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _constant(graph: Graph, tensor: torch.Tensor, digest: str) -> Value:
    return graph.value(Constant(digest, tensor.device, tensor))


def test_parts_of_weights_are_views() -> None:
    x, weights = symbol("x", 4), array(3, 4, 5)
    split = [rc.Einsum.from_string("d, d e -> e", x, weights.index(rc.I[head])) for head in range(3)]
    turned = rc.Einsum.from_string("a, a -> ", x, rc.Rearrange(weights, "h d e -> e (h d)").index(rc.I[1, 4:8]))
    found = Lowered([*split, turned], (PASS,))
    picked = [tensor for tensor in _tensors(found) if tensor.shape == (4, 5)]
    assert [tensor.data_ptr() for tensor in picked] == [weights.value[head].data_ptr() for head in range(3)]
    bound = {x: random(4)}
    want = [bound[x] @ weights.value[head] for head in range(3)]
    for got, expected in zip(found.run(bound), want, strict=False):
        torch.testing.assert_close(got, expected)


def test_equal_views_are_one() -> None:
    x, weights = symbol("x", 4), array(3, 4, 5)
    one = weights.index(rc.I[1:]).index(rc.I[0])
    other = weights.index(rc.I[:, 0:4]).index(rc.I[1])
    found = Lowered([rc.Einsum.from_string("d, d e -> e", x, part) for part in (one, other)], (PASS,))
    assert found.outputs[0] is found.outputs[1]


@pytest.mark.parametrize("picked", [[0, 1, 2], [0, 2, 4], [1, 2, 3]])
def test_parts_side_by_side_are_the_whole_again(picked: list[int]) -> None:
    whole = random(5, 2, 3)
    for parts in ([whole[i] for i in picked], [whole[i].T for i in picked], [whole[:, 1][i] for i in picked]):
        graph = Graph()
        stacked = graph.value(
            Stacked(AXIS, (Run(),) * 3), *(_constant(graph, part, str(i)) for i, part in enumerate(parts))
        )
        (result,) = fold_constants(graph, [graph.value(Sum((1.0,), 1.0), stacked)])
        (made,) = result.args
        assert (made.op, made.axes, made.shape) == (ToBatch(AXIS), (AXIS,), tuple(parts[0].shape))
        tensor = made.args[0].op.tensor  # type: ignore[attr-defined]
        assert _is_within(tensor, whole)
        assert torch.equal(tensor, torch.stack(parts))


@pytest.mark.parametrize("order", [[0, 2, 1], [2, 1, 0], [0, 0, 0], [0, 1, 3]])
def test_parts_that_lie_otherwise_are_not_taken_for_a_view(order: list[int]) -> None:
    whole = random(4, 2)
    graph = Graph()
    parts = [_constant(graph, whole[i], str(i)) for i in order]
    (result,) = fold_constants(graph, [graph.value(Sum((2.0,)), graph.value(Stacked(AXIS, (Run(),) * 3), *parts))])
    (made,) = [v.op.tensor for v in values_below([result]) if isinstance(v.op, Constant)]
    assert torch.equal(made, whole[order])
    assert _is_within(made, whole) == (len(set(order)) == 1)


def test_joined_parts_are_a_view() -> None:
    x, whole = symbol("x", 6, 4), random(8, 4)
    parts = [rc.Array(whole[1:3]), rc.Array(whole[3:4]), rc.Array(whole[4:7])]
    found = Lowered(x.mul(rc.Concat(*parts, axis=0)), (PASS,))
    assert found.count(Joined) == 0
    assert all(_is_within(tensor, whole) for tensor in _tensors(found))
    (got,) = found.run({x: torch.ones(6, 4, dtype=torch.float64)})
    assert torch.equal(got, whole[1:7])
    gaps = rc.Concat(rc.Array(whole[1:3]), rc.Array(whole[4:7]), axis=0)
    assert torch.equal(Lowered(symbol("y", 5, 4).mul(gaps), (PASS,)).ops(Constant)[0].tensor, whole[[1, 2, 4, 5, 6]])


def test_small_results_are_kept() -> None:
    x, bias, other = symbol("x", 3, 4), array(4), array(4, seed=1)
    mask = rc.Array(torch.ones(3, 3, dtype=torch.float64).triu(1))
    found = Lowered([x.add(bias.add(other.scale(2.0))), rc.Concat(mask.scale(-1e9), x, axis=1)], (PASS,))
    assert len(_tensors(found)) == 2
    assert found.count(Sum) == 1
    assert found.count(Contract) == 0
    x_value = random(3, 4)
    first, second = found.run({x: x_value})
    torch.testing.assert_close(first, x_value + bias.value + 2 * other.value)
    torch.testing.assert_close(second, torch.cat([-1e9 * mask.value, x_value], 1))


def test_products_of_weights_are_not_formed() -> None:
    x = symbol("x", 2, 256)
    w_q, w_k = array(256, 32), array(256, 32, seed=1)
    product = rc.Einsum.from_string("a e, b e -> a b", w_q, w_k)
    found = Lowered(rc.Einsum.from_string("s a, a b -> s b", x, product), (PASS,))
    assert sorted(tensor.numel() for tensor in _tensors(found)) == [256 * 32] * 2
    scaled = Lowered(rc.Einsum.from_string("s a, a b -> s b", x, array(256, 256).scale(0.5)), (PASS,))
    (weight,) = _tensors(scaled)
    assert torch.equal(weight, array(256, 256).value)  # not its half, which would take as much again


def test_what_is_kept_is_a_small_part_of_all() -> None:
    x, number = symbol("x", 64, 64), 100
    nbytes = 64 * 64 * 8
    assert nbytes <= SMALL_BYTES
    found = Lowered([x.mul(array(64, 64, seed=seed).scale(2.0)) for seed in range(number)], (PASS,))
    num_kept = 2 * number - found.count(Contract)  # each saves one of the two products
    assert len(_tensors(found)) == number
    assert 0 < num_kept * nbytes <= 1 << 20 < number * nbytes


def test_runs_side_by_side_are_the_whole_again() -> None:
    whole = random(5, 2)
    graph = Graph()
    other, axis = Axis(3, 4), Axis(8, 4)
    heads = graph.value(ToBatch(other), _constant(graph, whole[:4], "first four"))
    runs = (Run(other, 1, 3), Run())
    stacked = graph.value(Stacked(axis, runs), heads, _constant(graph, whole[4], "fifth"))
    (result,) = fold_constants(graph, [graph.value(Sum((1.0,), 1.0), stacked)])
    (made,) = [v.op.tensor for v in values_below([result]) if isinstance(v.op, Constant)]
    assert _is_within(made, whole)
    assert torch.equal(made, whole[1:])


def test_numbers_alone_keep_no_dtype() -> None:
    graph = Graph()
    identity = graph.value(OnDiagonal((0,), (0, 0)), graph.value(Fill(2.0, (3,))))
    (result,) = fold_constants(graph, [graph.value(Sum((1.0, 1.0)), identity, identity)])
    assert result.dtype is None
    row = _constant(graph, torch.ones(3, dtype=torch.float32), "row")
    (mixed,) = fold_constants(graph, [graph.value(Sum((2.0,)), graph.value(Sum((1.0, 1.0)), identity, row))])
    (made,) = [v.op.tensor for v in values_below([mixed]) if isinstance(v.op, Constant)]
    assert made.dtype == mixed.dtype == torch.float32
    assert torch.equal(made, 2 * torch.eye(3) + 1)


def test_digests_tell_computations_and_are_the_same_every_time() -> None:
    def digests(factor: float) -> list[str]:
        x = symbol("x", 3)
        found = Lowered([x.mul(array(3).scale(factor)), x.mul(array(4, 3).index(rc.I[2]))], (PASS,))
        return [op.digest for op in found.ops(Constant)]

    assert digests(2.0) == digests(2.0)
    assert set(digests(2.0)).isdisjoint(digests(3.0)[:1])
    assert len(set(digests(2.0))) == 2


def test_results_that_are_asked_for_are_not_held() -> None:
    expr = array(3).scale(2.0)
    found = Lowered(expr, (PASS,))
    assert found.count(Contract) == 1


def test_dear_work_is_left_for_the_run() -> None:
    big = array(400, 400)
    total = rc.Einsum.from_string("a b, b c, c d -> ", big, big, big)
    found = Lowered(symbol("x").mul(total), (PASS,))
    assert found.count(Contract) == 2


def test_values_stay_and_the_pass_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[bool] = []

    def observed(graph: Graph, outputs: list[Value]) -> list[Value]:
        new = fold_constants(graph, outputs)
        for old, made in zip(outputs, new, strict=True):
            assert (old.axes, old.shape, old.dtype) == (made.axes, made.shape, made.dtype)
        changes.append(new != list(outputs))
        for _ in range(3):
            again, new = new, fold_constants(graph, new)
        assert again == new
        return new

    monkeypatch.setitem(PASSES, PASS, observed)
    for case in cases(0, 250):
        check_case(case, (PASS,))
    assert sum(changes) >= 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_shipped_model_keeps_its_values(dtype: torch.dtype) -> None:
    check_on_shipped_model(PASS, dtype)


def test_gradients_can_go_through_what_was_kept_in_inference_mode() -> None:
    x = symbol("x", 3)
    with torch.inference_mode():
        found = Lowered(x.mul(array(3).scale(2.0)), (PASS,))
    value = random(3).requires_grad_()
    found.run({x: value})[0].sum().backward()
    torch.testing.assert_close(value.grad, 2 * array(3).value)


def test_cost_is_linear() -> None:
    def steps(count: int) -> int:
        total: rc.Expr = symbol("x", 3, 4)
        part: rc.Expr = array(3, 4)
        for i in range(count):
            part = part.add(array(4, seed=i)).index(rc.I[0:3])
            total = total.mul(part)
        before = Lowered(total, ())
        return num_steps(lambda: fold_constants(Graph(), before.outputs))

    steps(20)
    few, many = steps(60), steps(120)
    assert many <= 2.3 * few
