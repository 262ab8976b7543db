"""Rules of sums: what they make exactly, what they refuse and why, and their cost on long sums."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from scrub.graph import (
    Add,
    Array,
    DiscreteVar,
    Einsum,
    Expr,
    Rearrange,
    RewriteError,
    Scalar,
    Symbol,
    cast_to,
    postorder,
)
from scrub.rewrite.matcher import Matcher
from scrub.rewrite.names import is_unnamed
from scrub.rewrite.rule import NoMatch, Rule
from scrub.rewrite.rules import (
    drop_identity_sum,
    drop_zero_terms,
    factor_common_operand,
    factor_common_subsum,
    flatten_sum,
    make_broadcasts_explicit,
    merge_duplicate_terms,
    merge_scalar_terms,
)
from scrub.rewrite.rules.sums.terms import broadcast_to, split_coefficient
from tests.steps import num_steps


def leaf(name: str, *shape: int, dtype: torch.dtype = torch.float64) -> Array:
    """A named array of distinct values."""
    count = int(torch.tensor(shape).prod()) if shape else 1
    return Array((torch.arange(count) + sum(map(ord, name)) % 7 + 1).to(dtype).reshape(shape), name)


def scalar(value: float, name: str | None = None) -> Scalar:
    return Scalar(value, (), name)


a, b, c, d = leaf("a", 3), leaf("b", 3), leaf("c", 3), leaf("d", 3)


class TestFlatten:
    def test_inner_sums_of_another_dtype_stay(self) -> None:
        yes = Array(torch.tensor([True, False, True]), "yes")
        either = Add(yes, yes)
        assert flatten_sum.attempt(Add(either, a)) == NoMatch(
            "yes + yes [3] Add is a sum of torch.bool in one of torch.float64"
        )
        assert flatten_sum(Add(either, a, Add(b, c))) is Add(either, a, b, c)
        assert flatten_sum(Add(either, yes)) is Add(yes, yes, yes)

    def test_symbols_leave_the_dtype_open(self) -> None:
        """Once the symbol stands for numbers, the sum of the booleans is 1 and not 2."""
        yes = Array(torch.tensor(True), "yes")
        add = Add(Add(yes, yes), Symbol.new_from_name((), "s"))
        assert add.dtype == torch.bool
        assert isinstance(flatten_sum.attempt(add), NoMatch)

    def test_only_what_may_be_taken_apart(self) -> None:
        """SPEC 1.4: what is not dissolved keeps its name."""
        add = Add(Add(a, b, name="inner"), Add(c, d))
        assert flatten_sum(add, dissolve=is_unnamed) is Add(Add(a, b, name="inner"), c, d)


class TestDropZeros:
    def test_zeros_of_either_sign_and_empty_sums(self) -> None:
        add = Add(scalar(0.0), a, scalar(-0.0), Add(), b, name="s")
        assert drop_zero_terms(add) is Add(a, b, name="s")

    def test_a_zero_that_gives_the_shape_stays(self) -> None:
        wide = Scalar(0.0, (2, 3))
        assert drop_zero_terms.attempt(Add(wide, a)) == NoMatch("the sum has its shape or its dtype from its zeros")
        assert drop_zero_terms(Add(wide, a, wide)) is Add(wide, a)

    def test_a_zero_that_gives_the_dtype_stays(self) -> None:
        count = leaf("n", 3, dtype=torch.int64)
        zero = cast_to(Scalar(0.0, (3,)), torch.float64)
        assert isinstance(drop_zero_terms.attempt(Add(count, zero)), NoMatch)
        assert drop_zero_terms(Add(count, zero, a)) is Add(count, a)

    def test_nothing_left_is_an_empty_sum(self) -> None:
        assert drop_zero_terms(Add(scalar(0.0), scalar(0.0))) is Add()

    def test_arrays_are_read_on_request_only(self) -> None:
        zeros = Array(torch.zeros(3, dtype=torch.float64), "zeros")
        assert isinstance(drop_zero_terms.attempt(Add(a, zeros)), NoMatch)
        assert drop_zero_terms(Add(a, zeros), arrays=True) is Add(a)
        assert isinstance(drop_zero_terms.attempt(Add(a, zeros), arrays=True, dissolve=is_unnamed), NoMatch)


class TestMergeScalars:
    def test_shape_is_kept(self) -> None:
        add = Add(Scalar(1.0, (2, 1)), a, Scalar(2.0, (3,)), name="s")
        assert merge_scalar_terms(add) is Add(Scalar(3.0, (2, 3)), a, name="s")

    def test_sign_of_zero_and_names(self) -> None:
        merged = merge_scalar_terms(Add(scalar(-0.0), scalar(-0.0), name="s"))
        assert merged is Scalar(-0.0, (), "s")
        add = Add(scalar(1.0, "one"), scalar(2.0), a, scalar(3.0))
        assert merge_scalar_terms(add, dissolve=is_unnamed) is Add(scalar(1.0, "one"), scalar(5.0), a)

    @pytest.mark.parametrize(
        ("dtype", "value", "reason"),
        [(torch.int8, 100.0, "torch.int8 does not hold 200.0"), (torch.bool, 1.0, "it is a sum of booleans")],
    )
    def test_not_what_the_dtype_does_not_hold(self, dtype: torch.dtype, value: float, reason: str) -> None:
        add = Add(Array(torch.ones(3, dtype=dtype)), scalar(value), scalar(value))
        assert merge_scalar_terms.attempt(add) == NoMatch(reason)
        assert add.evaluate().dtype == dtype


class TestMergeDuplicates:
    def test_multiples(self) -> None:
        assert merge_duplicate_terms(Add(a, a, name="s")) is Einsum((a, (0,)), (Scalar(2), ()), out_axes=(0,), name="s")
        made = merge_duplicate_terms(Add(a.scale(2.0), b, a.scale(3.0), name="s"))
        assert [split_coefficient(term, Matcher(True)) for term in made.children] == [(5.0, a), (1, b)]

    def test_what_cancels_is_a_zero_of_the_same_dtype(self) -> None:
        made = merge_duplicate_terms(Add(a, a.scale(-1.0), name="s"))
        assert (made.name, made.shape, made.dtype) == ("s", (3,), torch.float64)
        assert torch.equal(made.evaluate(), torch.zeros(3, dtype=torch.float64))
        assert a not in set(postorder([made]))

    def test_one_is_no_factor(self) -> None:
        assert merge_duplicate_terms(Add(a.scale(2.0), b, a.scale(-1.0))) is Add(a, b)

    def test_a_named_multiple_is_kept_on_request(self) -> None:
        add = Add(a, a.scale(2.0, name="twice"))
        assert isinstance(merge_duplicate_terms.attempt(add, dissolve=is_unnamed), NoMatch)

    def test_equal_random_terms_are_one_draw(self) -> None:
        dice = DiscreteVar(leaf("values", 6))
        made = merge_duplicate_terms(Add(dice, dice))
        assert split_coefficient(made, Matcher(True)) == (2, dice)

    @pytest.mark.parametrize("dtype", [torch.bool, torch.int8])
    def test_not_where_numbers_do_not_fit(self, dtype: torch.dtype) -> None:
        x = Array(torch.ones(3, dtype=dtype), "x")
        assert isinstance(merge_duplicate_terms.attempt(Add(x, x, a)), NoMatch)


class TestFactorOperand:
    def test_matrices(self) -> None:
        x, v, w = leaf("x", 4, 5), leaf("v", 5, 6), leaf("w", 5, 6)
        add = Add(Einsum.from_string("ij,jk->ik", x, v), Einsum.from_string("bc,ab->ac", w, x), name="s")
        made = factor_common_operand(add)
        assert made is Einsum((x, (0, 1)), (Add(v, w), (1, 2)), out_axes=(0, 2), name="s")

    def test_axes_that_differ_are_not_compatible(self) -> None:
        x, v = leaf("x", 4, 4), leaf("v", 4)
        add = Add(Einsum.from_string("ij,j->i", x, v), Einsum.from_string("ji,j->i", x, v))
        assert isinstance(factor_common_operand.attempt(add, operand="x"), NoMatch)
        assert factor_common_operand(add, operand="v").children[0] is v

    def test_a_diagonal_does_not_broadcast(self) -> None:
        x = leaf("x")
        small, large = Array(torch.tensor([2.0], dtype=torch.float64)), leaf("large", 3)
        add = Add(*(Einsum((x, ()), (y, (0,)), out_axes=(0, 0)) for y in (small, large)))
        assert isinstance(factor_common_operand.attempt(add), NoMatch)

    def test_a_factor_alone_counts_as_times_one(self) -> None:
        made = factor_common_operand(Add(a, a.mul(b), c))
        assert made is Add(Einsum((a, (0,)), (Add(scalar(1.0), b), (0,)), out_axes=(0,)), c)
        assert torch.equal(made.evaluate(), a.value + a.value * b.value + c.value)

    def test_missing_axes_broadcast(self) -> None:
        x, row, column = leaf("x", 2, 3), leaf("row", 3), leaf("column", 2)
        terms = [Einsum((x, (0, 1)), (y, axes), out_axes=(0, 1)) for y, axes in [(row, (1,)), (column, (0,))]]
        made = factor_common_operand(Add(*terms))
        assert isinstance(made, Einsum)
        expected = x.value * (row.value + column.value[:, None])
        assert torch.equal(made.evaluate(), expected)

    def test_booleans_are_not_added_as_booleans(self) -> None:
        yes, no = (Array(torch.tensor([value] * 3), str(value)) for value in (True, False))
        assert isinstance(factor_common_operand.attempt(Add(a.mul(yes), a.mul(no)), operand="a"), NoMatch)


class TestFactorSubsum:
    def test_sums_share_what_they_have_in_common(self) -> None:
        made = factor_common_subsum(Add(a, b, c, name="p").mul(Add(d, b, a, name="q")))
        shared = Add(a, b)
        assert made is Add(shared, c, name="p").mul(Add(d, shared, name="q"))

    def test_prefixes_share_one_with_the_next(self) -> None:
        """The residual stream: each sum is the one before and one more."""
        sums = [Add(a, b, name="r1"), Add(a, b, c, name="r2"), Add(a, b, c, d, name="r3")]
        first = sums[0]
        second = Add(first, c, name="r2")
        third = Add(second, d, name="r3")
        whole = Einsum(*((node, (0,)) for node in sums), out_axes=(0,))
        assert factor_common_subsum(whole) is Einsum((first, (0,)), (second, (0,)), (third, (0,)), out_axes=(0,))

    def test_a_term_twice_is_counted_twice(self) -> None:
        whole = Add(a, a, b).mul(Add(a, a, c))
        assert factor_common_subsum(whole) is Add(Add(a, a), b).mul(Add(Add(a, a), c))

    def test_given_terms(self) -> None:
        whole = Add(a, b, c).mul(Add(c, a, d))
        made = factor_common_subsum(whole, terms=[a, c], name="shared")
        shared = Add(a, c, name="shared")
        assert made is Add(shared, b).mul(Add(shared, d))
        assert factor_common_subsum.attempt(whole, terms=[b, d]) == NoMatch("no sum has all of these terms and others")

    def test_booleans_stay_in_their_sum(self) -> None:
        yes, no = (Array(torch.tensor([value] * 3), str(value)) for value in (True, False))
        assert isinstance(factor_common_subsum.attempt(Add(yes, no, a).mul(Add(yes, no, b))), NoMatch)

    def test_groups_of_random_variables_are_not_touched(self) -> None:
        variables = [DiscreteVar(a, Add(a, b, node)) for node in (c, d)]
        assert isinstance(factor_common_subsum.attempt(variables[0].mul(variables[1])), NoMatch)

    def test_deep_and_wide(self) -> None:
        node: Expr = a
        for i in range(10_000):
            node = Add(b, c, node.scale(1.0 + i))
        made = factor_common_subsum(node)
        assert sum(isinstance(n, Add) and n.children == (b, c) for n in postorder([made])) == 1


class TestBroadcasts:
    def test_every_term_gets_the_shape(self) -> None:
        add = Add(leaf("x", 2, 1, 3), leaf("y", 4, 1), scalar(2.0), leaf("z", 2, 4, 3), name="s")
        made = make_broadcasts_explicit(add)
        assert [term.shape for term in made.children] == [(2, 4, 3)] * 4
        assert [isinstance(term, Rearrange) for term in made.children] == [True, True, True, False]
        assert torch.equal(made.evaluate(), add.evaluate())

    def test_empty_axes(self) -> None:
        assert broadcast_to(leaf("x", 1), (2, 0)).shape == (2, 0)


class TestDropIdentity:
    def test_names(self) -> None:
        """SPEC 1.4: the result has the outer name; leaves are never renamed."""
        inner, outer = Add(a, b, name="inner"), Add(Add(a, b, name="inner"), name="outer")
        assert drop_identity_sum(outer) is inner.rename("outer")
        assert drop_identity_sum.attempt(outer, dissolve=is_unnamed) == NoMatch("the name 'inner' would be lost")
        assert drop_identity_sum.attempt(Add(a, name="s"), dissolve=is_unnamed) == NoMatch("the name 's' would be lost")
        assert drop_identity_sum(Add(inner), dissolve=is_unnamed) is inner
        assert drop_identity_sum(Add(a, name="s")) is a

    def test_the_empty_sum_is_zero(self) -> None:
        assert drop_identity_sum(Add(name="s")) is Scalar(0.0, (), "s")

    def test_symbols_are_leaves(self) -> None:
        s = Symbol.new_from_name((), "s")
        assert drop_identity_sum(Add(s, name="sum")) is s


def test_a_reason_is_an_error_where_the_rule_is_called() -> None:
    with pytest.raises(RewriteError, match=r"merge_scalar_terms does not apply to 's' .*: 0 of its terms are scalars"):
        merge_scalar_terms(Add(a, b, name="s"))


TERMS: dict[str, Callable[[float], Expr]] = {
    "flatten_sum": lambda i: Add(scalar(i), a),
    "drop_zero_terms": lambda i: Scalar(0.0, (1,) * (i % 2 == 0), f"z{i}"),
    "merge_scalar_terms": scalar,
    "merge_duplicate_terms": lambda i: a.scale(i) if i % 2 else a.mul(b),
    "make_broadcasts_explicit": scalar,
    "factor_common_operand": lambda i: Scalar(i, (3,)).mul(a),
    "factor_common_subsum": lambda i: Add(b, c, scalar(i)),
}
"""Terms, by number, that make the rule of that name do much."""


def long_sum(kind: str, count: int) -> Add:
    return Add(*(TERMS[kind](float(i)) for i in range(count)), a)


@pytest.mark.parametrize(
    "rule",
    [
        flatten_sum,
        drop_zero_terms,
        merge_scalar_terms,
        merge_duplicate_terms,
        make_broadcasts_explicit,
        factor_common_operand,
        factor_common_subsum,
    ],
    ids=lambda rule: rule.name,
)
def test_cost_grows_with_the_number_of_terms_alone(rule: Rule[...]) -> None:
    small, large = long_sum(rule.name, 1_000), long_sum(rule.name, 10_000)
    assert num_steps(lambda: rule(large)) < 11 * num_steps(lambda: rule(small))
