"""Siblings are computed together: what belongs together, and that values stay what they are."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
import torch

import scrub as rc
from scrub.compiler import compile as compile_expr
from scrub.compiler.lowering import Lowering
from scrub.compiler.ops import Apply, Contract, Input, Sibling, Stacked
from scrub.compiler.passes import ALL_PASSES, siblings
from scrub.compiler.passes.siblings import batch_siblings
from scrub.compiler.values import Graph, Value, values_below
from tests.compiler.transformers import Shape, lowered, random_model, symbol_named
from tests.steps import num_steps

SHAPES = {
    "gpt2": Shape("gpt2", 3, 4, 4, 16, 8, 32, 11, 5),
    "llama": Shape("llama", 2, 4, 2, 16, 8, 32, 11, 5),
}


def _array(name: str, *shape: int) -> rc.Array:
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    return rc.Array(torch.randn(shape, generator=generator, dtype=torch.float64), name)


def _model(shape: Shape, *, split: bool = False) -> rc.Expr:
    return lowered(random_model(shape, std=0.3), shape.seq, split=split)


def _together(exprs: Sequence[rc.Expr], symbols: Sequence[rc.Symbol]) -> tuple[list[Value], list[Value]]:
    """Lowered values before and after the pass."""
    graph = Graph()
    inputs: dict[rc.Expr, Value] = {
        s: graph.value(Input(s.digest, s.shape, torch.float64, torch.device("cpu"), is_drawn=False))  # type: ignore[arg-type]
        for s in symbols
    }
    lowering = Lowering(graph, inputs)
    lowered = [lowering.run(expr) for expr in exprs]
    return lowered, batch_siblings(graph, lowered)


def _counts(outputs: Sequence[Value]) -> Counter[str]:
    return Counter(type(value.op).__name__ for value in values_below(outputs))


def _run(exprs: Sequence[rc.Expr], bindings: dict[rc.Expr, torch.Tensor], *passes: str) -> list[torch.Tensor]:
    return compile_expr(exprs, passes=passes).run(bindings)


def _assert_equal(exprs: Sequence[rc.Expr], symbols: Sequence[rc.Symbol]) -> None:
    generator = torch.Generator().manual_seed(0)
    bindings = {s: torch.randn(s.shape, generator=generator, dtype=torch.float64) for s in symbols}  # type: ignore[arg-type]
    expected = rc.evaluate_many(exprs, bindings)
    for value, reference in zip(_run(exprs, dict(bindings), "siblings"), expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-11, atol=1e-11)


def _symbol(name: str, *shape: int) -> rc.Symbol:
    return rc.Symbol.new_from_name(shape, name)


@pytest.mark.parametrize("family", SHAPES)
def test_split_heads_take_as_many_products_as_whole_layers(family: str) -> None:
    model, split = (_model(SHAPES[family], split=is_split) for is_split in (False, True))
    symbols = list(model.free_symbols)
    before, after = _together([split], symbols)
    whole, _ = _together([model], symbols)
    assert _counts(before)["Contract"] > _counts(whole)["Contract"] + 4 * SHAPES[family].n_layers
    # the sum over heads of each layer is one more where heads were added up
    assert _counts(after)["Contract"] <= _counts(whole)["Contract"] + SHAPES[family].n_layers
    assert _counts(after)["Apply"] == _counts(whole)["Apply"]
    _assert_equal([split], symbols)


def test_heads_that_read_inputs_of_their_own_are_one_batch_too() -> None:
    inputs = [_symbol(f"x{h}", 5, 16) for h in range(4)]
    weights = _array("w", 4, 16, 8)
    heads = [rc.Einsum.from_string("s d, d e -> s e", x, weights.index((h,))) for h, x in enumerate(inputs)]
    _, after = _together(heads, inputs)
    assert _counts(after)["Contract"] == 1
    assert _counts(after)["Stacked"] == 1
    _assert_equal(heads, inputs)


def test_what_is_computed_of_positions_of_weights_is_computed_together() -> None:
    """The slope of each head times the positions of keys, as ALiBi adds it to scores."""
    x, weights, slopes, positions = _symbol("x", 5, 16), _array("w", 4, 16, 7), _array("slopes", 4), _array("at", 7)
    heads = [
        rc.Add(
            rc.Einsum.from_string("s d, d k -> s k", x, weights.index((h,))),
            rc.Einsum.from_string("k,  -> k", positions, slopes.index((h,))),
        )
        for h in range(4)
    ]
    before, after = _together(heads, [x])
    assert (_counts(before)["Contract"], _counts(before)["Sum"]) == (8, 4)
    assert (_counts(after)["Contract"], _counts(after)["Sum"]) == (2, 1)
    _assert_equal(heads, [x])


def test_one_model_on_several_inputs_is_one_batch() -> None:
    model = _model(SHAPES["gpt2"])
    x = symbol_named(model, "t.input")
    inputs = [x, *(rc.Symbol.new_from_name(x.shape, f"input{i}") for i in range(3))]
    rows = [model.update(x, lambda _, s=s: s, see_through=True, assert_any_found=False) for s in inputs]
    symbols = list(dict.fromkeys(s for row in rows for s in row.free_symbols))
    single, _ = _together(rows[:1], symbols)
    _, after = _together(rows, symbols)
    assert _counts(after)["Contract"] == _counts(single)["Contract"]
    _assert_equal(rows, symbols)


def test_variants_that_change_one_head_share_layers_above_it() -> None:
    shape = SHAPES["gpt2"]
    model = rc.substitute_all_modules(_model(shape, split=True))
    other = _symbol("other", shape.seq, shape.d_model)
    places = list(itertools.product(range(shape.n_layers), range(shape.n_heads)))
    rows = [model, *(model.update(f"a{layer}.h{h}", lambda _: other) for layer, h in places)]
    symbols = list(dict.fromkeys(s for row in rows for s in row.free_symbols))
    before, after = _together(rows, symbols)
    _, single = _together([model], symbols)
    matrix_products = [
        sum(len(v.args) == 2 for v in values_below(e) if isinstance(v.op, Contract)) for e in (before, after, single)
    ]
    assert matrix_products[0] > 8 * matrix_products[2]
    assert (
        matrix_products[1] <= 3 * matrix_products[2]
    )  # a layer for the model, for the variants of its heads, of others
    _assert_equal(rows, symbols)


def test_different_weights_are_not_put_side_by_side() -> None:
    x = _symbol("x", 5, 16)
    products = [rc.Einsum.from_string("s d, d e -> s e", x, _array(f"w{i}", 16, 8)) for i in range(3)]
    before, after = _together(products, [x])
    assert before == after


def test_what_lies_below_another_is_not_its_sibling() -> None:
    weights = _array("w", 3, 4, 4)
    x: rc.Expr = _symbol("x", 2, 4)
    layers: list[rc.Expr] = []
    for i in range(3):
        x = rc.Einsum.from_string("s d, d e -> s e", x, weights.index((i,)))
        layers.append(x)
    before, after = _together(layers, [_symbol("x", 2, 4)])
    assert before == after
    _assert_equal(layers, [_symbol("x", 2, 4)])


@pytest.mark.parametrize("heads", [(0, 1, 2, 3), (1, 2), (3, 1, 0), (0, 2), (2, 2, 1)])
def test_any_choice_of_heads(heads: tuple[int, ...]) -> None:
    x, w = _symbol("x", 5, 6), _array("w", 4, 6, 8)
    parts = [rc.softmax(rc.Einsum.from_string("s d, d e -> s e", x, w.index((h,)))) for h in heads]
    total = rc.Add(*parts, rc.Scalar(0.5))
    _, after = _together([total, *parts], [x])
    assert _counts(after)["Apply"] == 1
    _assert_equal([total, *parts], [x])


def test_heads_on_two_axes_are_one_batch() -> None:
    x, w = _symbol("x", 5, 6), _array("w", 2, 3, 6, 8)
    parts = [rc.Einsum.from_string("s d, d e -> s e", x, w.index(at)) for at in itertools.product(range(2), range(3))]
    _, after = _together(parts, [x])
    assert _counts(after)["Contract"] == 1
    assert _counts(after)["Stacked"] == 0
    _assert_equal(parts, [x])


def test_large_values_are_put_side_by_side_only_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = _symbol("x", 5, 6), _array("w", 7, 6, 8)
    parts = [rc.Einsum.from_string("s d, d e -> s e", x, w.index((h,))) for h in range(7)]
    monkeypatch.setattr(siblings, "GROUP_BYTES", 3 * 5 * 8 * 8)
    _, after = _together(parts, [x])
    assert _counts(after)["Contract"] == 3  # 3 + 3 + 1
    _assert_equal(parts, [x])


def test_leaving_one_out_sums_runs() -> None:
    x, w = _symbol("x", 5, 6), _array("w", 8, 6, 8)
    parts = [rc.Einsum.from_string("s d, d e -> s e", x, w.index((h,))) for h in range(8)]
    sums = [rc.Add(*(part for i, part in enumerate(parts) if i != left_out)) for left_out in range(8)]
    _, after = _together(sums, [x])
    summed = [value for value in values_below(after) if isinstance(value.op, Contract) and value.op.reduced]
    assert len(summed) >= 8
    _assert_equal(sums, [x])


def test_groups_of_other_orders_and_partial_groups_are_gathered() -> None:
    x, w, v = _symbol("x", 5, 6), _array("w", 4, 6, 6), _array("v", 4, 6, 6)
    first = [rc.softmax(rc.Einsum.from_string("s d, d e -> s e", x, w.index((h,)))) for h in range(4)]
    second = [rc.Einsum.from_string("s d, d e -> s e", first[h], v.index((i,))) for i, h in enumerate((2, 0, 1, 3))]
    third = [rc.Einsum.from_string("s e, s e -> s", second[i], first[i]) for i in range(4)]
    before, after = _together(third, [x])
    assert _counts(after)["Contract"] < _counts(before)["Contract"]
    assert any(isinstance(value.op, Stacked | Sibling) for value in values_below(after))
    _assert_equal(third, [x])


@pytest.mark.parametrize("passes", [("siblings",), ("siblings", "contractions"), ALL_PASSES])
def test_two_sums_over_as_many_heads_stay_two_sums(passes: tuple[str, ...]) -> None:
    x, w, v = _symbol("x", 5, 6), _array("w", 4, 6, 8), _array("v", 4, 6, 8)

    def heads(weights: rc.Expr) -> rc.Expr:
        return rc.Add(*(rc.Einsum.from_string("s d, d e -> s e", x, weights.index((h,))) for h in range(4)))

    product = rc.Einsum.from_string("s e, s e, s e -> s", heads(w), heads(v), heads(w))
    bound: dict[rc.Expr, torch.Tensor] = {x: torch.linspace(-1, 1, 30, dtype=torch.float64).reshape(5, 6)}
    whole = [torch.einsum("sd,hde->se", bound[x], weights.value) for weights in (w, v)]
    (found,) = _run([product], bound, *passes)
    torch.testing.assert_close(found, (whole[0] ** 2 * whole[1]).sum(-1), rtol=1e-11, atol=1e-11)


def test_groups_that_share_a_member() -> None:
    values = rc.Array(torch.arange(12.0, dtype=torch.float64).reshape(3, 4), "values")
    a, b = rc.DiscreteVar(values, name="a"), rc.DiscreteVar(values, name="b")
    c = rc.DiscreteVar(values, a.probs_and_group, name="c").scale(2.0)
    exprs = [a.add(a), b.add(c), a.mul(a), b.mul(c)]
    rows = {a.probs_and_group: torch.tensor([0, 2, 1, 1]), b.probs_and_group: torch.tensor([1, 1, 0, 2])}
    table, i, j = values.value, rows[a.probs_and_group], rows[b.probs_and_group]
    expected = [2 * table[i], table[j] + 2 * table[i], table[i] ** 2, table[j] * 2 * table[i]]
    found = compile_expr(exprs, passes=["siblings"]).run(rows)
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted)


def test_a_second_run_finds_nothing_new() -> None:
    model = _model(SHAPES["gpt2"], split=True)
    _, after = _together([model], list(model.free_symbols))
    again = batch_siblings(Graph(), after)
    assert _counts(again)["Contract"] == _counts(after)["Contract"]


def test_facts_are_kept() -> None:
    model = _model(SHAPES["gpt2"], split=True)
    for before, after in zip(*_together([model], list(model.free_symbols)), strict=True):
        assert (before.axes, before.shape, before.dtype) == (after.axes, after.shape, after.dtype)


def test_work_grows_with_the_number_of_values() -> None:
    def work(count: int) -> int:
        x, w = _symbol("x", 2, 3), _array("w", count, 3, 3)
        parts = [rc.softmax(rc.Einsum.from_string("s d, d e -> s e", x, w.index((h,)))) for h in range(count)]
        exprs = [rc.Add(*parts)]
        return num_steps(lambda: _together(exprs, [x]))

    assert work(400) < 3 * work(200)


def test_apply_is_known() -> None:
    x, w = _symbol("x", 5, 6), _array("w", 4, 6, 8)
    parts = [rc.softmax(rc.Einsum.from_string("s d, d e -> s e", x, w.index((h,)))) for h in range(4)]
    _, after = _together(parts, [x])
    (applied,) = [value for value in values_below(after) if isinstance(value.op, Apply)]
    assert [axis.size for axis in applied.axes] == [4]
