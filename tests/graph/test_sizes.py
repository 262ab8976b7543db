"""Sizes that are sympy expressions (SPEC 2.9): one form, text, what each node makes of them, files, errors."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.graph import (
    FUNCTIONS,
    SetSymbolicShape,
    elementwise,
    parse_size,
    size_text,
    size_value,
    symbolic_sizes,
    uniform,
)
from scrub.graph.sizes import as_shape, as_size, is_surely_less, product, replace_in_size, total
from scrub.rewrite import bind_sizes
from tests.independent import assert_same

N, D, H = symbolic_sizes("n d h")


def symbol(*shape: object, name: str = "x") -> rc.Symbol:
    return rc.Symbol.new_from_name(shape, name)  # type: ignore[arg-type]


# ---- sizes themselves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "same"),
    [
        (N * (D + 1), N * D + N),
        ((N + 1) ** 2, N * N + 2 * N + 1),
        (N * D / N, D),
        ((N * D + N) / (D + 1), N),
        ((N * N - 1) / (N - 1), N + 1),
        (D / (N * H) * H, D / N),
        ((N + 3) // 2, (N + 1) // 2 + 1),
        ((3 * N) // 2, N // 2 + N),
        (N - N, 0),
        (2 * N / N, 2),
    ],
    ids=str,
)
def test_equal_sizes_are_written_alike(size: sympy.Expr, same: sympy.Expr) -> None:
    assert as_size(size) == as_size(same)
    assert symbol(size) is symbol(same)
    assert type(as_size(same)) is int or not isinstance(as_size(same), sympy.Integer)


def test_symbols_of_a_user_become_size_variables_of_that_name() -> None:
    plain = sympy.Symbol("n")
    assert plain != N
    assert symbol(plain + 1) is symbol(N + 1)
    assert symbolic_sizes("n, d") == (N, D)


def test_a_size_variable_may_be_zero_or_one() -> None:
    """No size that an actual tensor could have is reserved: nothing is concluded from a variable being positive."""
    assert not is_surely_less(0, N)
    assert not is_surely_less(N, 1)
    assert is_surely_less(N, N + 1)
    x = symbol(N, 3)
    for size in (0, 1, 2):
        value = torch.ones(size, 3, dtype=torch.float64)
        call = rc.module_new_bind(x.add(rc.Scalar(1.0, (1, 3))), ("x", rc.Array(value)))
        assert_same(call.evaluate(), value + 1)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (-1, "sizes cannot be negative"),
        (N - N - 2, "sizes cannot be negative"),
        (-N - 1, "sizes cannot be negative"),
        (N + sympy.Rational(1, 2), "is not an integer"),
        (sympy.Rational(3, 2), "is not an integer"),
        (sympy.sqrt(N), "cannot be part of one"),
        (sympy.pi, "cannot be part of one"),
        (sympy.sin(N), "cannot be part of one"),
        (sympy.oo, "cannot be part of one"),
        (2.0, "2.0 is not a size"),
        ("n", "'n' is not a size"),
    ],
    ids=str,
)
def test_what_is_no_size_is_refused(size: object, message: str) -> None:
    with pytest.raises(rc.ShapeError, match=message):
        as_shape((2, size))


@pytest.mark.parametrize("name", ["2n", "lambda", "", "a b".replace(" ", "-")])
def test_names_of_sizes_are_identifiers(name: str) -> None:
    with pytest.raises(rc.ShapeError, match="cannot name a size"):
        rc.graph.sizes.size_variable(name)


def expressions() -> st.SearchStrategy[sympy.Expr]:
    leaves = st.sampled_from([N, D, H, sympy.Integer(2), sympy.Integer(3)])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda p: p[0] + p[1]),
            st.tuples(inner, inner).map(lambda p: p[0] * p[1]),
            st.tuples(inner, inner).map(lambda p: p[0] / p[1]),
            st.tuples(inner, leaves).map(lambda p: p[0] // p[1]),
        ),
        max_leaves=6,
    )


@given(expressions())
def test_text_of_a_size_reads_back(size: sympy.Expr) -> None:
    try:
        wanted = as_size(size)
    except rc.ShapeError:
        return
    assert parse_size(size_text(wanted)) == wanted


@given(expressions(), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_the_one_form_has_the_value_of_what_was_written(size: sympy.Expr, n: int, d: int, h: int) -> None:
    try:
        form = as_size(size)
    except rc.ShapeError:
        return
    values = {N: n, D: d, H: h}
    expected = size.subs(values)
    if expected.is_Integer and expected >= 0:
        assert replace_in_size(form, values) == int(expected)
    else:
        with pytest.raises(rc.ShapeError):
            replace_in_size(form, values)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12", 12),
        ("seq - 1", symbolic_sizes("seq")[0] - 1),
        ("n*d/n", D),
        ("(n + 4)//2", N // 2 + 2),
        ("floor(n/2)", N // 2),
        ("n**2 * d", N * N * D),
    ],
)
def test_sizes_are_read(text: str, size: object) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n d",
        "__import__('os').getcwd()",
        "n.real",
        "[n]",
        "n if d else h",
        "lambda: n",
        "sin(n)",
        "n**d",
        "n**9999",
        "1.5",
        "True",
        "1/0",
        "(" * 400 + "n" + ")" * 400,
        "n+" * 800 + "n",
        "2 - 3",
    ],
)
def test_nothing_else_is_read_as_a_size(text: str) -> None:
    with pytest.raises(rc.ShapeError):
        parse_size(text)


def test_products_and_sums() -> None:
    assert product((N, 2, D)) == 2 * N * D
    assert product(()) == 1
    assert total((N, 2, 3)) == N + 5
    assert symbol(N, D + 1).numel == N * D + N
    assert type(product((2, 3))) is int


# ---- nodes -------------------------------------------------------------------------------------------------------


def test_einsum_needs_sizes_that_are_written_alike() -> None:
    x, w = symbol(N, D * H), symbol(H * D, 5, name="w")
    assert rc.Einsum.from_string("ab,bc->ac", x, w).shape == (N, 5)
    with pytest.raises(rc.ShapeError) as caught:
        rc.Einsum.from_string("ab,bc->ac", x, symbol(D, 5, name="w"), name="product")
    assert "axis 'b' of 'ab,bc->ac' is d*h in argument 0 ('x') but d in argument 1 ('w')" in str(caught.value)
    assert "rc.SetSymbolicShape" in str(caught.value.hint)
    assert (caught.value.expected, caught.value.found) == (D * H, D)


def test_add_broadcasts_one_against_a_symbolic_size() -> None:
    assert rc.Add(symbol(N, 1), symbol(D, name="y"), rc.Scalar(1.0)).shape == (N, D)
    with pytest.raises(rc.ShapeError, match=r"(?s)axis -1 is n in .* but 3 in .*SetSymbolicShape"):
        rc.Add(symbol(N), symbol(3, name="y"))


def test_set_symbolic_shape_says_that_two_sizes_are_equal() -> None:
    heads, model = symbol(N, H * D), symbol(N, symbolic_sizes("d_model")[0], name="y")
    with pytest.raises(rc.ShapeError, match="d_model in 'y'"):
        rc.Add(heads, model)
    said = SetSymbolicShape(model, (None, H * D))
    assert rc.Add(heads, said).shape == (N, D * H)
    bound = bind_sizes(rc.Add(heads, said), n=2, h=3, d=4, d_model=12)
    assert bound.shape == (2, 12)
    with pytest.raises(rc.ShapeError, match=r"SetSymbolicShape None: axis 1 of 'y' \[2, 13\] .* is 13, not 12"):
        bind_sizes(rc.Add(heads, said), n=2, h=3, d=4, d_model=13)


def test_set_symbolic_shape_checks_known_sizes_at_once() -> None:
    x = rc.Array(torch.ones(2, 3), "x")
    assert_same(SetSymbolicShape(x, (2, None)).evaluate(), x.value)
    with pytest.raises(rc.ShapeError, match=r"SetSymbolicShape 'claim': axis 1 of 'x' .* is 3, not 4") as caught:
        SetSymbolicShape(x, (2, 4), name="claim")
    assert (caught.value.axis, caught.value.expected, caught.value.found) == (1, 4, 3)
    with pytest.raises(rc.ShapeError, match="1 sizes for 2 axes"):
        SetSymbolicShape(x, (2,))
    with pytest.raises(rc.ShapeError, match=r"is n, not n \+ 1"):
        SetSymbolicShape(symbol(N), (N + 1,))


@pytest.mark.parametrize(
    ("shape", "spec", "sizes", "expected"),
    [
        ((N, H * D), "n (h d) -> h n d", {"h": H}, (H, N, D)),
        ((N, D), "n (h e) -> h n e", {"h": H}, (H, N, D / H)),
        ((H, N, D), "h n d -> n (h d)", {}, (N, D * H)),
        ((N,), "n -> n r", {"r": D + 1}, (N, D + 1)),
        ((2 * N,), "(a n) -> n a", {"a": 2}, (N, 2)),
        ((N, 1), "n 1 -> 1 n", {}, (1, N)),
        ((6,), "(a b) -> a b", {"a": N}, (N, 6 / N)),
    ],
    ids=str,
)
def test_rearrange_multiplies_and_divides_sizes(
    shape: tuple[object, ...], spec: str, sizes: dict[str, int], expected: tuple[object, ...]
) -> None:
    made = rc.Rearrange(symbol(*shape), spec, **sizes)
    assert made.shape == expected
    numbers = {"n": 2, "d": 6, "h": 3}
    open_names = {str(v): numbers[str(v)] for v in made.free_sizes}
    bound = bind_sizes(made, open_names)
    assert bound.shape == tuple(replace_in_size(size, {N: 2, D: 6, H: 3}) for size in expected)


def test_rearrange_finds_what_cannot_be_split() -> None:
    with pytest.raises(rc.ShapeError, match=r"axis 0 of .* is 2\*n \+ 1, which '\(a b\) -> a b' cannot split"):
        rc.Rearrange(symbol(2 * N + 1), "(a b) -> a b", a=2)
    split = rc.Rearrange(symbol(D), "(h e) -> h e", h=H, name="split")
    with pytest.raises(rc.ShapeError, match=r"Rearrange 'split': axis 0 of 'x' \[7\] .* is 7, which .* cannot split"):
        bind_sizes(split, d=7, h=2)
    with pytest.raises(rc.ShapeError, match="is n, which '1 -> ' cannot split"):
        rc.Rearrange(symbol(N), "1 ->")


@pytest.mark.parametrize(
    ("idx", "expected"),
    [
        (rc.I[0], ()),
        (rc.I[-1], ()),
        (rc.I[1:], (N - 1,)),
        (rc.I[:-2], (N - 2,)),
        (rc.I[1:-1], (N - 2,)),
        (rc.I[:], (N,)),
        (rc.I[2:4], (2,)),
        (rc.I[-2:], (2,)),
        ((slice(1, N),), (N - 1,)),
        ((slice(0, N),), (N,)),
        ((N - 2,), ()),
        ((torch.tensor([0, 3, 1]),), (3,)),
    ],
    ids=str,
)
def test_index_of_a_symbolic_axis(idx: tuple[object, ...], expected: tuple[object, ...]) -> None:
    made = symbol(N).index(idx)
    assert made.shape == expected
    value = torch.arange(7.0, dtype=torch.float64)
    concrete = [int(e.subs({N: 7})) if isinstance(e, sympy.Expr) else e for e in idx]
    concrete = [slice(1 if e.start == 1 else 0, 7) if isinstance(e, slice) and e.stop == N else e for e in concrete]
    bound = rc.module_new_bind(made, ("x", rc.Array(value))).substitute()
    assert_same(bound.evaluate(), value[tuple(concrete)])
    assert bound is rc.Array(value).index(concrete) or bound.shape == value[tuple(concrete)].shape


def test_an_index_conforms_to_what_would_have_been_built() -> None:
    x = rc.Symbol((N, D), "the same uuid", "x")
    known = rc.Symbol((3, 4), "the same uuid", "x")
    for idx in (rc.I[1:], rc.I[:3, -1], rc.I[0, 1:-1], rc.I[-1, :4]):
        assert bind_sizes(x.index(idx), n=3, d=4) is known.index(idx)


@pytest.mark.parametrize(
    ("idx", "size", "message"),
    [
        (rc.I[3], 3, "3 is out of range for axis 0 of size 3"),
        (rc.I[-3], 2, "n - 3 is out of range for axis 0 of size 2"),
        (rc.I[2:5], 4, "5 is out of range for axis 0 of size 4"),
        (rc.I[3:], 2, "3:2 is out of range for axis 0 of size 2"),
        (([0, 5],), 5, "5 is out of range for axis 0 of size 5"),
    ],
    ids=str,
)
def test_ranges_are_checked_once_the_size_is_known(idx: tuple[object, ...], size: int, message: str) -> None:
    made = symbol(N).index(idx, name="pick")
    with pytest.raises(rc.ShapeError, match=f"Index 'pick': {message}"):
        bind_sizes(made, n=size) if N in made.free_sizes else None


@pytest.mark.parametrize("entry", [N, N + 1, slice(0, N + 1), slice(N + 1, N), slice(2, 1)], ids=str)
def test_what_is_out_of_range_at_any_size_is_found_at_once(entry: object) -> None:
    with pytest.raises(rc.ShapeError, match="Index None"):
        symbol(N).index((entry,))


def test_positions_from_the_end_of_a_symbolic_axis_need_a_slice() -> None:
    with pytest.raises(rc.ShapeError, match="count from the end of an axis of symbolic size n"):
        symbol(N).index(([0, -1],))


def test_concat_adds_sizes() -> None:
    assert rc.Concat(symbol(N, 2), symbol(D, 2, name="y"), symbol(3, 2, name="z"), axis=0).shape == (N + D + 3, 2)
    with pytest.raises(rc.ShapeError, match="SetSymbolicShape"):
        rc.Concat(symbol(N, 2), symbol(D, 3, name="y"), axis=0)
    assert rc.Concat.stack(symbol(N), symbol(N)).shape == (2, N)


def test_functions_follow_shapes() -> None:
    x = symbol(N, D)
    assert rc.softmax(x).shape == (N, D)
    assert rc.GeneralFunction(x, spec=FUNCTIONS["max"]()).shape == (N,)
    assert rc.GeneralFunction(x, symbol(D, name="y"), spec=FUNCTIONS["pow"]()).shape == (N, D)
    with pytest.raises(rc.ShapeError, match="do not broadcast"):
        rc.GeneralFunction(x, symbol(H, name="y"), spec=FUNCTIONS["pow"]())
    index = symbol(H, name="index")
    assert rc.GeneralFunction.gen_index(x, index, index_dim=0).shape == (H, D)
    assert rc.GeneralFunction.gen_index(x, index, index_dim=-2, batch_x=True, batch_index=False).shape == (H, D)
    assert rc.GeneralFunction.gen_index(x, symbol(N, name="i"), index_dim=0, batch_x=True).shape == (N,)


def test_random_variables_of_symbolic_shape() -> None:
    rows, other = symbol(N, D), symbol(N, name="y")
    variable = rc.DiscreteVar(rows, name="v")
    assert variable.shape == (D,)
    tied = rc.DiscreteVar(other, variable.probs_and_group)
    assert rc.Cumulant(variable, tied).shape == (D,)
    assert rc.Cumulant(variable, variable).shape == (D, D)
    with pytest.raises(rc.ShapeError, match="n rows but probabilities of shape"):
        rc.DiscreteVar(rows, rc.Scalar(0.5, (D,)))
    probs = bind_sizes(uniform(N), n=4).evaluate()
    assert_same(probs, torch.full((4,), 0.25))


def test_the_mean_over_a_symbolic_axis() -> None:
    """SPEC 2.6 `last_dim_size`: how many there are is only known once the size is."""
    x = symbol(N, D)
    value = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for axis in (0, 1, -1, (0, 1), None):
        call = rc.module_new_bind(x.mean(axis), ("x", rc.Array(value)))
        assert_same(call.evaluate(), value.mean() if axis in ((0, 1), None) else value.mean(axis))
    half = rc.module_new_bind(symbol(N).mean(), ("x", rc.Array(torch.ones(4099, dtype=torch.float32))))
    assert half.evaluate().dtype == torch.float32
    assert half.evaluate() == 1


def test_last_dim_size_is_a_value() -> None:
    size = rc.GeneralFunction(symbol(N, D), spec=FUNCTIONS["last_dim_size"](), name="count")
    assert size.shape == (N,)
    call = rc.module_new_bind(elementwise("sqrt", size), ("x", rc.Array(torch.zeros(2, 3, 9, dtype=torch.float64))))
    assert_same(call.evaluate(), torch.full((2, 3), 3.0))
    assert_same(bind_sizes(size_value(N * D), n=2, d=5).evaluate(), torch.tensor(10.0))
    assert size_value(3) is rc.Scalar(3)


# ---- identity, flags, files --------------------------------------------------------------------------------------


def test_size_variables_are_free_until_bound() -> None:
    x = symbol(N, D)
    assert x.free_sizes == (D, N) or x.free_sizes == (N, D)
    assert rc.Scalar(1.0, (N,)).sum().free_sizes == (N,)
    assert not rc.Scalar(1.0, (N,)).sum().is_explicitly_computable
    assert rc.Scalar(1.0, (3,)).free_sizes == ()
    assert bind_sizes(x, n=D, d=N).shape == (D, N)
    assert bind_sizes(x, n=3).free_sizes == (D,)


def test_symbols_keep_their_uuid_and_name_when_sizes_are_bound() -> None:
    x = symbol(N, D)
    bound = bind_sizes(x, n=2, d=3).cast(rc.Symbol)
    assert (bound.uuid, bound.name, bound.shape) == (x.uuid, x.name, (2, 3))


def test_expressions_of_symbolic_sizes_survive_files_and_pickle(tmp_path: Path) -> None:
    x = symbol(N, H * D)
    split = rc.Rearrange(x, "n (h d) -> h n d", h=H).index(rc.I[0, 1:, -1])
    claimed = SetSymbolicShape(split, (N - 1,), name="claim")
    value = rc.Array(torch.ones(3, 8, dtype=torch.float64))
    call = rc.Module(
        rc.ModuleSpec(claimed, [x, symbol(H, name="heads")], allow_unused=True), x=value, heads=rc.Scalar(1.0, (2,))
    )
    rc.save({"body": claimed, "call": call}, tmp_path / "symbolic.safetensors")
    assert rc.load_many(tmp_path / "symbolic.safetensors") == {"body": claimed, "call": call}
    assert pickle.loads(pickle.dumps(call)) is call
    assert_same(call.evaluate(), torch.ones(2))


SCRIPT = """
import sys
import scrub as rc
assert "sympy" not in sys.modules, "sympy was imported"
rc.Rearrange(rc.Scalar(1.0, (2, 6)), "a (b c) -> c b a", b=2).index((0, slice(1, None))).mean().evaluate()
assert "sympy" not in sys.modules, "ints came near sympy"
from scrub.graph import symbolic_sizes
n, d = symbolic_sizes("n d")
x = rc.Symbol.new_from_name((n * (d + 1), d / n), "x")
print(x.digest, rc.Rearrange(x, "(a b) c -> b (c a)", a=n).mean().digest)
"""


def test_digests_are_the_same_in_every_process_and_sympy_waits_until_needed() -> None:
    outputs = {
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout for _ in "ab"
    }
    x = symbol(N * (D + 1), D / N)
    assert outputs == {f"{x.digest} {rc.Rearrange(x, '(a b) c -> b (c a)', a=N).mean().digest}\n"}


def test_symbolic_sizes_are_shown() -> None:
    x = symbol(N, D * H, D / H, 3)
    assert repr(x).startswith("'x' [n, d*h, d/h, 3] Symbol")
    assert "[1:n]" in repr(symbol(N).index(rc.I[1:]))
    assert "[n - 1]" in repr(symbol(N).index(rc.I[-1]))
