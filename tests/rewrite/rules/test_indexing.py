"""Rules of indexing on hand-made expressions: exact results, names, reasons, scale."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from scrub.graph import (
    Add,
    Array,
    Concat,
    Conv,
    Cumulant,
    DiscreteVar,
    Einsum,
    Expr,
    GeneralFunction,
    I,
    Index,
    Module,
    ModuleSpec,
    Rearrange,
    RewriteError,
    Scalar,
    Scatter,
    ShapeError,
    StoredCumulantVar,
    Symbol,
    Tag,
    cast_to,
    elementwise,
    postorder,
    softmax,
)
from scrub.graph.functions.power import Pow
from scrub.graph.functions.reduce import Max
from scrub.rewrite import new_traversal
from scrub.rewrite.names import is_unnamed
from scrub.rewrite.rule import NoMatch, Rule
from scrub.rewrite.rules import (
    drop_identity_index,
    fuse_index,
    push_index,
    push_index_down,
    push_index_through_add,
    push_index_through_array,
    push_index_through_concat,
    push_index_through_conv,
    push_index_through_cumulant,
    push_index_through_discrete_var,
    push_index_through_einsum,
    push_index_through_function,
    push_index_through_module,
    push_index_through_rearrange,
    push_index_through_scalar,
    push_index_through_scatter,
    push_index_through_tag,
    split_index,
)
from scrub.rewrite.testing import value_of
from tests.steps import num_steps


def array(*shape: int, name: str | None = "x") -> Array:
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    return Array(torch.randn(shape, generator=generator, dtype=torch.float64), name)


def at(*positions: int) -> torch.Tensor:
    return torch.tensor(positions, dtype=torch.int64)


def reason(rule: Rule[...], expr: Expr, **options: object) -> str:
    result = rule.attempt(expr, **options)
    assert isinstance(result, NoMatch), result
    return result.reason


def assert_same_value(before: Expr, after: Expr) -> None:
    torch.testing.assert_close(after.evaluate(), before.evaluate(), rtol=1e-12, atol=1e-12)


# ---- one index ----------------------------------------------------------------------------------------------------


def test_fused_entries_are_worked_out_per_axis() -> None:
    x = array(7, 6, 5, 4)
    inner = Index(x, (at(6, 0, 3), slice(1, 5), 2, slice(None)))
    fused = fuse_index(Index(inner, (slice(1, 3), at(3, 0), slice(1, 3)), "i"))
    assert fused is Index(x, (at(0, 3), at(4, 1), 2, slice(1, 3)), "i")
    assert fuse_index(Index(inner, I[2, 1])) is Index(x, (3, 2, 2))
    assert fuse_index(Index(inner, (at(2, 2, 1),))) is Index(x, (at(3, 3, 0), slice(1, 5), 2))
    assert fuse_index(Index(Index(x, (at(5, 4, 3, 2),)), I[1:4])) is Index(x, (at(4, 3, 2),))


def test_positions_that_follow_each_other_become_a_slice() -> None:
    x = array(7)
    assert fuse_index(Index(Index(x, (at(4, 2, 3, 1),)), (at(1, 2, 0),))) is Index(x, I[2:5])


def test_fusing_stops_above_what_may_not_be_taken_apart() -> None:
    x = array(7)
    kept = Index(x, I[1:7], "kept")
    outer = Index(Index(kept, I[1:5]), I[2])
    assert fuse_index(outer, dissolve=is_unnamed) is Index(kept, I[3])
    assert "'kept'" in reason(fuse_index, Index(kept, I[0]), dissolve=False)
    assert reason(fuse_index, kept) == f"it picks from {x!r}, which is no Index"


def test_a_long_chain_of_indices_is_fused_in_one_go() -> None:
    n = 10_000
    chain: Expr = Scalar(1.0, (n + 1,), "x")
    for _ in range(n):
        chain = Index(chain, I[1:])
    assert fuse_index(chain) is Index(Scalar(1.0, (n + 1,), "x"), I[n:])


def test_an_identity_is_dropped_and_nothing_else() -> None:
    x = array(2, 3)
    assert drop_identity_index(Index(x, (slice(None), at(0, 1, 2)), "i")) is x
    assert (
        reason(drop_identity_index, Index(x, (0,)))
        == "it does not take all of axis 0 of 'x' [2, 3] Array " + (x.frozen.digest[:8])
    )
    assert "axis 1" in reason(drop_identity_index, Index(x, (slice(None), at(0, 2, 1))))
    assert "axis 1" in reason(drop_identity_index, Index(x, (slice(None), at(0, 1, 2, 2))))
    assert "axis 1" in reason(drop_identity_index, Index(x, (slice(None), at(0, 1))))
    empty = array(0)
    assert drop_identity_index(Index(empty, (at(),))) is empty


def test_splitting_by_axis() -> None:
    x = array(4, 5, 6)
    index = Index(x, (3, at(4, 0), slice(1, 3)), "i")
    assert split_index(index, axes=[0]) is Index(Index(x, I[3]), (at(4, 0), slice(1, 3)), "i")
    assert split_index(index, axes=[-1]) is Index(Index(x, I[:, :, 1:3]), (3, at(4, 0)), "i")
    assert split_index(index, axes=[1, 0]) is Index(Index(x, (3, at(4, 0))), I[:, 1:3], "i")
    assert "so there is nothing to do first" in reason(split_index, Index(x, I[0]), axes=[1])
    assert "so none is left to do then" in reason(split_index, Index(x, I[0]), axes=[0, 2])
    with pytest.raises(ShapeError, match="axis 3 does not exist"):
        split_index(index, axes=[3])


def test_splitting_is_undone_by_fusing() -> None:
    index = Index(array(4, 5, 6), (at(2, 0, 1), 2, at(5, 5)), "i")
    for count in (1, 2):
        for axes in itertools.combinations(range(3), count):
            assert fuse_index(split_index(index, axes=axes)) is index


# ---- sums, products, rearrangements -------------------------------------------------------------------------------


def test_broadcast_terms_are_not_cut_where_they_are_broadcast() -> None:
    x, column, row, number = array(4, 3), array(4, 1, name="column"), array(3, name="row"), Scalar(2.0)
    total = Add(x, column, row, number, name="s")
    index = Index(total, (at(3, 1), 2), "i")
    assert push_index_through_add(index) is Add(
        Index(x, (at(3, 1), 2)), Index(column, (at(3, 1), 0)), Index(row, (2,)), number, name="i"
    )
    assert push_index_through_add(Index(total, I[:, 1:3])) is Add(
        Index(x, I[:, 1:3]), column, Index(row, I[1:3]), number
    )
    assert "may not be taken apart" in reason(push_index_through_add, index, dissolve=False)


def test_an_axis_that_has_size_1_in_all_terms_is_picked_from_in_all() -> None:
    x, y = array(1, 3), array(1, 1, name="y")
    pushed = push_index_through_add(Index(Add(x, y), (at(0, 0, 0),)))
    assert pushed is Add(Index(x, (at(0, 0, 0),)), Index(y, (at(0, 0, 0),)))


def test_an_int_drops_the_axis_of_an_einsum_everywhere() -> None:
    x, w = array(4, 3), array(3, 5, name="w")
    product = Einsum.from_string("ab,bc->ac", x, w)
    assert push_index_through_einsum(Index(product, (2, at(4, 0)), "i")) is Einsum.from_string(
        "b,bc->c", Index(x, I[2]), Index(w, (slice(None), at(4, 0))), name="i"
    )
    kept_diagonal = Einsum.from_string("aab->ab", array(3, 3, 2))
    assert push_index_through_einsum(Index(kept_diagonal, (at(2, 0),))) is Einsum.from_string(
        "aab->ab", Index(array(3, 3, 2), (at(2, 0), at(2, 0)))
    )
    assert push_index_through_einsum(Index(kept_diagonal, I[1])) is Einsum.from_string(
        "b->b", Index(array(3, 3, 2), I[1, 1])
    )


def test_a_diagonal_in_the_output_is_cut_on_all_its_axes_or_not_at_all() -> None:
    v = array(4)
    diagonal = Einsum((v, (0,)), out_axes=(0, 0))
    assert push_index_through_einsum(Index(diagonal, I[1:3, 1:3])) is Einsum((Index(v, I[1:3]), (0,)), out_axes=(0, 0))
    assert push_index_through_einsum(Index(diagonal, I[2, 2])) is Einsum((Index(v, I[2]), ()), out_axes=())
    assert push_index_through_einsum(Index(diagonal, (at(3, 0), at(3, 0)))) is Einsum(
        (Index(v, (at(3, 0),)), (0,)), out_axes=(0, 0)
    )
    for entries in (I[1:3], I[:, 2], I[0, 1], I[1:3, 0:2]):
        assert "axes 0 and 1 are one axis on the diagonal, which only equal entries" in reason(
            push_index_through_einsum, Index(diagonal, entries)
        )
    assert "a position picked twice is off it" in reason(
        push_index_through_einsum, Index(diagonal, (at(1, 1), at(1, 1)))
    )


def test_only_what_can_pass_a_diagonal_passes() -> None:
    x = array(3, 4)
    embedded = Einsum((x, (0, 1)), out_axes=(0, 1, 0))
    pushed = push_index_through_einsum(Index(embedded, I[0:2, 1, 0], "i"), partial=True)
    assert pushed is Index(Einsum((Index(x, I[:, 1]), (0,)), out_axes=(0, 0)), I[0:2, 0], "i")


def test_an_entry_on_a_merged_axis_passes_if_it_is_a_block() -> None:
    x = array(3, 4, 2)
    merged = Rearrange(x, "a b c -> (a b) c")
    assert push_index_through_rearrange(Index(merged, I[7], "i")) is Index(x, I[1, 3], "i")
    assert push_index_through_rearrange(Index(merged, I[4:12])) is Rearrange(Index(x, I[1:3]), "a b c -> (a b) c")
    assert push_index_through_rearrange(Index(merged, I[5:7])) is Index(x, I[1, 1:3])
    positions = at(8, 10, 0, 2)  # rows 2 and 0, columns 0 and 2 of 4
    assert push_index_through_rearrange(Index(merged, (positions,))) is Rearrange(
        Index(x, (at(2, 0), at(0, 2))), "a b c -> (a b) c"
    )
    for entries in (I[3:5], (at(0, 5),)):
        assert "axis 0: what it picks is no block of the merged axes of sizes (3, 4)" in reason(
            push_index_through_rearrange, Index(merged, entries)
        )
    partial = push_index_through_rearrange(Index(merged, I[3:5, 0], "i"), partial=True)
    assert partial is Index(Rearrange(Index(x, I[:, :, 0]), "a b -> (a b)"), I[3:5], "i")


def test_an_axis_that_is_split_is_picked_from_by_positions() -> None:
    x = array(12)
    split = Rearrange(x, "(a b) -> b a", a=3)
    assert push_index_through_rearrange(Index(split, I[1])) is Index(x, (at(1, 5, 9),))
    assert push_index_through_rearrange(Index(split, I[:, 1])) is Index(x, I[4:8])
    assert push_index_through_rearrange(Index(split, I[:, 1:3])) is Rearrange(Index(x, I[4:12]), "(a b) -> b a", a=2)
    assert push_index_through_rearrange(Index(split, I[2, 1])) is Index(x, I[6])


def test_a_repeat_is_dropped_or_changed_in_number_and_an_inserted_axis_repeated() -> None:
    x = array(2)
    repeated = Rearrange(x, "a -> 5 1 a")
    assert push_index_through_rearrange(Index(repeated, I[3, 0])) is x
    assert push_index_through_rearrange(Index(repeated, I[1:4, 0, 1:2])) is Rearrange(Index(x, I[1:2]), "a -> 3 a")
    assert push_index_through_rearrange(Index(repeated, (0, at(0, 0, 0)))) is Rearrange(x, "a -> 3 a")
    merged = Rearrange(x, "a -> (a 3)")
    assert push_index_through_rearrange(Index(merged, I[4])) is Index(x, I[1])


# ---- concatenations and scatters ----------------------------------------------------------------------------------


def test_an_index_along_the_concatenation_picks_from_parts() -> None:
    a, b, c = array(2, 3, name="a"), array(4, 3, name="b"), array(1, 3, name="c")
    whole = Concat(a, b, c, axis=0)
    assert push_index_through_concat(Index(whole, I[2, 1:3], "i")) is Index(b, I[0, 1:3], "i")
    assert push_index_through_concat(Index(whole, I[2:6])) is b
    assert push_index_through_concat(Index(whole, I[1:4, 2])) is Concat(
        Index(a, I[1:2, 2]), Index(b, I[0:2, 2]), axis=0
    )
    assert push_index_through_concat(Index(whole, I[3:3])) is Index(a, I[0:0])
    assert push_index_through_concat(Index(whole, (at(),))) is Index(a, I[0:0])
    assert push_index_through_concat(Index(whole, (at(6, 0, 1, 5, 2, 0),))) is Concat(
        c, a, Index(b, (at(3, 0),)), Index(a, I[0:1]), axis=0
    )
    along_columns = Concat(array(2, 3, name="a"), array(2, 4, name="d"), axis=1)
    assert push_index_through_concat(Index(along_columns, I[1])) is Concat(
        Index(a, I[1]), Index(array(2, 4, name="d"), I[1]), axis=0
    )


def test_empty_parts_are_never_picked_from() -> None:
    a, empty, b = array(2, name="a"), array(0, name="empty"), array(3, name="b")
    whole = Concat(empty, a, empty, b, axis=0)
    for position in range(5):
        picked = push_index_through_concat(Index(whole, I[position]))
        assert picked is (Index(a, I[position]) if position < 2 else Index(b, I[position - 2]))


def test_a_part_of_another_dtype_is_cast() -> None:
    counts, x = Array(torch.tensor([1, 2]), "counts"), array(2)
    whole = Concat(counts, x, Scalar(3.0, (1,)), axis=0)
    index = Index(whole, I[1])
    assert push_index_through_concat(index) is cast_to(Index(counts, I[1]), torch.float64)
    assert_same_value(index, push_index_through_concat(index))
    assert push_index_through_concat(Index(whole, I[4])).dtype == torch.float64


def test_a_dtype_that_parameters_decide_is_not_decided_without_them() -> None:
    counts, s = Array(torch.tensor([1, 2]), "counts"), Symbol.new_from_name((2,), "s")
    index = Index(Concat(counts, s, axis=0), I[0])
    assert "axis 0: with the other parts goes what decides the dtype" in reason(push_index_through_concat, index)
    assert push_index_through_concat(Index(Concat(array(2), s, axis=0), I[3])).dtype == torch.float64


def test_an_index_of_a_scatter_picks_what_it_meets() -> None:
    x = array(2, 3)
    padded = Scatter(x, I[1:3, :], (5, 3))
    assert push_index_through_scatter(Index(padded, I[2, 1:3], "i")) is Index(x, I[1, 1:3], "i")
    assert push_index_through_scatter(Index(padded, I[1:3])) is x
    assert push_index_through_scatter(Index(padded, I[2:5])) is Scatter(Index(x, I[1:2]), I[0:1], (3, 3))
    assert push_index_through_scatter(Index(padded, (at(4, 2, 0, 2),))) is Scatter(
        Index(x, (at(1, 1),)), (at(1, 3),), (4, 3)
    )
    assert push_index_through_scatter(Index(padded, I[4, 1])) is cast_to(Scalar(0.0), torch.float64)
    one_row = Scatter(array(3), I[1], (5, 3))
    assert push_index_through_scatter(Index(one_row, I[0:2])) is Scatter(array(3), I[1], (2, 3))
    assert push_index_through_scatter(Index(one_row, I[1])) is array(3)
    assert push_index_through_scatter(Index(one_row, I[2:4, 0])) is cast_to(Scalar(0.0, (2,)), torch.float64)
    assert "axis 0: it picks position 1, the only one that is not zero, 2 times" in reason(
        push_index_through_scatter, Index(one_row, (at(1, 1),))
    )


# ---- functions ----------------------------------------------------------------------------------------------------


def test_the_axis_of_a_softmax_is_not_cut_below_it() -> None:
    probs = softmax(array(2, 3, 4), "probs")
    assert reason(push_index_through_function, Index(probs, I[0, :, 1])) == (
        f"the index cannot pass {probs!r}: axis 2: softmax computes its values together"
    )
    partial = push_index_through_function(Index(probs, I[0, 1:3, 1], "i"), partial=True)
    assert partial is Index(softmax(Index(array(2, 3, 4), I[0, 1:3])), I[:, 1], "i")
    largest = GeneralFunction(array(2, 3), spec=Max())
    assert push_index_through_function(Index(largest, I[1])) is GeneralFunction(Index(array(2, 3), I[1]), spec=Max())


def test_powers_broadcast_as_sums_do() -> None:
    base, exponent = elementwise("exp", array(4, 1)), array(3, name="exponent")
    index = Index(GeneralFunction(base, exponent, spec=Pow()), I[1:3, 2])
    pushed = push_index_through_function(index)
    assert pushed is GeneralFunction(Index(base, I[1:3, 0]), Index(exponent, I[2]), spec=Pow())
    assert_same_value(index, pushed)


GATHERS = {
    "a table": ((5, 7), (4, 2), -1, False, True),
    "row by row": ((4, 2, 5, 7), (4, 2), 0, True, True),
    "index in the middle": ((6, 5, 7), (4, 2), -2, True, False),
    "nothing batched": ((6, 5, 7), (4, 2), 1, False, False),
}


@pytest.mark.parametrize("kind", GATHERS)
def test_a_gather_passes_each_axis_to_the_table_or_the_index(kind: str) -> None:
    """SPEC 2.7: the four kinds of gather; the index goes below whichever axis it is on."""
    x_shape, index_shape, dim, batch_x, batch_index = GATHERS[kind]
    positions = Array(torch.arange(8).reshape(index_shape) % 5, "positions")
    gathered = GeneralFunction.gen_index(array(*x_shape), positions, dim, batch_x, batch_index)
    for entries in itertools.product((slice(None), 1, slice(0, 2), at(1, 0, 1)), repeat=gathered.ndim):
        index = Index(gathered, entries)
        if any(entry is not None for entry in index.entries):
            pushed = push_index_through_function(index)
            assert isinstance(pushed, GeneralFunction)
            assert_same_value(index, pushed)


# ---- calls, random variables, leaves ------------------------------------------------------------------------------


def test_batch_axes_of_a_call_pass_to_arguments_and_others_to_the_body() -> None:
    """SPEC 4.2: the batch axes of arguments are aligned from the right, also of one the body ignores."""
    a, b = Symbol.new_from_name((7,), "a"), Symbol.new_from_name((3,), "b")
    body = Array(torch.arange(10.0).reshape(2, 5), "body")
    spec = ModuleSpec(body, [a, b], allow_unused=True)
    call = Module(spec, "call", a=array(4, 5, 6, 7), b=array(6, 3, name="y"))
    pushed = push_index_through_module(Index(call, I[1, :, 2:4, 0, 1:3], "i"))
    assert pushed.shape == (5, 2, 2)
    assert isinstance(pushed, Module)
    assert pushed.children == (
        Index(body, I[0, 1:3]),
        Index(array(4, 5, 6, 7), I[1, :, 2:4]),
        Index(array(6, 3, name="y"), I[2:4]),
    )
    one = Index(call, I[0, 0, 1, 1])
    assert_same_value(one, push_index_through_module(one))


def test_a_random_variable_keeps_its_rows_and_its_group() -> None:
    table = array(4, 3, 2, name="table")
    group = Tag.new_from_name(Scalar(0.25, (4,)), "group")
    variable = DiscreteVar(table, group, "v")
    pushed = push_index_through_discrete_var(Index(variable, (at(2, 0), 1), "i"))
    assert pushed is DiscreteVar(Index(table, (slice(None), at(2, 0), 1)), group, "i")
    rows = pushed.cast(DiscreteVar).values.evaluate()
    for row in range(4):  # drawn together: in row r of the group each takes its own row r
        torch.testing.assert_close(rows[row], table.value[row][[2, 0], 1], rtol=0, atol=0)


def test_a_cumulant_is_indexed_argument_by_argument() -> None:
    """The covariance of the indexed variables, by enumeration of rows, is the indexed covariance."""
    group = Tag.new_from_name(Scalar(1 / 3, (3,)), "group")
    x_rows, y_rows = array(3, 4, name="x"), array(3, 2, 2, name="y")
    x, y = DiscreteVar(x_rows, group), DiscreteVar(y_rows, group)
    pushed = push_index_through_cumulant(Index(Cumulant(x, y), (at(3, 0), 1), "i"))
    assert pushed is Cumulant(Index(x, (at(3, 0),)), Index(y, I[1]), name="i")
    u, v = x_rows.value[:, [3, 0]], y_rows.value[:, 1]
    expected = torch.einsum("ra,rb->ab", u - u.mean(0), v - v.mean(0)) / 3
    whole = torch.einsum("ra,rbc->abc", x_rows.value - x_rows.value.mean(0), y_rows.value - y_rows.value.mean(0)) / 3
    torch.testing.assert_close(expected, whole[[3, 0], 1])
    torch.testing.assert_close(value_of(pushed), expected)


def test_a_tag_stays_the_same_tag() -> None:
    x = array(3)
    first, second = Tag.new_from_name(x, "one"), Tag.new_from_name(x, "two")
    pushed = [push_index_through_tag(Index(tag, I[0:2])).cast(Tag) for tag in (first, second)]
    assert pushed[0] is Tag(Index(x, I[0:2]), first.uuid)
    assert pushed[0] is not pushed[1]


def test_leaves() -> None:
    x = array(3, 4)
    picked = push_index_through_array(Index(x, I[1:3, 2], "i"))
    assert picked is Array(x.value[1:3, 2].clone(), "i")
    assert push_index_through_array(Index(x, (at(0, 1, 2),), "i")) is x
    assert push_index_through_array(Index(x, I[2:3, 1:2])) is Array(x.value[2:3, 1:2].clone())
    rows = push_index_through_array(Index(x, I[1:3])).cast(Array)
    assert rows.value.untyped_storage().data_ptr() == x.value.untyped_storage().data_ptr()
    number = Scalar(2.0, (3, 4), "two")
    assert push_index_through_scalar(Index(number, I[1:3, 2], "i")) is Scalar(2.0, (2,), "i")
    assert push_index_through_scalar(Index(number, I[0])) is Scalar(2.0, (4,), "two")
    assert reason(push_index_through_array, Index(number, I[0])) == f"it picks from {number!r}, which is no Array"


def test_a_slice_of_a_convolution_sees_a_part_of_the_input_and_of_the_padding() -> None:
    x, w = array(2, 9, 3), array(4, 3, 5, name="w")
    conv = Conv(x, w, stride=2, padding=[(3, 2)])
    pushed = push_index_through_conv(Index(conv, (at(1, 1), slice(0, 2), slice(1, 4)), "i"))
    assert pushed is Conv(
        Index(x, (at(1, 1), slice(0, 3))), Index(w, I[:, :, 1:4]), stride=2, padding=[(3, 0)], name="i"
    )
    padded = F.pad(x.value.movedim(-1, 1), (3, 2))
    whole = F.conv1d(padded, w.value.permute(2, 1, 0), stride=2).movedim(1, -1)
    for start, stop in itertools.combinations(range(conv.shape[1] + 1), 2):
        if (start, stop) == (0, conv.shape[1]):
            continue
        part = push_index_through_conv(Index(conv, I[:, start:stop]))
        assert part.cast(Conv).input.shape[1] <= (stop - start - 1) * 2 + 4
        torch.testing.assert_close(part.evaluate(), whole[:, start:stop])
    assert "axis 1: only a slice of a spatial axis" in reason(push_index_through_conv, Index(conv, I[:, 1]))
    assert "axis 2: the filter keeps its axis" in reason(push_index_through_conv, Index(conv, I[:, :, 1]))


# ---- any node -----------------------------------------------------------------------------------------------------


def test_the_rule_for_the_type_is_found() -> None:
    x, s = array(3), Symbol.new_from_name((3,), "s")
    assert push_index(Index(Add(x, x), I[0])) is push_index_through_add(Index(Add(x, x), I[0]))
    assert push_index(Index(x, I[0]), fold=True) is Array(x.value[0].clone())
    assert reason(push_index, Index(x, I[0])) == f"the index cannot pass {x!r}: it is a leaf"
    assert reason(push_index, Index(s, I[0])) == f"the index cannot pass {s!r}: it is a leaf"
    assert reason(push_index, Index(Add(x, x), I[:])) == "it takes all of every axis"
    stored = StoredCumulantVar.new_mv(Array(torch.zeros(2)), Array(torch.eye(2)), name="noise")
    assert "axis 0: what is stored are the cumulants of the whole variable" in reason(push_index, Index(stored, I[0]))
    with pytest.raises(
        RewriteError, match=r"push_index_through_add does not apply .*picks from 'x' .* which is no Add"
    ):
        push_index_through_add(Index(x, I[0]))


def test_an_index_goes_down_as_far_as_it_can() -> None:
    x, w, bias = array(4, 3), array(5, 3, name="w"), array(5, name="bias")
    scores = Add(Einsum.from_string("pd,ed->pe", x, w, name="product"), bias, name="scores")
    probs = softmax(scores, "probs")
    pushed = push_index_down(Index(probs, I[2, 1:3], "i"))
    assert pushed is Index(softmax(Add(Einsum.from_string("d,ed->e", Index(x, I[2]), w), bias)), I[1:3], "i")
    named = push_index_down(Index(probs, I[2, 1:3], "i"), suffix="[2]")
    assert {node.name for node in postorder([named])} == {
        "x", None, "w", "product[2]", "bias", "scores[2]", "probs[2]", "i",
    }  # fmt: skip
    folded = push_index_down(Index(probs, I[2], "i"), fold=True)
    assert folded is softmax(Add(Einsum.from_string("d,ed->e", Array(x.value[2].clone()), w), bias), "i")


def test_a_traversal_says_where_it_stops() -> None:
    x = array(4)
    a = elementwise("sin", x, "a")
    b = elementwise("sin", a, "b")
    c = elementwise("sin", b, "c")
    index = Index(c, I[1], "i")

    def sin(expr: Expr, name: str | None = None) -> Expr:
        return elementwise("sin", expr, name)

    assert push_index_down(index, traversal=new_traversal(end_depth=1)) is sin(Index(b, I[1]), "i")
    assert push_index_down(index, traversal=new_traversal(term_early_at="b")) is sin(sin(Index(a, I[1])), "i")
    assert push_index_down(index, traversal={"c", "a"}) is sin(Index(b, I[1]), "i")
    assert reason(push_index_down, index, traversal="a") == f"the traversal does not find {c!r}"
    assert push_index_down(index) is sin(sin(sin(Index(x, I[1]))), "i")


def test_indices_on_the_way_are_taken_up() -> None:
    x = array(6)
    below = Index(elementwise("sin", Index(x, I[1:5])), I[1:4])
    assert push_index_down(Index(elementwise("exp", below), I[2])) is elementwise(
        "exp", elementwise("sin", Index(x, I[4]))
    )


def test_a_deep_chain_and_a_graph_of_many_paths() -> None:
    chain: Expr = Scalar(1.0, (3,), "x")
    for _ in range(10_000):
        chain = elementwise("tanh", chain)
    pushed = push_index_down(Index(chain, I[0]))
    assert sum(1 for _ in postorder([pushed])) == 10_001
    assert all(node.ndim == 0 for node in postorder([pushed]))
    paths: Expr = array(3)
    for _ in range(60):
        paths = Add(paths, paths)
    pushed = push_index_down(Index(paths, I[2]))
    assert sum(1 for _ in postorder([pushed])) == 62
    assert float(pushed.evaluate()) == 2.0**60 * float(array(3).value[2])


def test_a_wide_sum_is_pushed_through_in_linear_time() -> None:
    small, large = (Index(Add(*(Scalar(float(i), (3,)) for i in range(count))), I[0]) for count in (1_000, 10_000))
    assert len(push_index(large).children) == 10_000
    assert num_steps(lambda: push_index(large)) < 10.5 * num_steps(lambda: push_index(small))
