"""SPEC 2.3: Rearrange, against einops."""

from __future__ import annotations

import einops
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from tests.independent import assert_same

CASES: list[tuple[tuple[int, ...], str, dict[str, int]]] = [
    ((2, 3), "a b -> b a", {}),
    ((3, 1), "a 1 -> a", {}),
    ((3,), "a -> a 10", {}),
    ((3,), "a -> 1 a 1", {}),
    ((2, 6), "a (b c) -> c b a", {"b": 2}),
    ((2, 6), "a (b c) -> (c a) b", {"c": 3}),
    ((2, 3), "a b -> (a b)", {}),
    ((2, 3), "a b -> (b n a) m", {"n": 2, "m": 3}),
    ((), "-> 4", {}),
    ((2, 3), "a b -> a (2 b)", {}),
    ((2, 0), "a b -> b 2 a", {}),
    ((1, 1), "1 1 ->", {}),
    ((2,), "a -> (2 2 a)", {}),
    ((2,), "a -> 3 3 a", {}),
]


@pytest.mark.parametrize(("shape", "spec", "sizes"), CASES, ids=[c[1] for c in CASES])
def test_2_3_against_einops_repeat(shape: tuple[int, ...], spec: str, sizes: dict[str, int]) -> None:
    x = torch.randn(shape)
    spelled = {"a -> (2 2 a)": "a -> (2 n a)"}.get(spec)  # einops takes equal numbers in one group for one axis
    expected = einops.repeat(x, spelled, n=2) if spelled else einops.repeat(x, spec, **sizes)
    made = rc.Rearrange(rc.Array(x), spec, **sizes)
    assert made.shape == tuple(expected.shape)
    assert_same(made.evaluate(), expected, tolerance=0)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], str, dict[str, int]]:
    """Elementary axes, grouped at random on the left and, permuted and with repeats, on the right."""
    names = list("abcde")[: draw(st.integers(0, 5))]
    sizes = {name: draw(st.integers(1, 3)) for name in names}
    left = draw(groups(names))
    repeats = list("xy")[: draw(st.integers(0, 2))]
    sizes |= {name: draw(st.integers(1, 3)) for name in repeats}
    right = draw(groups(draw(st.permutations(names + repeats))))
    shape = [product(sizes, group) for group in left]
    return shape, f"{text(left)} -> {text(right)}", sizes


@st.composite
def groups(draw: st.DrawFn, names: list[str]) -> list[list[str]]:
    made: list[list[str]] = []
    for name in names:
        kind = draw(st.sampled_from(["own", "joined", "after a 1"]))
        if kind == "joined" and made:
            made[-1].append(name)
        else:
            made += [[], [name]] if kind == "after a 1" else [[name]]
    return made


def product(sizes: dict[str, int], group: list[str]) -> int:
    total = 1
    for name in group:
        total *= sizes[name]
    return total


def text(made: list[list[str]]) -> str:
    return " ".join("1" if not g else g[0] if len(g) == 1 else f"({' '.join(g)})" for g in made)


@given(cases())
def test_2_3_generated_specs_against_einops(case: tuple[list[int], str, dict[str, int]]) -> None:
    shape, spec, sizes = case
    x = torch.arange(float(torch.tensor(shape).prod()) if shape else 1.0).reshape(shape)
    made = rc.Rearrange(rc.Array(x), spec, **sizes)
    assert_same(made.evaluate(), einops.repeat(x, spec, **sizes), tolerance=0)


def test_2_3_specs_that_differ_in_letters_only_are_one_node() -> None:
    x = rc.Array(torch.zeros(2, 6))
    assert rc.Rearrange(x, "a (b c) -> c b a", b=2) is rc.Rearrange(x, "row (first second)->second first row", first=2)


@pytest.mark.parametrize(
    ("shape", "spec", "sizes", "message"),
    [
        ((2, 3), "a b -> a", {}, r"drops axis 'b'.*hint: Einsum sums axes, Index picks"),
        ((2, 3), "a 3 -> a", {}, r"would drop an axis of size 3.*hint: only axes of size 1"),
        ((2, 3), "a 1 -> a", {}, r"axis 1 of 'x' \[2, 3\] Array \w+ is 3, which 'a 1 -> a' cannot split"),
        ((2, 3), "a -> a", {}, r"is for 1 axes, 'x' \[2, 3\] .* has 2"),
        ((2, 3), "a (b c) -> a b c", {}, r"sizes of axis 1 .* are not decided"),
        ((2, 3), "a (b c) -> a b c", {"b": 2}, r"axis 1 of 'x' .* is 3, which .* cannot split"),
        ((2, 3), "a b -> a b n", {}, r"size of repeated axis .* is not given"),
        ((2, 3), "a b -> a a b", {}, r"an axis stands twice on one side"),
        ((2, 3), "a b -> b a", {"a": 5}, r"axis 0 is 2, the spec says 5"),
        ((2, 3), "a b -> b a", {"z": 5}, r"has no axis 'z'"),
        ((2, 3), "a b", {}, r"needs one '->'"),
        ((2, 3), "a (b -> a b", {}, r"unbalanced"),
        ((2, 3), "a ((b)) -> a b", {}, r"unbalanced or nested"),
        ((2, 3), "a b) -> a b", {}, r"unbalanced"),
        ((2, 3), "a ... -> a", {}, r"'...' in .* is not an axis name"),
    ],
)
def test_2_3_errors(shape: tuple[int, ...], spec: str, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(rc.ScrubError, match=f"(?s)^Rearrange.*{message}"):
        rc.Rearrange(rc.Array(torch.zeros(shape), "x"), spec, name="r", **sizes)


def test_3_merged_axes_may_change_size() -> None:
    x = rc.Scalar(1.0, (2, 3), name="x")
    merged = rc.Rearrange(x, "a b -> (b a)")
    assert rc.Expander(("x", rc.Scalar(1.0, (7, 5, 3)))).run(merged).shape == (7, 15)
