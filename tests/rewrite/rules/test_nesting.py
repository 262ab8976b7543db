"""Regrouping sums and products: structure, names, axes, what is claimed twice or not at all, and cost."""

from __future__ import annotations

import pytest
import torch

from scrub.graph import Add, Array, ConstructionError, Einsum, Expr, RewriteError, Scalar
from scrub.rewrite.names import is_unnamed
from scrub.rewrite.rule import NoMatch
from scrub.rewrite.rules import REST, Group, nest_product, nest_sum


def leaf(name: str, *shape: int) -> Array:
    """A named array of random values that the name decides."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    return Array(torch.randn(shape, dtype=torch.float64, generator=generator), name)


def assert_equals(expr: Expr, expected: torch.Tensor) -> None:
    torch.testing.assert_close(expr.evaluate(), expected, rtol=1e-12, atol=1e-12)


a, b, c, d, e = (leaf(name, 3) for name in "abcde")
x, y, z = leaf("x", 2, 3), leaf("y", 3, 4), leaf("z", 4, 5)


class TestSpec:
    """What the parts of a spec claim, on a sum."""

    def test_positions_names_matchers_and_the_rest(self) -> None:
        add = Add(a, b, c, d, e, name="s")
        inner = Add(b, Add(a, c), name="g")
        assert nest_sum(add, [-1, Group("b", [0, {"c"}], name="g"), REST]) is Add(e, inner, d, name="s")

    def test_a_matcher_claims_all_that_it_matches(self) -> None:
        add = Add(a, b.scale(2.0), c, d.scale(3.0))
        assert nest_sum(add, [Group(Einsum), REST]) is Add(Add(b.scale(2.0), d.scale(3.0)), a, c)

    def test_equal_terms_are_told_apart_by_position(self) -> None:
        assert nest_sum(Add(a, a, b), [[0, 2], 1]) is Add(Add(a, b), a)
        assert nest_sum(Add(a, a, b), [["a"], "b"]) is Add(Add(a, a), b)

    @pytest.mark.parametrize(
        ("spec", "reason"),
        [
            ([0, "a", REST], f"position 0, {a!r}, is claimed by 0 and by 'a'"),
            ([[0, 1], [1, REST]], f"position 1, {b!r}, is claimed by 1 and by 1"),
            ([0], f"nothing claims position 1, {b!r}; position 2, {c!r}; add REST to take them all"),
            ([REST, [REST]], "REST stands 2 times"),
            ([7, REST], "there is no position 7, there are 3"),
            (["q", REST], "'q' matches none of the 3"),
            ([0, 1, 2, Group(REST, name="g")], "Group(REST, name='g') has nothing in it"),
            ([Group(0, 1, axes=(0,)), 2], "Group(0, 1, axes=(0,)) permutes axes, which groups of a sum do not"),
        ],
    )
    def test_what_does_not_fit(self, spec: list[object], reason: str) -> None:
        assert nest_sum.attempt(Add(a, b, c), spec) == NoMatch(reason)

    def test_what_is_left_out_is_an_error_where_the_rule_is_called(self) -> None:
        with pytest.raises(RewriteError, match="nothing claims position 2, 'c'"):
            nest_sum(Add(a, b, c), [0, 1])

    def test_axes_must_be_a_permutation(self) -> None:
        with pytest.raises(ConstructionError, match=r"axes \[0, 2\] are not a permutation"):
            Group("x", axes=(0, 2))


class TestSum:
    def test_groups_that_existed_keep_their_names(self) -> None:
        add = Add(Add(a, Add(b, c, name="bc"), name="abc"), d, name="s")
        assert nest_sum(add, [[0, [1, 2]], 3]) is add.with_children([Add(a, Add(b, c, name="bc"), name="abc"), d])
        regrouped = nest_sum(add, [[2, 1], Group(0, 3, name="ad")])
        assert regrouped is Add(Add(c, b, name="bc"), Add(a, d, name="ad"), name="s")
        assert nest_sum(add, [Group(1, 2, name="other"), REST]).children[0].name == "other"

    def test_only_what_may_be_taken_apart(self) -> None:
        add = Add(Add(a, b, name="kept"), Add(c, d))
        assert nest_sum(add, [["kept", "c"], REST], dissolve=is_unnamed) is Add(Add(Add(a, b, name="kept"), c), d)

    def test_terms_broadcast_within_their_group(self) -> None:
        row, column = leaf("row", 3), leaf("column", 2, 1)
        made = nest_sum(Add(row, x, column, name="s"), [["row", "column"], "x"])
        assert_equals(made, row.value + x.value + column.value)

    def test_booleans_are_not_added_as_booleans(self) -> None:
        yes, no = (Array(torch.tensor([value] * 3), str(value)) for value in (True, False))
        reason = "Group(0, 1) would be added in torch.bool, the sum is in torch.float64"
        assert nest_sum.attempt(Add(yes, no, a), [[0, 1], 2]) == NoMatch(reason)

    def test_paths_are_counted_before_they_are_walked(self) -> None:
        node: Expr = a
        for _ in range(60):
            node = Add(node, node)
        assert nest_sum.attempt(node.cast(Add), [REST]) == NoMatch(f"taken apart, it has {2**60} terms")


class TestProduct:
    def test_axes_that_are_needed_outside(self) -> None:
        """(x y) z as x (y z)."""
        product = Einsum.from_string("ik,kl->il", Einsum.from_string("ij,jk->ik", x, y, name="xy"), z, name="s")
        made = nest_product(product, ["x", Group("y", "z", name="yz")])
        inner = Einsum.from_string("jk,kl->jl", y, z, name="yz")
        assert made is Einsum.from_string("ij,jl->il", x, inner, name="s")
        assert_equals(made, x.value @ y.value @ z.value)

    def test_permuted_axes(self) -> None:
        product = Einsum.from_string("ij,jk,kl->il", x, y, z)
        made = nest_product(product, [Group("x", "y", axes=(1, 0)), "z"])
        assert made.children[0].shape == (4, 2)
        assert_equals(made, x.value @ y.value @ z.value)
        assert nest_product.attempt(product, [Group("x", "y", axes=(0,)), "z"]) == NoMatch(
            "Group('x', 'y', axes=(0,)) permutes 1 axes, its result has 2"
        )

    def test_groups_that_existed_are_the_same_nodes(self) -> None:
        inner = Einsum.from_string("ij,jk->ki", x, y, name="xy")
        product = Einsum.from_string("ki,kl->il", inner, z, name="s")
        made = nest_product(product, [REST])
        assert made is Einsum.from_string("ij,jk,kl->il", x, y, z, name="s")
        assert nest_product(product, [["z"], ["x", "y"]]).children[1] is inner

    def test_a_diagonal_across_groups(self) -> None:
        """The groups of sum_ij v[i] m[i, i, j] w[j] keep the axes that they share, once each."""
        m = leaf("m", 3, 3, 4)
        v, w = leaf("v", 3), leaf("w", 4)
        product = Einsum.from_string("i,iij,j->ii", v, m, w, name="s")
        made = nest_product(product, ["v", ["m", "w"]])
        inner = Einsum.from_string("iij,j->i", m, w)
        assert made is Einsum.from_string("i,i->ii", v, inner, name="s")
        assert_equals(made, torch.diag(v.value * torch.einsum("iij,j->i", m.value, w.value)))

    def test_a_result_on_the_diagonal_is_taken_apart(self) -> None:
        product = Einsum.from_string("ij,jk->ik", Einsum.from_string("i->ii", a, name="diagonal"), y)
        made = nest_product(product, [["a"], "y"])
        assert_equals(made, torch.diag(a.value) @ y.value)

    def test_outer_products_and_sums_of_one_operand(self) -> None:
        product = Einsum.from_string("i,j,k->", a, b, c)
        made = nest_product(product, [["a", "b"], ["c"]])
        assert [child.shape for child in made.children] == [(), ()]
        assert_equals(made, a.value.sum() * b.value.sum() * c.value.sum())

    def test_an_axis_is_summed_in_the_innermost_group_that_has_all_of_it(self) -> None:
        product = Einsum.from_string("i,i,i,j->j", a, b, c, d)
        made = nest_product(product, [[["a", "b"], "c"], "d"])
        inner = Einsum.from_string("i,i->i", a, b)
        assert made is Einsum.from_string(",j->j", Einsum.from_string("i,i->", inner, c), d)

    def test_booleans_are_not_summed_as_booleans(self) -> None:
        yes = Array(torch.tensor([True, True, False]), "yes")
        reason = "Group('yes') would be computed in torch.bool, the product is in torch.float64"
        assert nest_product.attempt(Einsum.from_string("i,j->j", yes, a), [["yes"], REST]) == NoMatch(reason)


def test_deep_specs_of_many_parts() -> None:
    count = 3_000
    spec: list[object] = [count]
    for i in reversed(range(count)):
        spec = [i, spec]
    terms = [Scalar(float(i)) for i in range(count + 1)]
    added = nest_sum(Add(*terms), spec)
    multiplied = nest_product(Einsum(*((term, ()) for term in terms), out_axes=()), spec)
    wide = nest_sum(Add(*terms), [REST, [5, 3]])
    assert len(wide.children) == count
    for nested in (added, multiplied):
        depth, node = 0, nested
        while len(node.children) == 2:
            depth, node = depth + 1, node.children[1]
        assert depth == count
