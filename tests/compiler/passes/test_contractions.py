"""Contractions cost what the best order costs, are of two arguments at most, and are computed rightly."""

from __future__ import annotations

import functools
import math
import random as python_random
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch

import scrub as rc
from scrub.compiler.emit import emit
from scrub.compiler.ops import Contract, Input, Sum
from scrub.compiler.passes import ALL_PASSES, PASSES, order_contractions
from scrub.compiler.values import DRAWS, Axis, Graph, Value, values_below
from tests.compiler.cases import cases, check_case, generated
from tests.compiler.passes.lowered import Lowered, array, random, symbol
from tests.compiler.passes.test_simplify import check_on_shipped_model
from tests.steps import num_steps

PASS = "contractions"
CPU = torch.device("cpu")


def _contractions(lowered: Lowered) -> list[Value]:
    return [value for value in values_below(lowered.outputs) if isinstance(value.op, Contract)]


def _sizes(value: Value) -> dict[int, int]:
    """Of all letters of a contraction without batch axes."""
    op = value.op
    assert isinstance(op, Contract)
    pairs = (pair for own, arg in zip(op.ins, value.args, strict=True) for pair in zip(own, arg.shape, strict=True))
    return dict(pairs)


def _chain(sizes: Sequence[int]) -> tuple[rc.Expr, dict[rc.Symbol, torch.Tensor]]:
    """One product of matrices of sizes[i] rows and sizes[i + 1] columns."""
    factors = [symbol(f"m{i}", *shape) for i, shape in enumerate(pairwise(sizes))]
    operands = [(factor, (i, i + 1)) for i, factor in enumerate(factors)]
    bound = {factor: random(*factor.shape, seed=i) for i, factor in enumerate(factors)}  # type: ignore[arg-type]
    return rc.Einsum(*operands, out_axes=(0, len(factors))), bound


def _least_multiplications(sizes: Sequence[int]) -> int:
    """Of a chain of matrices, by the recursion of Godbole 1973."""

    @functools.cache
    def least(i: int, j: int) -> int:
        return min((least(i, k) + least(k, j) + sizes[i] * sizes[k] * sizes[j] for k in range(i + 1, j)), default=0)

    return least(0, len(sizes) - 1)


@pytest.mark.parametrize("seed", range(25))
def test_a_chain_of_matrices_is_multiplied_in_the_best_order(seed: int) -> None:
    chance = python_random.Random(seed)
    sizes = [chance.choice([1, 2, 3, 5, 8, 13, 21]) for _ in range(chance.choice([4, 5]))]
    expr, bound = _chain(sizes)
    found = Lowered(expr, (PASS,))
    assert all(len(value.args) == 2 for value in _contractions(found))
    multiplications = [math.prod(_sizes(value).values()) for value in _contractions(found)]
    assert sum(multiplications) == _least_multiplications(sizes)
    torch.testing.assert_close(found.run(bound)[0], torch.linalg.multi_dot(list(bound.values())), rtol=1e-12, atol=1e-9)


def _heads(num_heads: int, seq: int, d_model: int, d_head: int) -> tuple[rc.Expr, rc.Symbol]:
    """What heads write, [heads, seq, d_model], of what they attend to."""
    z, w, attended = symbol("z", seq, d_head), symbol("w", d_head, d_model), symbol("attended", num_heads, seq, d_head)
    spec = rc.ModuleSpec(rc.Einsum.from_string("q e, e d -> q d", z, w), [z, w])
    return rc.Module(spec, "heads", z=attended, w=array(num_heads, d_head, d_model)), attended


@pytest.mark.parametrize("drawn", [False, True])
def test_the_sum_over_heads_is_one_product_of_matrices(drawn: bool) -> None:
    heads, attended = _heads(6, 5, 16, 4)
    found = Lowered(rc.Einsum.from_string("h q d -> q d", heads), ("simplify", PASS), drawn=[attended] if drawn else [])
    assert [(len(v.args), len(v.op.reduced)) for v in _contractions(found)] == [(2, 1)]  # type: ignore[attr-defined]
    assert max(v.numel for v in values_below(found.outputs) if v.args) < 6 * 5 * 16
    z = random(*((3,) if drawn else ()), 6, 5, 4)
    weight = array(6, 4, 16).value
    torch.testing.assert_close(found.run({attended: z})[0], torch.einsum("...hqe,hed->...qd", z, weight))


def test_what_is_needed_for_itself_is_not_merged() -> None:
    heads, _ = _heads(6, 5, 16, 4)
    found = Lowered([rc.Einsum.from_string("h q d -> q d", heads), heads], ("simplify", PASS))
    assert sorted(len(v.args) for v in _contractions(found)) == [1, 2]


def test_products_of_weights_are_not_formed_where_that_costs_more() -> None:
    x, w_q, w_k = symbol("x", 10, 64), array(64, 8), array(64, 8, seed=1)
    q, k = (rc.Einsum.from_string("s d, d e -> s e", x, w) for w in (w_q, w_k))
    scores = rc.Einsum.from_string("q e, k e -> q k", q, k)
    at_once = rc.Einsum.from_string("q d, d e, f e, k f -> q k", x, w_q, w_k, x)
    for expr in (scores, at_once):
        found = Lowered(expr, (PASS,))
        assert max(v.numel for v in _contractions(found)) == 10 * 10
        x_value = random(10, 64)
        want = x_value @ w_q.value @ w_k.value.T @ x_value.T
        torch.testing.assert_close(found.run({x: x_value})[0], want)


def test_elementwise_products_stay_elementwise() -> None:
    x, scale = symbol("x", 7, 16), symbol("scale", 7)
    found = Lowered(rc.Einsum.from_string("s d, s, d -> s d", x, scale, array(16)), (PASS,))
    assert [len(value.args) for value in _contractions(found)] == [2, 2]
    assert sum(value.op.flops(value) for value in _contractions(found)) == 2 * 7 * 16


def test_a_number_goes_into_the_sum() -> None:
    x, mask = symbol("x", 4, 3), symbol("mask", 4, 4)
    scores = rc.Einsum.from_string("q e, k e, -> q k", x, x, rc.Scalar(0.5)).add(mask)
    found = Lowered(scores, (PASS,))
    assert [op.scale for op in found.ops(Contract)] == [1.0]
    assert [sorted(op.coefficients) for op in found.ops(Sum)] == [[0.5, 1.0]]
    bound = {x: random(4, 3), mask: random(4, 4, seed=1)}
    torch.testing.assert_close(found.run(bound)[0], 0.5 * bound[x] @ bound[x].T + bound[mask])


def test_half_precision_is_scaled_before_it_is_summed() -> None:
    x, y = symbol("x", 2, 1000), symbol("y", 2)
    mean_square = rc.Einsum.from_string("s d, s d, -> s", x, x, rc.Scalar(0.001))
    bound = {x: torch.full((2, 1000), 20.0, dtype=torch.float16), y: torch.ones(2, dtype=torch.float16)}
    found = Lowered(mean_square.add(y), tuple(PASSES), dtypes=dict.fromkeys(bound, torch.float16))
    in_order = [bound[s] for s in found.symbols]
    (got,) = emit(found.outputs, found.inputs)(*in_order)
    torch.testing.assert_close(got, torch.full((2,), 401.0, dtype=torch.float16), rtol=2e-3, atol=0.0)


def test_integers_are_left_as_they_are() -> None:
    parts = [rc.Array(torch.arange(4).reshape(2, 2) + i) for i in range(3)]
    expr = rc.Einsum.from_string("a b, b c, c d -> a d", *parts)
    assert [len(value.args) for value in _contractions(Lowered(expr, (PASS,)))] == [3]


def test_values_stay_and_the_pass_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[bool] = []

    def observed(graph: Graph, outputs: list[Value]) -> list[Value]:
        new = order_contractions(graph, outputs)
        for old, made in zip(outputs, new, strict=True):
            assert (old.axes, old.shape, old.dtype) == (made.axes, made.shape, made.dtype)
        changes.append(new != list(outputs))
        for _ in range(3):
            again, new = new, order_contractions(graph, new)
        assert again == new
        return new

    monkeypatch.setitem(PASSES, PASS, observed)
    for case in cases(0, 250):
        check_case(case, ("simplify", PASS))
    assert sum(changes) >= 15


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_shipped_model_keeps_its_values(dtype: torch.dtype) -> None:
    check_on_shipped_model(PASS, dtype)


def test_cost_is_linear() -> None:
    def steps(count: int) -> int:
        total: rc.Expr = symbol("x", 3, 4)
        for i in range(count):
            total = rc.Einsum.from_string("a b, b c, c -> a c", total, array(4, 4, seed=i), array(4, seed=i))
        before = Lowered(total, ())
        return num_steps(lambda: order_contractions(Graph(), before.outputs))

    steps(20)
    few, many = steps(60), steps(120)
    assert many <= 2.3 * few


class _Random:
    """A contraction of one or two tensors with batch axes, of any memory layout."""

    def __init__(self, seed: int) -> None:
        chance = python_random.Random(seed)
        self.sizes = {letter: chance.choice([1, 2, 3]) for letter in range(6)}
        self.draws = chance.choice([0, 1, 4])
        axes = [DRAWS, Axis(1, chance.choice([1, 2, 3])), Axis(2, chance.choice([2, 3]))]
        self.graph, self.values, self.tensors = Graph(), [], []
        ins = [tuple(chance.sample(range(6), chance.randint(0, 3))) for _ in range(chance.choice([1, 2, 2, 2]))]
        self.dtype = chance.choice([torch.float64, torch.float64, torch.bfloat16])
        for i, letters in enumerate(ins):
            self._operand(chance, f"{seed} {i}", letters, [axis for axis in axes if chance.random() < 0.5])
        letters = sorted({letter for own in ins for letter in own})
        chance.shuffle(letters)
        out = tuple(letter for letter in letters if chance.random() < 0.5)
        present = sorted({axis for value in self.values for axis in value.axes if axis.size is not None})
        reduced = tuple(axis for axis in present if chance.random() < 0.4)
        op = Contract(tuple(ins), out, chance.choice([1.0, 0.5]), reduced)
        self.value = self.graph.value(op, *self.values)
        in_texts = ["".join(map(_letter, (*v.axes, *own))) for v, own in zip(self.values, ins, strict=True)]
        self.equation = ",".join(in_texts) + "->" + "".join(map(_letter, (*self.value.axes, *out)))

    def _operand(self, chance: python_random.Random, key: str, letters: Sequence[int], axes: list[Axis]) -> None:
        core = tuple(self.sizes[letter] for letter in letters)
        full = [*(self.draws if axis.size is None else axis.size for axis in axes), *core]
        order = list(range(len(full)))
        chance.shuffle(order)
        generator = torch.Generator().manual_seed(chance.randrange(2**31))
        stored = torch.randn([full[i] for i in order], generator=generator, dtype=torch.float64).to(self.dtype)
        self.tensors.append(stored.permute([order.index(i) for i in range(len(full))]))
        op = Input(key, core, self.dtype, CPU, is_drawn=False)
        self.values.append(Value(op, (), tuple(axes), core, self.dtype, CPU))


def _letter(axis: Axis | int) -> str:
    return chr(ord("a") + axis) if isinstance(axis, int) else chr(ord("A") + axis.order)


def test_contractions_of_any_layout_are_computed_rightly() -> None:
    called: set[str] = set()
    for seed in range(1_000):
        made = _Random(seed)
        module = emit([made.value], made.values)
        called |= {node.target.__name__ for node in module.graph.nodes if node.op == "call_function"}  # type: ignore[union-attr]
        (got,) = module(*made.tensors)
        want = torch.einsum(made.equation, *(t.double() for t in made.tensors)) * made.value.op.scale  # type: ignore[attr-defined]
        assert (got.dtype, got.shape) == (made.dtype, want.shape)
        tolerance = 1e-12 if made.dtype == torch.float64 else 0.04
        torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance * 3, msg=made.equation)
    assert called >= {"matmul", "mul", "sum", "einsum", "product_of_matrices", "permute"}


@pytest.mark.parametrize("seed", [12096, 30856])
def test_what_has_batch_axes_alone_is_merged_with_what_has_axes_of_its_own(seed: int) -> None:
    case = generated(seed)  # a letter for a merged axis was taken for that of a batch axis
    assert case is not None
    check_case(case, ALL_PASSES)
    check_case(case, ("simplify", "contractions"))
