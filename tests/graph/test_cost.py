"""`cost`: against closed forms, torch's counter of operations, and the cost of inlined modules."""

from __future__ import annotations

import pytest
import sympy
import torch
from torch.utils.flop_counter import FlopCounterMode

import scrub as rc
from scrub.graph import FUNCTIONS, I, Scatter, Total, cost
from scrub.graph.contract import contraction_flops
from scrub.graph.conv import Conv
from scrub.graph.cost import amount
from scrub.rewrite import substitute_all_modules
from tests.models.attn_oracle import make
from tests.strategies import Builder, num_modules


def array(*shape: int, dtype: torch.dtype = torch.float32, name: str | None = None) -> rc.Array:
    return rc.Array(torch.ones(shape).to(dtype), name)


def by_torch(expr: rc.Expr) -> int:
    """What torch counts while the expression is evaluated: products of matrices and convolutions."""
    with FlopCounterMode(display=False) as counter:
        expr.evaluate()
    return counter.get_total_flops()


PRODUCTS = [
    ("ab,bc->ac", [(2, 3), (3, 5)]),
    ("ab,bc,cd->ad", [(2, 30), (30, 5), (5, 7)]),
    ("ab,bc,cd,de->ae", [(20, 3), (3, 40), (40, 5), (5, 2)]),
    ("hqd,hkd->hqk", [(4, 6, 5), (4, 7, 5)]),
    ("bsd,hde->bhse", [(2, 6, 8), (4, 8, 3)]),
    ("ab,ab->", [(3, 4), (3, 4)]),
]


@pytest.mark.parametrize(("spec", "shapes"), PRODUCTS)
def test_products_count_as_in_torch(spec: str, shapes: list[tuple[int, ...]]) -> None:
    expr = rc.Einsum.from_string(spec, *(array(*shape, name=f"x{i}") for i, shape in enumerate(shapes)))
    assert expr.flops() == cost(expr).total.flops == by_torch(expr) > 0


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding"),
    [((9, 2), (3, 2, 4), 1, 0), ((8, 9, 3), (3, 2, 3, 5), 2, 1), ((4, 5, 6, 1), (2, 2, 2, 1, 3), 1, 0)],
)
def test_convolutions_count_as_in_torch(
    shape: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: int
) -> None:
    expr = Conv(array(*shape), array(*kernel), stride, padding)
    assert cost(expr).total.flops == by_torch(expr) > 0


X = array(2, 3, name="x")


@pytest.mark.parametrize(
    ("expr", "flops"),
    [
        (rc.Add(X, array(3), array(2, 1)), 12),
        (rc.Add(X), 0),
        (rc.Add(), 0),
        (rc.elementwise("tanh", X), 6),
        (rc.softmax(X), 18),
        (rc.log_softmax(X), 18),
        (rc.GeneralFunction(X, spec=FUNCTIONS["max"]()), 6),
        (rc.GeneralFunction(X, X, spec=FUNCTIONS["pow"]()), 6),
        (rc.cast_to(X, torch.float64), 0),
        (rc.GeneralFunction.gen_index(X, array(5, dtype=torch.int64), 0), 0),
        (X.sum(), 6),
        (X.mul(X), 6),
        (X.scale(2.0), 6),
        (rc.Einsum((X, (0, 1)), out_axes=(1, 0)), 0),
        (rc.Einsum((array(3, 3), (0, 0)), out_axes=(0,)), 0),
        (rc.Einsum((array(3, 3), (0, 0)), out_axes=()), 3),
        (rc.Einsum((array(3), (0,)), out_axes=(0, 0)), 0),
        (rc.Einsum(out_axes=()), 0),
        (rc.Einsum((X, (0, 1)), (rc.Scalar(2.0), ()), (rc.Scalar(3.0), ()), out_axes=(0, 1)), 7),
        (rc.Rearrange(X, "a b -> b a 7"), 0),
        (rc.Index(X, I[0]), 0),
        (rc.Concat(X, X, axis=0), 0),
        (Scatter(X, I[0:2], (4, 3)), 0),
        (rc.Tag.new_from_name(X, "t"), 0),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_operations_of_each_type_in_closed_form(expr: rc.Expr, flops: int) -> None:
    assert cost(expr).total.flops == expr.flops() == flops


def test_the_path_of_contraction_is_the_cheap_one() -> None:
    shapes = [(1000, 2), (2, 1000), (1000, 2)]
    expr = rc.Einsum.from_string("ab,bc,cd->ad", *(array(*shape) for shape in shapes))
    assert expr.flops() == 2 * (2 * 1000 * 2) + 2 * (1000 * 2 * 2) < 2 * 1000 * 2 * 1000


def test_a_shared_node_and_an_array_under_two_names_count_once() -> None:
    shared = rc.elementwise("exp", X)
    expr = rc.Add(rc.Add(shared, shared), rc.Array(X.value, "y"))
    total = expr.cost().total
    assert total == Total(flops=6 + 6 + 6, value_bytes=3 * 6 * 4, num_parameters=6, parameter_bytes=24)


def test_totals_by_name_dtype_and_device() -> None:
    tokens = array(5, dtype=torch.int64, name="tokens")
    table = array(7, 3, dtype=torch.float16, name="table")
    embedded = rc.GeneralFunction.gen_index(table, tokens, 0, name="embedded")
    wide = rc.cast_to(embedded, torch.float64, name="wide")
    result = cost(rc.elementwise("exp", rc.elementwise("exp", wide, name="e"), name="e"))
    assert result.by_dtype == {
        "float16": Total(0, 30, 21, 42),
        "int64": Total(0, 0, 5, 40),
        "float64": Total(30, 3 * 120, 0, 0),
    }
    assert result.by_name["e"] == Total(30, 240)
    assert result.by_device == {"cpu": result.total}
    on_meta = cost(rc.Array(torch.empty(10**6, 10**6, device="meta")))
    assert on_meta.by_device["meta"].parameter_bytes == 4 * 10**12


def test_the_table_shows_the_largest_nodes_first() -> None:
    big = rc.Einsum.from_string("ab,bc->ac", array(200, 300), array(300, 500), name="big")
    result = cost(rc.elementwise("exp", big, name="after"))
    lines = str(result).splitlines()
    assert lines[0] == "60.10 M operations, 800.00 kB of values, 210.00 k parameters in 840.00 kB"
    assert lines[-4].split() == ["60.00", "M", "100%", "400.00", "k", "1", "'big'", "[200,", "500]", "Einsum"]
    assert [row.node.name for row in result.rows[:2]] == ["big", "after"]
    assert result.table(num_rows=1).splitlines()[-1] == "... and 3 more nodes"


# ---- modules ---------------------------------------------------------------------------------------------------------


def call(spec: rc.ModuleSpec, **args: rc.Expr) -> rc.Module:
    return rc.Module(spec, None, **args)


def test_4_2_a_body_counts_for_every_call_on_the_batch_that_it_brings() -> None:
    x, w = rc.Symbol.new_from_name((3,), "x"), array(3, 4)
    constant = rc.elementwise("exp", w, name="constant")
    body = rc.Einsum.from_string("a,ab->b", x, constant, name="product")
    spec = rc.ModuleSpec(body, [x])
    result = cost(rc.Concat(call(spec, x=array(5, 3)), call(spec, x=array(2, 3)), axis=0))
    assert result.by_name["product"].flops == 7 * (2 * 3 * 4)
    assert result.by_name["constant"].flops == 12  # it uses no parameter, so that all calls share it
    row = next(row for row in result.rows if row.node is body)
    assert (row.num_calls, row.bytes) == (2, 7 * 4 * 4)
    assert list(row.dtypes) == [torch.float32]  # though the parameter has none in the body


def test_4_2_batch_axes_of_nested_calls_multiply_and_shared_ones_do_not() -> None:
    """The inner call brings 5; the outer brings 7 to one argument; then both arguments bring the same 7."""
    a, b = rc.Symbol.new_from_name((2,), "a"), rc.Symbol.new_from_name((2,), "b")
    inner = rc.ModuleSpec(rc.Add(a, b, name="sum"), [a, b])
    p, q = rc.Symbol.new_from_name((5, 2), "p"), rc.Symbol.new_from_name((2,), "q")
    outer = rc.ModuleSpec(call(inner, a=p, b=rc.elementwise("exp", q, name="exp")), [p, q])
    one = cost(call(outer, p=array(5, 2), q=array(7, 2)))
    assert (one.by_name["sum"].flops, one.by_name["exp"].flops) == (7 * 5 * 2, 7 * 2)
    both = cost(call(outer, p=array(7, 5, 2), q=array(7, 2)))
    assert (both.by_name["sum"].flops, both.by_name["exp"].flops) == (7 * 5 * 2, 7 * 2)


def test_an_einsum_is_counted_on_the_path_it_takes_when_batched() -> None:
    """Of a product of three matrices only the last is batched: the first two are multiplied once, before it."""
    x = rc.Symbol.new_from_name((4, 1), "x")
    body = rc.Einsum.from_string("ab,bc,cd->ad", array(3, 50), array(50, 4), x, name="three")
    expr = call(rc.ModuleSpec(body, [x]), x=array(100, 4, 1))
    assert body.flops() == 2 * 50 * 4 + 2 * 3 * 50
    assert cost(expr).total.flops == 2 * 3 * 50 * 4 + 100 * 2 * 3 * 4 == cost(substitute_all_modules(expr)).total.flops


def test_a_lowered_model_costs_what_it_costs_inlined() -> None:
    sizes = {"seq_len": 5, "n_ctx": 7, "n_layers": 3, "n_heads": 4, "d_model": 8, "d_head": 5, "d_vocab": 11}
    model = make(seed=0, dtype=torch.float32, **sizes).model
    total = cost(model).total
    assert total == cost(substitute_all_modules(model)).total
    layers, heads, seq, d_model, d_head = 3, 4, 5, 8, 5
    projections = layers * heads * 4 * 2 * seq * d_model * d_head
    attention = layers * heads * 2 * 2 * seq * seq * d_head
    logits = 2 * seq * d_model * 11
    assert projections + attention + logits < total.flops < 1.5 * (projections + attention + logits)
    assert cost(model).by_name["a.q"].flops == projections // 4


def test_generated_modules_cost_what_they_cost_inlined() -> None:
    """Never less; more only where inlining makes calls share what they are given the same argument for."""
    num_equal = num_cases = 0
    for seed in range(200):
        expr = Builder(seed, 7, True).expression([], 0)
        if not num_modules(expr):
            continue
        called, inlined = cost(expr).total, cost(substitute_all_modules(expr)).total
        assert called.flops >= inlined.flops, seed
        num_cases += 1
        num_equal += called.flops == inlined.flops
    assert num_cases > 100
    assert num_equal > 0.7 * num_cases


def test_calls_without_number_and_deep_chains_are_counted_at_once() -> None:
    x = rc.Symbol.new_from_name((3,), "x")
    body: rc.Expr = rc.elementwise("tanh", x, name="tanh")
    for level in range(60):
        p = rc.Symbol.new_from_name((3,), f"p{level}")
        spec = rc.ModuleSpec(body, [x if level == 0 else rc.Symbol.new_from_name((3,), f"p{level - 1}")])
        name = str(spec.symbols[0].name)
        once = rc.Module(spec, None, **{name: p})
        body = rc.Module(spec, None, **{name: once})
    total = cost(rc.Module(rc.ModuleSpec(body, [rc.Symbol.new_from_name((3,), "p59")]), None, p59=array(3)))
    assert total.by_name["tanh"].flops == 3 * 2**60
    chain: rc.Expr = X
    for _ in range(10_000):
        chain = rc.Add(chain, X)
    assert cost(chain).total.flops == 60_000
    assert "... and 9981 more nodes" in str(cost(chain))


def test_bodies_nested_a_thousand_deep() -> None:
    body: rc.Expr = rc.elementwise("exp", rc.Symbol.new_from_name((3,), "p0"), name="exp")
    for level in range(1000):
        symbol, outer = (rc.Symbol.new_from_name((3,), f"p{level + i}") for i in range(2))
        body = rc.Module(rc.ModuleSpec(body, [symbol]), None, **{str(symbol.name): rc.elementwise("tanh", outer)})
    expr = rc.Module(rc.ModuleSpec(body, [rc.Symbol.new_from_name((3,), "p1000")]), None, p1000=array(7, 3))
    assert cost(expr).total.flops == 1001 * 21


def test_random_and_unbound_expressions_have_a_cost_too() -> None:
    dice = rc.DiscreteVar(array(6, 2), name="dice")
    symbol = rc.Symbol.new_from_name((2,), "s")
    result = cost(rc.Add(dice, symbol, name="total"))
    assert result.by_name["total"] == Total(2, 8)
    assert "s" not in result.by_name


def test_symbolic_sizes_give_expressions() -> None:
    n, m = sympy.symbols("n m", positive=True, integer=True)
    flops = contraction_flops([(n, 3), (3, m), (m,)], [(0, 1), (1, 2), (2,)], (0,))
    assert flops == 6 * n * m + 2 * n * m  # from left to right
    assert amount(flops) == "8*m*n "
