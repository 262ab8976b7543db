"""Rules of products: what they make exactly, what they refuse and why, and their cost on long products."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from scrub.graph import Add, Array, Concat, Einsum, Expr, Index, Rearrange, RewriteError, Scalar, Symbol, postorder
from scrub.rewrite.iterative import new_traversal, restrict
from scrub.rewrite.matcher import Matcher
from scrub.rewrite.names import is_unnamed
from scrub.rewrite.rule import NoMatch, Rule
from scrub.rewrite.rules import (
    absorb_outer_permutation,
    absorb_permutations,
    contract_over_concat,
    distribute,
    distribute_through,
    drop_identity_einsum,
    drop_one_operands,
    drop_zero_product,
    flatten_einsum,
    merge_scalar_operands,
    push_down_traces,
)
from tests.steps import num_steps


def leaf(name: str, *shape: int) -> Array:
    """A named array of random values that the name decides."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    return Array(torch.randn(shape, dtype=torch.float64, generator=generator), name)


def assert_equals(expr: Expr, expected: torch.Tensor) -> None:
    torch.testing.assert_close(expr.evaluate(), expected, rtol=1e-12, atol=1e-12)


a, b, c, d = leaf("a", 3), leaf("b", 3), leaf("c", 3), leaf("d", 3)
yes = Array(torch.tensor([True, True, False]), "yes")


class TestFlatten:
    def test_a_result_on_the_diagonal_merges_axes_outside(self) -> None:
        """SPEC 2.1: `v, (0,) -> (0, 0)` is diag(v); sum_j diag(v)[i, j] w[j] is v[i] w[i]."""
        diagonal = Einsum.from_string("i->ii", a)
        flat = flatten_einsum(Einsum.from_string("ij,j->i", diagonal, b, name="s"))
        assert flat is Einsum((a, (0,)), (b, (0,)), out_axes=(0,), name="s")

    def test_both_axes_of_a_diagonal_kept_stay_a_diagonal(self) -> None:
        flat = flatten_einsum(Einsum.from_string("ij->ji", Einsum.from_string("i->ii", a)))
        assert flat is Einsum((a, (0,)), out_axes=(0, 0))

    def test_a_trace_outside_merges_axes_inside(self) -> None:
        x, y = leaf("x", 3, 4), leaf("y", 4, 3)
        flat = flatten_einsum(Einsum.from_string("ii->", Einsum.from_string("ij,jk->ik", x, y)))
        assert flat is Einsum((x, (0, 1)), (y, (1, 0)), out_axes=())
        assert_equals(flat, torch.trace(x.value @ y.value))

    def test_the_same_product_twice_keeps_its_sums_apart(self) -> None:
        norm = Einsum.from_string("i,i->", a, a)
        flat = flatten_einsum(norm.mul(norm))
        assert flat is Einsum((a, (0,)), (a, (0,)), (a, (1,)), (a, (1,)), out_axes=())

    def test_booleans_stay_apart(self) -> None:
        any_yes = Einsum.from_string("i->", yes)
        assert flatten_einsum.attempt(Einsum((any_yes, ()), (a, (0,)), out_axes=(0,))) == NoMatch(
            "yes [] Einsum a-> is a product of torch.bool in one of torch.float64"
        )

    def test_only_what_may_be_taken_apart_and_one_level(self) -> None:
        product = Einsum.from_string("i,i->i", a.mul(b, name="inner"), a.mul(a.mul(b)))
        flat = flatten_einsum(product, dissolve=is_unnamed)
        assert [child.name for child in flat.children] == ["inner", "a", None]


class TestDropOnes:
    def test_a_one_that_gives_an_axis_stays(self) -> None:
        one = Scalar(1.0, (4,))
        product = Einsum((a, (0,)), (one, (1,)), out_axes=(0,))
        assert drop_one_operands.attempt(product) == NoMatch("axes get their sizes from 1.0 [4] Scalar 1.0 alone")
        assert_equals(product, 4 * a.value)

    def test_of_two_that_give_an_axis_one_stays(self) -> None:
        one = Scalar(1.0, (4,))
        product = Einsum((one, (0,)), (one, (0,)), (Scalar(1), ()), out_axes=(0,), name="s")
        assert drop_one_operands(product) is Einsum((one, (0,)), out_axes=(0,), name="s")

    def test_a_summed_axis_of_size_one_needs_nobody(self) -> None:
        product = Einsum((a, (0,)), (Scalar(1.0, (1,)), (1,)), out_axes=(0,))
        assert drop_one_operands(product) is Einsum((a, (0,)), out_axes=(0,))


class TestDropZeros:
    def test_shape_dtype_and_name(self) -> None:
        product = Einsum((Scalar(-0.0, (4,)), (1,)), (a, (0,)), out_axes=(0, 1), name="s")
        made = drop_zero_product(product)
        assert (made.shape, made.dtype, made.name) == ((3, 4), torch.float64, "s")
        assert a not in set(postorder([made]))
        assert_equals(made, torch.zeros(3, 4, dtype=torch.float64))

    def test_symbols_leave_the_dtype_open(self) -> None:
        product = Einsum((Scalar(0.0), ()), (yes, (0,)), (Symbol.new_from_name((3,), "s"), (0,)), out_axes=(0,))
        assert product.dtype == torch.bool
        assert isinstance(drop_zero_product.attempt(product), NoMatch)

    def test_arrays_on_request_only(self) -> None:
        product = Array(torch.zeros(3, dtype=torch.float64), "zeros").mul(a)
        assert drop_zero_product.attempt(product) == NoMatch("no operand is a zero")
        assert_equals(drop_zero_product(product, arrays=True), torch.zeros(3, dtype=torch.float64))


class TestMergeScalars:
    def test_a_summed_axis_counts(self) -> None:
        product = Einsum((Scalar(2.0, (4,)), (1,)), (a, (0,)), (Scalar(0.5, (4, 5)), (1, 2)), out_axes=(2, 0), name="s")
        assert merge_scalar_operands(product) is Einsum((Scalar(4.0, (5,)), (1,)), (a, (0,)), out_axes=(1, 0), name="s")

    def test_nothing_but_scalars_is_a_scalar(self) -> None:
        assert merge_scalar_operands(Einsum(out_axes=(), name="one")) is Scalar(1, (), "one")
        empty = Einsum((Scalar(3.0, (0, 2)), (0, 1)), out_axes=(1,))
        assert merge_scalar_operands(empty) is Scalar(0.0, (2,))

    def test_a_diagonal_of_scalars_is_not_a_scalar(self) -> None:
        diagonal = Einsum((Scalar(3.0, (2,)), (0,)), out_axes=(0, 0))
        assert merge_scalar_operands.attempt(diagonal) == NoMatch("1 of its operands are scalars that may be merged")

    def test_not_what_the_dtype_does_not_hold(self) -> None:
        x = Array(torch.ones(3, dtype=torch.int8))
        product = Einsum((x, (0,)), (Scalar(100), ()), (Scalar(2), ()), out_axes=(0,))
        assert merge_scalar_operands.attempt(product) == NoMatch("torch.int8 does not hold 200")


class TestDropIdentity:
    def test_names(self) -> None:
        inner = a.mul(b, name="inner")
        outer = Einsum((inner, (0,)), out_axes=(0,), name="outer")
        assert drop_identity_einsum(outer) is inner.rename("outer")
        assert drop_identity_einsum.attempt(outer, dissolve=is_unnamed) == NoMatch("the name 'inner' would be lost")

    def test_a_diagonal_kept_is_no_identity(self) -> None:
        x = leaf("x", 3, 3)
        reason = NoMatch("it sums, permutes or takes a diagonal")
        assert drop_identity_einsum.attempt(Einsum((x, (0, 0)), out_axes=(0, 0))) == reason


class TestAbsorbPermutations:
    def test_axes_of_size_one_come_and_go(self) -> None:
        x = leaf("x", 3, 1, 4)
        turned = Rearrange(x, "a 1 b -> 1 b a")
        made = absorb_permutations(Einsum.from_string("zba,a->zb", turned, a, name="s"))
        assert made is Einsum((x, (0, 1, 2)), (a, (0,)), (Scalar(1.0, (1,)), (3,)), out_axes=(3, 2), name="s")
        assert_equals(made, torch.einsum("zba,a->zb", x.value.permute(1, 2, 0), a.value))

    def test_a_repeat_is_a_size_that_others_may_give(self) -> None:
        repeated = Rearrange(a, "i -> i j", j=4)
        w = leaf("w", 4)
        made = absorb_permutations(Einsum.from_string("ij,j->i", repeated, w))
        assert made is Einsum((a, (0,)), (w, (1,)), out_axes=(0,))
        assert_equals(absorb_permutations(Einsum.from_string("ij->i", repeated)), 4 * a.value)

    def test_splits_stay(self) -> None:
        split = Rearrange(leaf("x", 6), "(i j) -> i j", i=2)
        reason = absorb_permutations.attempt(Einsum.from_string("ij->ji", split))
        assert isinstance(reason, NoMatch)
        assert reason.reason.endswith("splits or merges axes")

    def test_above(self) -> None:
        product = Einsum.from_string("i,j->ij", a, leaf("w", 4), name="inner")
        turned = Rearrange(product, "i j -> j 1 i 2", name="outer")
        made = absorb_outer_permutation(turned)
        assert isinstance(made, Einsum)
        assert (made.name, made.shape) == ("outer", (4, 1, 3, 2))
        assert_equals(made, turned.evaluate())
        assert isinstance(absorb_outer_permutation.attempt(turned, dissolve=is_unnamed), NoMatch)

    def test_above_a_diagonal(self) -> None:
        turned = Rearrange(Einsum.from_string("i->ii", a), "i j -> j 1 i")
        assert_equals(absorb_outer_permutation(turned), torch.diag(a.value)[:, None])


class TestPushDownTraces:
    def test_sums_and_diagonals(self) -> None:
        x, y = leaf("x", 3, 3, 4), leaf("y", 3, 5)
        made = push_down_traces(Einsum.from_string("iij,ik->k", x, y, name="s"))
        inner = Einsum.from_string("iij->i", x)
        assert made is Einsum.from_string("i,ik->k", inner, y, name="s")
        assert_equals(made, torch.einsum("iij,ik->k", x.value, y.value))

    def test_booleans_are_counted_outside(self) -> None:
        product = Einsum.from_string("i,j->j", yes, a)
        assert isinstance(push_down_traces.attempt(product), NoMatch)
        assert_equals(product, 2 * a.value)

    def test_a_single_operand_has_nothing_below(self) -> None:
        product = Einsum.from_string("i->", a)
        assert push_down_traces.attempt(product) == NoMatch("it has one operand only")


class TestDistribute:
    def test_terms_broadcast(self) -> None:
        x, row, number = leaf("x", 2, 3), leaf("row", 3), leaf("number")
        w = leaf("w", 3, 2)
        made = distribute(Einsum.from_string("ij,jk->k", Add(x, row, number, name="sum"), w, name="s"))
        assert (made.name, made.shape) == ("s", (2,))
        assert isinstance(made, Add)
        terms = [x.value, row.value.expand(2, 3), number.value.expand(2, 3)]
        for part, term in zip(made.children, terms, strict=True):
            assert_equals(part, torch.einsum("ij,jk->k", term, w.value))

    def test_chosen_terms_only(self) -> None:
        product = Add(a, b, c).mul(d, name="s")
        assert distribute(product, terms="b") is Add(b.mul(d), Add(a, c).mul(d), name="s")
        assert distribute(product, terms={"a", "b"}) is Add(a.mul(d), b.mul(d), c.mul(d), name="s")

    def test_which_operand(self) -> None:
        product = Add(a, b).mul(Add(c, d))
        assert distribute(product) is Add(a.mul(Add(c, d)), b.mul(Add(c, d)))
        assert distribute(product, operand=1) is Add(Add(a, b).mul(c), Add(a, b).mul(d))
        assert distribute.attempt(product, operand=2) == NoMatch("operand 2 is none of its 2")
        assert distribute.attempt(a.mul(b), operand=0) == NoMatch(
            f"operand 0, {a!r}, is not a sum that may be taken apart"
        )
        assert distribute.attempt(product, terms="e") == NoMatch("none of the 2 terms of a + b [3] Add is chosen")
        with pytest.raises(RewriteError, match="no operand is a sum"):
            distribute(a.mul(b))

    def test_booleans_are_not_multiplied_as_booleans(self) -> None:
        """(yes + a) . yes is a number: the part yes . yes would be one of booleans, which counts to one."""
        product = Einsum.from_string("i,i->", Add(yes, a), yes)
        assert isinstance(distribute.attempt(product), NoMatch)


class TestDistributeThrough:
    def test_products_of_sums(self) -> None:
        product = Add(a, b).mul(Add(c, d), name="s")
        assert distribute_through(product) is Add(a.mul(c), a.mul(d), b.mul(c), b.mul(d), name="s")
        assert distribute_through(product, operand=0) is Add(a.mul(Add(c, d)), b.mul(Add(c, d)), name="s")

    def test_down_to_what_the_traversal_allows(self) -> None:
        inner = Add(a, b, name="inner")
        product = Add(Add(inner, c, name="middle"), d).mul(a)
        assert len(distribute_through(product).children) == 4
        assert len(distribute_through(product, traversal=new_traversal(end_depth=3)).children) == 3
        assert len(distribute_through(product, traversal=new_traversal(end_depth=2)).children) == 2
        stopped = distribute_through(product, traversal=restrict(~Matcher("inner")))
        assert inner.mul(a) in stopped.children

    def test_attention_heads_into_a_readout(self) -> None:
        """logits = U (x + W1 (x + y)): one term for each path."""
        x, y, w, u = leaf("x", 3), leaf("y", 3), leaf("W", 3, 3), leaf("U", 5, 3)
        resid = Add(x, Einsum.from_string("ij,j->i", w, Add(x, y)))
        made = distribute_through(Einsum.from_string("vi,i->v", u, resid, name="logits"))
        expected = [u.value @ x.value, u.value @ w.value @ x.value, u.value @ w.value @ y.value]
        assert len(made.children) == 3
        for part, value in zip(made.children, expected, strict=True):
            assert_equals(part, value)

    def test_as_many_terms_as_paths_are_refused_at_once(self) -> None:
        node: Expr = a
        for _ in range(60):
            node = Add(node, node.scale(0.5))
        product = node.mul(b)
        assert distribute_through.attempt(product) == NoMatch("there would be more than 10000 terms")
        deep: Expr = a
        for _ in range(10_000):
            deep = Add(deep, b)
        assert len(distribute_through(deep.mul(c), max_terms=20_000).children) == 10_001


class TestContractOverConcat:
    def test_other_operands_are_cut(self) -> None:
        x, w = leaf("x", 5), leaf("w", 5, 4)
        joined = Concat(a, leaf("e", 2), axis=0)
        made = contract_over_concat(Einsum.from_string("i,ij,i->j", joined, w, x, name="s"))
        cut = [(a, slice(0, 3)), (leaf("e", 2), slice(3, 5))]
        expected = [Einsum.from_string("i,ij,i->j", p, Index(w, [s]), Index(x, [s])) for p, s in cut]
        assert made is Add(*expected, name="s")
        assert_equals(made, torch.cat([p.value for p, _ in cut]) * x.value @ w.value)

    def test_a_diagonal_of_the_concatenation(self) -> None:
        rows = Concat(leaf("x", 1, 3), leaf("y", 2, 3), axis=0)
        made = contract_over_concat(Einsum.from_string("ii->", rows))
        assert_equals(made, torch.trace(rows.evaluate()))

    def test_the_axis_must_be_summed(self) -> None:
        joined = Concat(a, b, axis=0)
        assert contract_over_concat.attempt(Einsum.from_string("i->i", joined)) == NoMatch(
            f"axis 0 of {joined!r}, along which it is concatenated, is not summed"
        )


OPERANDS: dict[str, Callable[[float], Expr]] = {
    "flatten_einsum": lambda i: Scalar(i, (3,)).mul(b),
    "drop_one_operands": lambda i: Scalar(1.0, (3,), f"one{i}"),
    "merge_scalar_operands": lambda i: Scalar(1.0 / i, (3,)),
    "absorb_permutations": lambda i: Rearrange(Scalar(i, (1, 3)), "1 a -> a"),
}
"""Operands, by number, that make the rule of that name do much."""


def long_product(kind: str, count: int) -> Einsum:
    numbers = [float(i + 2) for i in range(count)]
    if kind in ("distribute", "distribute_through"):
        return Einsum((Add(*(Scalar(i, (3,)) for i in numbers), a), (0,)), (b, (0,)), out_axes=(0,))
    if kind == "contract_over_concat":
        joined = Concat(*(Scalar(i, (1,)) for i in numbers), a, axis=0)
        return Einsum((joined, (0,)), (leaf("w", count + 3), (0,)), out_axes=())
    return Einsum(*((operand, (0,)) for operand in [*map(OPERANDS[kind], numbers), a]), out_axes=(0,))


@pytest.mark.parametrize(
    "rule",
    [
        flatten_einsum,
        drop_one_operands,
        merge_scalar_operands,
        absorb_permutations,
        distribute,
        distribute_through,
        contract_over_concat,
    ],
    ids=lambda rule: rule.name,
)
def test_cost_grows_with_the_number_of_operands_alone(rule: Rule[...]) -> None:
    small, large = long_product(rule.name, 1_000), long_product(rule.name, 9_000)
    assert num_steps(lambda: rule(large)) < 10 * num_steps(lambda: rule(small))


def test_push_down_traces_of_many_operands() -> None:
    operands = [(leaf(f"x{i}", 2), (i,)) for i in range(3_000)]
    made = push_down_traces(Einsum(*operands, (a, (5_000,)), out_axes=(5_000,)))
    assert [child.shape for child in made.children] == [()] * 3_000 + [(3,)]
