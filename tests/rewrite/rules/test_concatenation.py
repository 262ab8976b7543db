"""Hand-made cases of the rules of concats and scatters: structure, names, reasons."""

from __future__ import annotations

import pytest
import torch

import scrub as rc
from scrub.graph import I, RewriteError, Scatter
from scrub.rewrite.rule import NoMatch
from scrub.rewrite.rules import concatenation as rules
from scrub.rewrite.testing import value_of
from tests.independent import assert_same

a = rc.Array(torch.arange(6.0, dtype=torch.float64).reshape(2, 3), "a")
b = rc.Array(-torch.arange(12.0, dtype=torch.float64).reshape(4, 3), "b")
joined = rc.Concat(a, b, axis=0, name="joined")


def reason(result: rc.Expr | NoMatch) -> str:
    assert isinstance(result, NoMatch)
    return result.reason


def test_concats_along_another_axis_stay() -> None:
    inner = rc.Concat(a, a, axis=1)
    outer = rc.Concat(inner, rc.Concat(a, a, axis=1), axis=0)
    assert "no part is a concat along axis 0" in reason(rules.fuse_concat.attempt(outer))
    assert rules.fuse_concat(rc.Concat(joined, b, axis=0)) is rc.Concat(a, b, b, axis=0)
    assert "may be taken apart" in reason(rules.fuse_concat.attempt(rc.Concat(joined, b, axis=0), dissolve=False))


def test_an_empty_part_that_decides_the_dtype_stays() -> None:
    ints = rc.Array(torch.arange(3))
    empty = rc.Array(torch.zeros(0))
    assert rules.drop_empty_parts(rc.Concat(ints, rc.Array(torch.arange(0)), axis=0)) is ints
    assert "torch.float32" in reason(rules.drop_empty_parts.attempt(rc.Concat(ints, empty, axis=0)))
    only_empty = rc.Concat(rc.Array(torch.arange(0)), empty, axis=0)
    assert rules.drop_empty_parts(only_empty) is empty


def test_a_concat_moves_above_what_works_on_each_position() -> None:
    total = rc.Add(joined, rc.Array(torch.ones(6, 3, dtype=torch.float64), "c"), name="total")
    pulled = rules.pull_up_concat(total).cast(rc.Concat)
    assert (pulled.name, [part.shape for part in pulled.children]) == ("total", [(2, 3), (4, 3)])
    assert_same(pulled.evaluate(), total.evaluate())
    row = rc.Array(torch.ones(3, dtype=torch.float64), "row")
    pulled = rules.pull_up_concat(rc.Add(joined, row)).cast(rc.Concat)
    assert all(part.children[1] is row for part in pulled.children)


def test_a_concat_does_not_move_above_what_mixes_its_axis() -> None:
    assert "mixed" in reason(rules.pull_up_concat.attempt(rc.softmax(rc.Concat(a, a, axis=1))))
    assert "summed away" in reason(rules.pull_up_concat.attempt(joined.sum(0)))
    assert "cut or addressed" in reason(rules.pull_up_concat.attempt(rc.Index(joined, I[1:3])))
    diagonal = rc.Einsum((rc.Concat(row2(), row2(), axis=0), (0,)), out_axes=(0, 0))
    assert "mixed" in reason(rules.pull_up_concat.attempt(diagonal))
    assert "an identity" in reason(rules.pull_up_concat.attempt(rc.Tag.new_from_name(joined, "tag")))


def row2() -> rc.Array:
    return rc.Array(torch.tensor([1.0, 2.0]))


def test_parts_of_a_random_variable_stay_tied() -> None:
    """Both halves are drawn from one row, so their difference is that of the row."""
    table = rc.Concat(rc.Array(torch.tensor([[1.0], [5.0]])), rc.Array(torch.tensor([[2.0], [7.0]])), axis=1)
    variable = rc.DiscreteVar(table, name="v")
    pulled = rules.pull_up_concat(variable)
    assert {part.cast(rc.DiscreteVar).probs_and_group for part in pulled.children} == {variable.probs_and_group}
    covariance = rc.Cumulant(pulled, pulled)
    assert_same(value_of(covariance), value_of(rc.Cumulant(variable, variable)))
    assert_same(value_of(covariance).reshape(2, 2), torch.tensor([[4.0, 5.0], [5.0, 6.25]]))


def test_a_call_on_a_batch_of_parts() -> None:
    x = rc.Symbol.new_from_name((3,), "x")
    call = rc.Module(rc.ModuleSpec(rc.softmax(x, name="body"), [x]), "call", x=joined)
    pulled = rules.pull_up_concat(call)
    assert [type(part) for part in pulled.children] == [rc.Module, rc.Module]
    assert_same(pulled.evaluate(), call.evaluate())


def test_concat_and_scatter_are_converted_into_each_other() -> None:
    as_sum = rules.concat_to_scatters(joined)
    assert_same(as_sum.evaluate(), torch.cat([a.value, b.value]))
    back = [rules.scatter_to_concat(term) for term in as_sum.children]
    assert back[1].children[0] is rc.Scalar(0.0, (2, 3))
    assert back[1].children[1] is b
    both = Scatter(a, I[1:3, 2:5], (4, 6), name="both")
    for axis in range(2):
        assert_same(rules.scatter_to_concat(both, axis=axis).evaluate(), both.evaluate())
    listed = Scatter(row2(), (torch.tensor([3, 0]),), (4,))
    assert "listed positions" in reason(rules.scatter_to_concat.attempt(listed, axis=0))
    flags = rc.Array(torch.tensor([True, True]))
    assert rules.scatter_to_concat(Scatter(flags, I[1:3], (4,))).evaluate().tolist() == [False, True, True, False]


def test_a_scatter_into_an_axis_that_is_summed_picks_from_the_others() -> None:
    w = rc.Array(torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), "w")
    placed = Scatter(a, (slice(None), torch.tensor([3, 0, 2])), (2, 4))
    product = rc.Einsum.from_string("ab,bc->ac", placed, w, name="product")
    pulled = rules.pull_up_scatter(product)
    assert not pulled.get(Scatter)
    assert_same(pulled.evaluate(), a.value @ w.value[[3, 0, 2]])
    kept = rules.pull_up_scatter(rc.Einsum.from_string("ab,bc->bac", placed, w))
    assert isinstance(kept, Scatter)
    trace = rc.Einsum((Scatter(row2(), I[:, 0], (2, 2)), (0, 0)), out_axes=())
    assert "axis 1 of the scatter is taken along a diagonal" in reason(rules.pull_up_scatter.attempt(trace))


def test_named_parts_are_taken_apart_only_where_they_may_be() -> None:
    total = rc.elementwise("exp", joined)
    assert "may be taken apart" in reason(rules.pull_up_concat.attempt(total, dissolve="another"))
    placed = rc.Add(Scatter(row2(), I[1:3], (4,), "first"), Scatter(row2(), I[1:3], (4,), "second"))
    assert "term 1 may not be moved" in reason(rules.pull_up_scatter.attempt(placed, dissolve="first"))
    assert isinstance(rules.pull_up_scatter(placed, dissolve={"first", "second"}), Scatter)


def test_functions_that_do_not_keep_zeros_zero() -> None:
    placed = Scatter(row2(), I[1:3], (4,))
    assert "exp does not keep zeros zero" in reason(rules.pull_up_scatter.attempt(rc.elementwise("exp", placed)))
    for name in ["sin", "tanh", "relu", "gelu", "gelu_new", "silu", "step", "abs", "sqrt"]:
        function = rc.elementwise(name, placed)
        assert_same(rules.pull_up_scatter(function).evaluate(), function.evaluate())


def test_an_axis_is_split_into_named_parts() -> None:
    parts = [([5, 0], "ends"), (slice(1, 5), "middle")]
    split = rules.split_to_concat(joined, axis=0, parts=parts)
    assert split.name == "joined"
    assert {node.name for node in split.get({"joined.ends", "joined.middle"})} == {"joined.ends", "joined.middle"}
    assert_same(split.evaluate(), joined.evaluate())
    assert_same(split.get_unique("joined.ends").evaluate(), joined.evaluate()[[5, 0]])


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([(0, "one")], r"positions \[1\] are in no part; add \(\[1\], 'rest'\)"),
        ([(0, "one"), ([0, 1], "both")], "position 0 is in part 'one' and in part 'both'"),
        ([(slice(0, 5), "all")], "part 'all' takes .* positions 0 to 1"),
        ([(2, "third")], "part 'third' takes 2, the axis has positions 0 to 1"),
    ],
)
def test_parts_must_partition_the_axis(parts: list[rules.AxisPart], problem: str) -> None:
    with pytest.raises(RewriteError, match=problem):
        rules.split_to_concat(a, axis=0, parts=parts)
    with pytest.raises(RewriteError, match=problem):
        rules.explicit_reduce(a.sum(0, name="total"), axis=0, parts=parts)


def test_a_sum_over_heads_becomes_named_terms() -> None:
    heads = rc.Array(torch.randn(4, 5, 6, dtype=torch.float64), "heads")
    total = rc.Einsum.from_string("h s d -> s d", heads, name="a1")
    split = rules.explicit_reduce(total, axis=0, parts=[(2, "ind"), ([3, 0], "prev"), (1, "rest")])
    assert [term.name for term in split.children] == ["a1.ind", "a1.prev", "a1.rest"]
    assert_same(split.children[1].evaluate(), heads.value[[3, 0]].sum(0))
    assert_same(split.evaluate(), heads.value.sum(0))
    kept = rc.Einsum.from_string("h s -> h", heads.index(I[:, :, 0]))
    assert "not summed away, it is axis 0" in reason(rules.explicit_reduce.attempt(kept, axis=0, parts=[]))


def test_an_estimate_and_what_it_leaves() -> None:
    rewritten = rules.residual_rewrite(joined, estimate=rc.Scalar(2.0, (6, 3), name="mean"))
    assert [term.name for term in rewritten.children] == ["mean", "joined.residual"]
    assert_same(rewritten.children[1].evaluate(), joined.evaluate() - 2)
    assert "shape [3]" in reason(rules.residual_rewrite.attempt(joined, estimate=rc.Scalar(2.0, (3,))))
    half = rc.cast_to(rc.Array(torch.zeros(6, 3, dtype=torch.int64)), torch.int32)
    assert rules.residual_rewrite(joined, estimate=half).dtype == torch.float64


def test_thousands_of_parts() -> None:
    parts = [rc.Array(torch.full((1, 3), float(i)), f"part{i}") for i in range(10_000)]
    halves = [rc.Concat(*parts[:5_000], axis=0), rc.Concat(*parts[5_000:], axis=0)]
    assert rules.fuse_concat(rc.Concat(*halves, axis=0)) is rc.Concat(*parts, axis=0)
    pulled = rules.pull_up_concat(rc.elementwise("exp", rc.Concat(*parts, axis=0)))
    assert len(pulled.children) == 10_000
