"""Rules of rearranging on hand-made expressions: exact results, names, reasons, scale."""

from __future__ import annotations

import itertools

import einops
import pytest
import torch

from scrub.graph import Add, Array, Expr, GeneralFunction, Rearrange, Scalar, elementwise, rebuild_batched, softmax
from scrub.graph.functions.power import Pow
from scrub.graph.functions.reduce import Max
from scrub.rewrite.names import is_unnamed
from scrub.rewrite.rule import NoMatch, Rule
from scrub.rewrite.rules import (
    drop_identity_rearrange,
    fuse_rearrange,
    pull_rearrange_through_add,
    pull_rearrange_through_function,
    push_rearrange_through_add,
    push_rearrange_through_function,
)
from tests.steps import num_steps


def array(*shape: int, name: str | None = "x") -> Array:
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    return Array(torch.randn(shape, generator=generator, dtype=torch.float64), name)


def reason(rule: Rule[...], expr: Expr, **options: object) -> str:
    result = rule.attempt(expr, **options)
    assert isinstance(result, NoMatch), result
    return result.reason


def exp(expr: Expr, name: str | None = None) -> Expr:
    return elementwise("exp", expr, name)


# ---- fusing -------------------------------------------------------------------------------------------------------


def test_permutations_compose() -> None:
    x = array(2, 3, 4)
    twice = Rearrange(Rearrange(x, "a b c -> b c a"), "b c a -> a c b", "r")
    assert fuse_rearrange(twice) is Rearrange(x, "a b c -> a c b", "r")
    assert drop_identity_rearrange(fuse_rearrange(Rearrange(Rearrange(x, "a b c -> c b a"), "a b c -> c b a"))) is x


def test_what_is_merged_and_split_again_in_the_same_way_cancels() -> None:
    x = array(2, 3, 4)
    there_and_back = Rearrange(Rearrange(x, "a b c -> c (a b)"), "c (a b) -> b a c", a=2)
    assert fuse_rearrange(there_and_back) is Rearrange(x, "a b c -> b a c")


def test_a_merged_axis_is_taken_apart_into_the_parts_of_both() -> None:
    """(4 3) read as (2 6): the parts are 2, 2 and 3."""
    x = array(4, 3)
    both = Rearrange(Rearrange(x, "a b -> (a b)"), "(c d) -> d c", c=2)
    fused = fuse_rearrange(both)
    assert fused is Rearrange(x, "(c e) b -> (e b) c", c=2)
    expected = einops.rearrange(einops.rearrange(x.value, "a b -> (a b)"), "(c d) -> d c", c=2)
    torch.testing.assert_close(fused.evaluate(), expected, rtol=0, atol=0)


def test_what_has_no_parts_in_common_stays() -> None:
    x = array(2, 3)
    merged = Rearrange(x, "a b -> (a b)", "merged")
    assert reason(fuse_rearrange, Rearrange(merged, "(c d) -> c d", c=3)) == (
        f"axis 0 of {merged!r} is made of sizes (2, 3) and taken apart into (3, 2), which have no parts in common"
    )
    assert "'merged'" in reason(fuse_rearrange, Rearrange(merged, "(c d) -> c d", c=2), dissolve=False)
    assert reason(fuse_rearrange, merged) == f"it rearranges {x!r}, which is no Rearrange"


@pytest.mark.parametrize("sizes", [*itertools.permutations([2, 3, 4, 6], 2)])
def test_common_parts_are_found_exactly_where_cut_points_divide_each_other(sizes: tuple[int, int]) -> None:
    """Merged from (24 / m, m) and split as (24 / n, n): parts exist if m divides n or n divides m."""
    m, n = sizes
    x = array(24 // m, m)
    both = Rearrange(Rearrange(x, "a b -> (a b)"), "(c d) -> d c", d=n)
    found = fuse_rearrange.attempt(both)
    assert isinstance(found, NoMatch) == bool(m % n and n % m)
    if not isinstance(found, NoMatch):
        assert found.cast(Rearrange).children == (x,)
        torch.testing.assert_close(found.evaluate(), x.value.reshape(24 // n, n).T, rtol=0, atol=0)


def test_repeats_and_axes_of_size_1() -> None:
    x = array(2)
    repeated = Rearrange(Rearrange(x, "a -> a 1 3"), "a 1 r -> 4 r a")
    assert fuse_rearrange(repeated) is Rearrange(x, "a -> 4 3 a")
    merged = Rearrange(Rearrange(x, "a -> (a 3)"), "(a r) -> r a", r=3)
    assert fuse_rearrange(merged) is Rearrange(x, "a -> r a", r=3)
    ones = Rearrange(Rearrange(array(6, 1), "a b -> (a b)"), "(c d) -> c d", c=2)
    fused = fuse_rearrange(ones)
    torch.testing.assert_close(fused.evaluate(), array(6, 1).value.reshape(2, 3), rtol=0, atol=0)


def test_sizes_that_follow_from_the_shape_still_do() -> None:
    """The fused node can be rebuilt on another size, as both together could."""
    fused = fuse_rearrange(Rearrange(Rearrange(array(4, 3), "a b -> b a"), "b (c d) -> c b d", c=2))
    wider = array(10, 7)
    rebuilt = rebuild_batched(fused, [wider])
    expected = einops.rearrange(wider.value, "(c d) b -> c b d", c=2)
    torch.testing.assert_close(rebuilt.evaluate(), expected, rtol=0, atol=0)


def test_fusing_stops_above_what_it_cannot_take_up() -> None:
    x = array(2, 3)
    merged = Rearrange(x, "a b -> (a b)")
    top = Rearrange(Rearrange(Rearrange(merged, "(c d) -> c d", c=3), "c d -> d c"), "d c -> 1 (d c)", "r")
    assert fuse_rearrange(top) is Rearrange(merged, "(c d) -> 1 (d c)", "r", c=3)


def test_a_long_chain_is_fused_in_one_go() -> None:
    chain: Expr = array(2, 3)
    for _ in range(10_001):
        chain = Rearrange(chain, "a b -> b a")
    assert fuse_rearrange(chain) is Rearrange(array(2, 3), "a b -> b a")


# ---- identities ---------------------------------------------------------------------------------------------------


def test_only_what_changes_nothing_whatever_the_sizes_is_dropped() -> None:
    x = array(6, 1, 1)
    for spec in ("a b c -> a b c", "(a b) c d -> (a b) c d", "(a b) c d -> (a b 1) c d"):
        assert drop_identity_rearrange(Rearrange(x, spec, "r", **({"b": 2} if "(a b)" in spec else {}))) is x
    swapped = Rearrange(x, "a b c -> a c b")
    assert reason(drop_identity_rearrange, swapped) == f"axis 1 of the result is not axis 1 of {x!r}"
    assert reason(drop_identity_rearrange, Rearrange(x, "a 1 c -> a c")) == "it makes 2 axes of 3"
    assert reason(drop_identity_rearrange, Rearrange(x, "a b c -> a b (c 2)")) == (
        f"axis 2 of the result is not axis 2 of {x!r}"
    )


def test_the_result_has_the_name_of_the_rearrangement() -> None:
    total = Add(array(2), array(2), name="s")
    assert drop_identity_rearrange(Rearrange(total, "a -> a", "r")) is total.rename("r")
    assert drop_identity_rearrange(Rearrange(total, "a -> a")) is total


# ---- past sums and functions --------------------------------------------------------------------------------------


def test_a_broadcast_term_stays_so_where_it_can() -> None:
    x, column, row, number = array(4, 3), array(4, 1, name="column"), array(3, name="row"), Scalar(2.0)
    total = Add(x, column, row, number)
    transposed = push_rearrange_through_add(Rearrange(total, "a b -> b a", "r"))
    assert transposed is Add(
        Rearrange(x, "a b -> b a"), Rearrange(column, "a 1 -> a"), Rearrange(row, "b -> b 1"), number, name="r"
    )
    merged = push_rearrange_through_add(Rearrange(total, "a b -> (b a)"))
    assert merged is Add(
        Rearrange(x, "a b -> (b a)"),
        Rearrange(column, "a 1 -> (b a)", b=3),
        Rearrange(row, "b -> (b a)", a=4),
        number,
    )
    repeated = push_rearrange_through_add(Rearrange(total, "a b -> 5 a b"))
    assert repeated is Add(Rearrange(x, "a b -> 5 a b"), column, row, number)


def test_a_repeat_that_no_term_has_is_given_to_one() -> None:
    row, column = array(1, 3, name="row"), array(2, 1, name="column")
    pushed = push_rearrange_through_add(Rearrange(Add(row, column), "a b -> a 5 b"))
    assert pushed is Add(Rearrange(row, "1 b -> 1 5 b"), Rearrange(column, "a 1 -> a 1 1"))
    assert pushed.shape == (2, 5, 3)
    assert "nothing below it" in reason(push_rearrange_through_add, Rearrange(Add(), "-> 5"))
    assert reason(push_rearrange_through_add, Rearrange(row, "a b -> b a")) == f"it rearranges {row!r}, which is no Add"


def test_functions_of_one_number_let_everything_pass() -> None:
    x = array(2, 6)
    spec = "a (b c) -> (c a) 1 b 4"
    pushed = push_rearrange_through_function(Rearrange(exp(x, "e"), spec, "r", b=2))
    assert pushed is exp(Rearrange(x, spec, b=2), "r")
    assert pull_rearrange_through_function(pushed) is Rearrange(exp(x), spec, "r", b=2)
    assert "'e'" in reason(push_rearrange_through_function, Rearrange(exp(x, "e"), "a b -> b a"), dissolve=is_unnamed)


def test_powers_go_as_sums_do() -> None:
    base, exponent = exp(array(4, 1)), array(3, name="exponent")
    pushed = push_rearrange_through_function(Rearrange(GeneralFunction(base, exponent, spec=Pow()), "a b -> b a"))
    assert pushed is GeneralFunction(Rearrange(base, "a 1 -> 1 a"), Rearrange(exponent, "b -> b 1"), spec=Pow())
    powers = GeneralFunction(Rearrange(base, "a b -> b a"), Scalar(2.0), spec=Pow(), name="p")
    assert pull_rearrange_through_function(powers) is Rearrange(
        GeneralFunction(base, Scalar(2.0), spec=Pow()), "a b -> b a", "p"
    )


def test_the_axis_of_a_softmax_stays_where_it_is() -> None:
    x = array(2, 3, 4)
    probs = softmax(x, "probs")
    assert push_rearrange_through_function(Rearrange(probs, "a b c -> (b a) 1 c", "r")) is softmax(
        Rearrange(x, "a b c -> (b a) 1 c"), "r"
    )
    for spec in ("a b c -> a c b", "a b c -> a (b c)", "a b (c d) -> c a b d", "a b c -> a b c 2"):
        sizes = {"d": 2} if "d" in spec else {}
        why = reason(push_rearrange_through_function, Rearrange(probs, spec, None, **sizes))
        assert why == f"softmax computes axis 2 of {probs!r} together, which is not kept as it is"
        moved = Rearrange(x, spec, "moved", **sizes)
        if "d" not in spec:
            assert reason(pull_rearrange_through_function, softmax(moved, "p")) == (
                f"{moved!r} does not keep axis 2 of {x!r}, which {softmax(moved, 'p')!r} needs"
            )
    assert pull_rearrange_through_function(softmax(Rearrange(x, "a b c -> b a c"), "p")) is Rearrange(
        softmax(x), "a b c -> b a c", "p"
    )


def test_an_extreme_takes_its_axis_along() -> None:
    x = array(2, 3, 4)
    largest = GeneralFunction(x, spec=Max())
    pushed = push_rearrange_through_function(Rearrange(largest, "a b -> (b a)"))
    assert pushed is GeneralFunction(Rearrange(x, "a b c -> (b a) c"), spec=Max())
    assert pull_rearrange_through_function(pushed) is Rearrange(largest, "a b -> (b a)")


def test_a_gather_rearranges_its_index_and_leaves_the_table() -> None:
    table, rows = array(5, 7, name="table"), Array(torch.tensor([[0, 4, 2], [1, 1, 3]]), "rows")
    gathered = GeneralFunction.gen_index(table, rows, index_dim=0)
    pushed = push_rearrange_through_function(Rearrange(gathered, "a b c -> b a c"))
    assert pushed is GeneralFunction.gen_index(table, Rearrange(rows, "a b -> b a"), index_dim=0)
    assert pull_rearrange_through_function(pushed) is Rearrange(gathered, "a b c -> b a c")
    torch.testing.assert_close(pushed.evaluate(), table.value[rows.value].transpose(0, 1), rtol=0, atol=0)


def test_terms_are_pulled_through_only_together() -> None:
    x, y = array(2, 3), array(2, 3, name="y")
    first, second = Rearrange(x, "a b -> b a", "first"), Rearrange(y, "a b -> b a")
    total = Add(first, Scalar(1.0), second, name="s")
    assert pull_rearrange_through_add(total) is Rearrange(Add(x, Scalar(1.0), y), "a b -> b a", "s")
    assert reason(pull_rearrange_through_add, total, dissolve=is_unnamed) == (f"{first!r} may not be taken apart")
    other = Rearrange(array(3, 2, name="z"), "a b -> a b", "other")
    assert reason(pull_rearrange_through_add, Add(first, other)) == (
        f"{first!r} and {other!r} are not rearranged in the same way"
    )
    third = array(3, 2, name="z")
    assert reason(pull_rearrange_through_add, Add(first, third)) == f"{third!r} is not rearranged"
    assert reason(pull_rearrange_through_add, Add(Scalar(1.0))) == "no argument is rearranged"


def test_sizes_that_differ_are_not_the_same_way() -> None:
    """The same spec with other sizes of the parts, and on other shapes that would broadcast to a third."""
    x = array(6)
    differently = Add(Rearrange(x, "(a b) -> (b a)", b=2), Rearrange(x, "(a b) -> (b a)", b=3))
    assert "in the same way" in reason(pull_rearrange_through_add, differently)
    broadcast = Add(Rearrange(array(2, 1), "a b -> (a b)"), Rearrange(array(1, 2, name="y"), "a b -> (a b)"))
    assert "in the same way" in reason(pull_rearrange_through_add, broadcast)


def test_a_wide_sum_is_passed_in_linear_time() -> None:
    def there_and_back(count: int) -> None:
        total = Add(*(Scalar(float(i), (3, 2)) for i in range(count)))
        pushed = push_rearrange_through_add(Rearrange(total, "a b -> b a"))
        assert pull_rearrange_through_add(pushed) is Rearrange(total, "a b -> b a")

    assert num_steps(lambda: there_and_back(5_000)) < 10.5 * num_steps(lambda: there_and_back(500))
