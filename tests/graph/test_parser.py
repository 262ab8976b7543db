"""Parsing: what is printed is read back as the same object, and what cannot be read is an error that says where."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scrub as rc
from scrub.graph import FUNCTIONS, NODES, FrozenTensor, Function, FunctionShape, ParseError, Parser, function, node
from scrub.graph.files import frozen_tensors
from scrub.graph.functions.base import function_name
from scrub.graph.text.values import parse_values, values_text
from scrub.rewrite.testing import Maker
from tests.steps import num_steps
from tests.strategies import expressions

EXAMPLES = [
    pytest.param(example, id=f"{kind}-{i}")
    for kind, cls in sorted(NODES.items())
    for i, example in enumerate(cls.examples())
]
X = rc.Array(torch.arange(6.0).reshape(2, 3), "x")


def tensors_of(expr: rc.Expr) -> list[torch.Tensor]:
    return [tensor.value for tensor in frozen_tensors([expr])]


def assert_reads_back(expr: rc.Expr) -> None:
    assert Parser(tensors=tensors_of(expr))(rc.to_text(expr, exact=True)) is expr
    assert Parser(known=[expr])(rc.to_text(expr)) is expr
    assert Parser(known=[expr])(rc.to_text(expr, arrows=True, commenters=lambda n: "a # 'comment'")) is expr


# ---- round trips ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_registered_type_and_function_is_read_back(example: rc.Expr) -> None:
    assert_reads_back(example)
    assert_reads_back(rc.Add(example, rc.Add(example), example))


@given(expressions())
def test_generated_expressions_are_read_back(expr: rc.Expr) -> None:
    assert_reads_back(expr)


@given(st.integers(0, 2**32))
def test_expressions_of_all_types_are_read_back(seed: int) -> None:
    maker = Maker(seed)
    assert_reads_back(maker.expr(maker.shape()))


@given(st.text(), st.text())
def test_any_names_are_read_back(first: str, second: str) -> None:
    x = rc.Scalar(1.0, name=first)
    s = rc.Symbol.new_from_name((), second)
    inner = rc.Add(x, s, name=second)
    call = rc.Module(rc.ModuleSpec(inner, [s]), first, **{second: rc.Add(x)})
    assert_reads_back(rc.Add(call, x, rc.Add(call, inner)))


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.booleans())
def test_any_number_is_read_back(value: float) -> None:
    """SPEC 1.1: 0.0 and -0.0, 1 and True differ."""
    assert_reads_back(rc.Scalar(value, (2, 0)))


def test_numbers_that_are_easily_confused() -> None:
    """SPEC 1.1."""
    values = [0.0, -0.0, 0, False, 1, True, 1.0, math.inf, -math.inf, math.nan, 5e-324, 0.1, 10**30]
    scalars = rc.Add(*[rc.Scalar(value) for value in values])
    assert_reads_back(scalars)
    assert len(set(scalars.children)) == len(values)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.tuples, max_leaves=8))
def test_any_parameters_are_read_back(value: Any) -> None:
    found = parse_values(values_text((value, (value,)), exact=True), lambda *_: FrozenTensor(torch.zeros(1)))
    assert repr(found) == repr((value, (value,)))


def test_uuids_that_are_no_uuids() -> None:
    for uuid in ("", "short", "8letters", "has space", "it's # odd", "x" * 40):
        assert_reads_back(rc.Tag(rc.Symbol((2,), uuid, "s"), uuid, "t"))
    assert Parser()(rc.to_text(rc.Symbol((), "short"), exact=True)) is rc.Symbol((), "short")


def test_module_parameters_that_need_saying() -> None:
    a, b, twin = (rc.Symbol.new_with_random_uuid((2,), name) for name in ("a", "b", "a"))
    y = rc.Array(torch.ones(2), "y")
    unused = rc.Module(rc.ModuleSpec(b, [a, b], allow_unused=True), "m", a=y, b=y)
    flags = rc.Module(rc.ModuleSpec(rc.Add(a), [rc.ModuleArgSpec(a, batchable=False, expandable=False)]), "m", a=y)
    confused = rc.Module(rc.ModuleSpec(rc.Add(a, twin), [twin]), "m", a=y)
    plain = rc.Module(rc.ModuleSpec(rc.Add(a), [a]), "m", a=y)
    for expr in (unused, flags, confused, plain):
        assert_reads_back(expr)
    assert ["{" in rc.to_text(e).split("\n")[0] for e in (unused, flags, confused, plain)] == [True, True, True, False]


def test_indices_of_every_kind() -> None:
    x = rc.Array(torch.zeros(20, 4, 5))
    long = torch.arange(12)
    for index in ((), (0,), (slice(2, 2),), (long,), ([],), ([3],), (long, [1, 0], slice(1, 3)), (-1, slice(None), -2)):
        assert_reads_back(rc.Index(x, index))
    digits = rc.Index(rc.Array(torch.zeros(87654322)), [[87654321]])  # looks like the beginning of a digest
    assert_reads_back(digits)


def test_einsums_with_many_axes_and_none() -> None:
    wide = rc.Array(torch.zeros([1] * 30))
    assert_reads_back(rc.Einsum((wide, tuple(range(30))), out_axes=tuple(range(29, -1, -1))))
    assert_reads_back(rc.Einsum((rc.Scalar(1.0), ()), out_axes=()))
    assert_reads_back(rc.Einsum(out_axes=()))
    assert_reads_back(rc.Rearrange(wide, " ".join(f"a{i}" for i in range(30)) + " -> " + "(a0 a1) 1 4"
                                   + "".join(f" a{i}" for i in range(2, 30))))  # fmt: skip


def test_meta_tensors() -> None:
    x = rc.Array(torch.empty(2, 3, dtype=torch.float16, device="meta"), "x")
    assert Parser()(rc.to_text(x, exact=True)) is x


@function
@dataclass(frozen=True)
class _Shifted(Function):
    by: float
    how: str

    def infer_shape(self, shapes: Sequence[rc.Shape]) -> FunctionShape:
        return FunctionShape(shapes[0], 0, (True,), (0,))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        return dtypes[0]

    @classmethod
    def examples(cls) -> Iterator[tuple[Function, tuple[torch.Tensor, ...]]]:
        yield cls(0.5, "up"), (torch.zeros(2),)


@node
class _Odd(rc.Expr):
    """A node type that says little about itself."""

    __slots__ = ()

    def __new__(cls, *children: rc.Expr, params: tuple[Any, ...], name: str | None = None) -> Self:
        return cls.make(children, params, name)

    @classmethod
    def infer(cls, children: Any, params: Any, name: Any) -> tuple[rc.Shape, torch.dtype | None]:
        return (), None

    def param_text(self) -> str:
        return "a # [2] {odd} ! 'text'\n..."


# only these tests know them
del FUNCTIONS[function_name(_Shifted)], NODES["_Odd"]  # only where a test asks for them


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FUNCTIONS, function_name(_Shifted), _Shifted)
    monkeypatch.setitem(NODES, "_Odd", _Odd)


@pytest.mark.usefixtures("registered")
def test_functions_and_types_that_users_register() -> None:
    shifted = rc.GeneralFunction(X, spec=_Shifted(-0.0, "it's } up"))
    positions = FrozenTensor(torch.arange(100))
    odd = _Odd(X, shifted, params=(1, 1.0, True, ("a", (None, positions), ())), name="odd")
    assert_reads_back(rc.Add(shifted, odd, odd))


def test_a_parameter_without_text_form(registered: None) -> None:
    with pytest.raises(rc.ConstructionError, match=r"(?s)a parameter of type complex has no text form.*hint: param"):
        rc.to_text(_Odd(params=(1j,)), exact=True)


def test_several_expressions() -> None:
    shared = rc.Add(X, name="shared")
    exprs = [shared, rc.Add(shared, name="b"), shared]
    assert Parser(tensors=[X.value]).parse_many(rc.to_text(exprs, exact=True)) == exprs
    with pytest.raises(ParseError, match=r"(?s)holds 3 expressions.*hint: parse_many reads several"):
        Parser(tensors=[X.value])(rc.to_text(exprs, exact=True))


def test_folded_and_labelled_repeats() -> None:
    unnamed = rc.Add(X, X, X, X, X)
    named = rc.Add(X, X, name="n")
    twin = rc.Add(X, name="n")
    for part in (X, X.rename(None), unnamed, named):
        assert_reads_back(rc.Add(*[part] * 12, name="top"))
        assert_reads_back(rc.Add(*[part] * 5, twin, *[part] * 4, unnamed, twin, *[X] * 3))
    assert " ... x 11" in rc.to_text(rc.Add(*[named] * 12))


def test_a_model_is_read_back() -> None:
    model = rc.load_shipped("attn_only_2l")
    lowered = model.lower(seq_len=8)
    configured = rc.configure_transformer(lowered["t.bind_w"])
    call = model.call(torch.arange(8), model=configured)
    assert_reads_back(call)
    assert_reads_back(rc.substitute_all_modules(call))


# ---- what people write by hand ----------------------------------------------------------------------------------


def test_text_written_by_hand() -> None:
    """SPEC 10: the worked example, with tensors given and the symbol by its name."""
    values = [torch.full((3,), value) for value in (1.0, 2.0, 3.0)]
    w, x, y = (rc.Array(value) for value in values)
    text = f"""
        # a comment
        'loss' Einsum i,i->
          'model' [3] Module
            'spec' [3] Add   # another
              'in' [3] Symbol

              'w' [3] Array {w.frozen.digest[:8]}...
            'x' [3] Array {x.frozen.digest[:12]} ! 'in'
          "y" [3] Array {y.frozen.digest}
    """
    s = rc.Symbol.new_from_name((3,), "in")
    model = rc.Module(rc.ModuleSpec(rc.Add(s, w.rename("w"), name="spec"), [s]), "model", **{"in": x.rename("x")})
    expected = rc.Einsum.from_string("a,a->", model, y.rename("y"), name="loss")
    assert Parser(tensors={"any": values[0], "name": values[1], "at all": values[2]})(text) is expected
    assert Parser(known=[rc.Add(w, x), y])(text) is expected


def test_short_uuids_are_found_by_name_or_among_the_known() -> None:
    named, random = rc.Symbol.new_from_name((2,), "s"), rc.Symbol.new_with_random_uuid((2,), "s")
    assert Parser()(repr(named)) is named
    assert Parser(known=[rc.Add(random)])(repr(random)) is random
    with pytest.raises(
        ParseError, match=r"(?s)line 1: no known uuid begins with .*\n    's' \[2\] Symbol.*hint: leave"
    ):
        Parser()(repr(random))


def test_random_tensors_stand_in_for_unknown_ones() -> None:
    text = "'s' Add\n  'a' [2, 3] Array 00112233\n  'b' [2, 3] Array 44556677\n  'c' [2, 3] Array 00112233"
    made = Parser(random=0)(text)
    a, b, c = (child.cast_array().value for child in made.children)
    assert a.shape == (2, 3)
    assert a.dtype == torch.float32
    assert torch.equal(a, c)
    assert not torch.equal(a, b)
    assert Parser(random=0)(text) is made
    assert Parser(random=1)(text) is not made
    assert Parser(random=0, dtype=torch.float64)(text).dtype == torch.float64
    assert Parser(random=0, tensors=tensors_of(X))(rc.to_text(X)) is X


def test_digests_that_begin_alike() -> None:
    tensors: list[FrozenTensor] = [
        FrozenTensor(torch.tensor([float(i)]), digest=f"00000000{i}" + "0" * 23) for i in range(2)
    ]
    parser = Parser.with_frozen(tensors)
    assert parser("[1] Array 000000001").cast_array().value.item() == 1.0
    with pytest.raises(ParseError, match=r"(?s)2 of the given tensors have digests that begin with 00000000\b.*hint"):
        parser("[1] Array 00000000")


def test_indentation_from_a_docstring_and_guides() -> None:
    assert Parser()("\n\t\n   'a' Add\n     'x' [] Scalar 1\n") is rc.Add(rc.Scalar(1, name="x"), name="a")
    assert Parser()("'a' Add\n├ 'x' [] Scalar 1\n└ 'x'") is rc.Add(*[rc.Scalar(1, name="x")] * 2, name="a")


# ---- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'a' [] Ad", r"line 1: expected .* found the unknown type 'Ad'\n    'a' \[\] Ad\n.*did you mean 'Add'\?"),
        ("'a Add", r"line 1: a quote is not closed.*hint: write names as"),
        (r"'\q' [] Add", r"line 1: unknown escape \\q.*hint"),
        ("'a' Add\n   'x' [] Scalar 1", r"line 2: indented by 3 spaces.*hint: two spaces a level"),
        ("'a' Add\n\t'x' [] Scalar 1", r"line 2: indented with a tab.*hint"),
        ("'a' Add\n    'x' [] Scalar 1", r"line 2: indented 1 levels too deep.*hint"),
        ("'a' Add\n  'x'", r"line 2: no line above is named 'x'.*hint: a name alone refers"),
        ("'abc' [] Scalar 1\n'abd'", r"line 2: no line above is named 'abd'; similar: 'abc'"),
        ("'a' Add\n  'a'", r"line 2: no line above is named 'a'"),
        ("'x' [] Scalar 1\n'x' [] Scalar 2\n'x'", r"line 3: 'x' is ambiguous: lines 1 and 2.*hint: label .*'x' @1"),
        ("@2", r"line 1: no line above has the label @2.*hint"),
        ("'x' @1 [] Scalar 1\n'y' @1 [] Scalar 1", r"line 2: the label @1 is taken.*hint"),
        ("'x' [] Scalar", r"line 1: expected a number, found ''"),
        ("'x' [] Scalar 1e", r"line 1: expected a number, found '1e'"),
        ("'x' Scalar 1", r"line 1: a leaf needs its shape in brackets"),
        ("'x' [-1] Scalar 1", r"line 1: '-1' is not a size.*hint: a shape is written \[2, 3\]"),
        ("'x' [2] Symbol notauuid", r"line 1: no known uuid begins with notauuid.*hint: leave it out"),
        ("[2] Symbol", r"line 1: a symbol or tag needs a name or a uuid"),
        ("'x' [2] Array 123", r"line 1: '123' is not a digest.*hint: 8 to 32 hex"),
        (
            "'x' [2] Array 0123456789",
            r"line 1: no tensor with digest 0123456789 is given.*hint: Parser\(tensors=.*rand",
        ),
        ("'x' [2] Array\n", r"line 1: '' is not a digest"),
        ("'a' [3] Add\n  'x' [2] Scalar 1", r"line 1: written with shape \[3\], but what is below gives \[2\].*hint"),
        ("'a' Add\n  [2] Scalar 1\n  [3] Scalar 1", r"line 1: Add 'a': axis -1 is .*hint: only axes of size 1"),
        ("'a' [2] Add ...", r"line 1: the text was cut here.*hint: print it without max_depth"),
        ("'a' Einsum ab->c\n  [2, 2] Scalar 1", r"line 1: an output axis of 'ab->c' is in no operand"),
        ("'a' Einsum ab,b->a\n  [2, 2] Scalar 1", r"line 1: 'ab,b->a' is for 2 operands, found 1"),
        ("'a' Einsum abc->a\n  [2, 2] Scalar 1", r"line 1: Einsum 'a': argument 0 has 2 axes"),
        ("'a' Concat 0\n  [2] Scalar 1", r"line 1: expected axis=0"),
        ("'a' Concat axis=7\n  [2] Scalar 1", r"line 1: "),
        ("'a' Index [5]\n  [2] Scalar 1", r"line 1: Index 'a': 5 is out of range"),
        ("'a' Index [1:0]\n  [2] Scalar 1", r"line 1: the slice '1:0' ends before it starts"),
        ("'a' Index 0\n  [2] Scalar 1", r"line 1: expected an index such as"),
        ("'a' Index [x.y]\n  [2] Scalar 1", r"line 1: 'x.y' in an index is not"),
        ("'a' Index [[0, y]]\n  [2] Scalar 1", r"line 1: \[0, y\] in an index does not hold positions"),
        ("'a' Rearrange a b\n  [2, 2] Scalar 1", r"line 1: expected a rearrangement"),
        ("'a' Rearrange a -> a b, b=f(x)\n  [2] Scalar 1", r"line 1: 'f\(x\)' is not a size"),
        ("'a' GeneralFunction hardmax\n  [2] Scalar 1", r"line 1: unknown function 'hardmax'.*hint: import the module"),
        (
            "'a' GeneralFunction cast\n  [2] Scalar 1",
            r"line 1: 'cast' does not say all of cast's fields; .*cast\(dtype",
        ),
        ("'a' GeneralFunction {cast(1, 2)}\n  [2] Scalar 1", r"line 1: "),
        ("'a' Add {(((1}\n", r"line 1: a parenthesis is not closed"),
        ("'a' Add {1 2}\n", r"line 1: '2' is out of place"),
        ("'a' Add {os.system('x')}\n", r"line 1: unknown function 'os.system'"),
        ("'a' Add {" + "(" * 5000 + ")" * 5000 + "}", r"line 1: nested more than 100 deep"),
        ("'a' Module", r"line 1: a Module needs its body as its first child"),
        ("'a' Module\n  's' [] Symbol\n  'x' [] Scalar 1", r"line 1: each child of a Module but the first says"),
        ("'a' Module\n  's' [] Symbol\n  [] Scalar 1 ! 't'", r"line 1: no free symbols of the body are named 't'"),
        ("'a' Add ... x 99999999999\n", r"line 1: "),
        ("'a' [] Scalar 1 ... x 999999999\n", r"line 1: more than 10,000,000 children are folded"),
        ("'a' Tag\n", r"line 1: "),
        ("'a' Cumulant 3\n", r"line 1: Cumulant's parameters cannot be read from '3'"),
        ("", r"the text holds 0 expressions.*hint"),
        ("'a' [] Scalar 1\n'b' [] Scalar 1", r"the text holds 2 expressions"),
        ("nonsense", r"line 1: expected 'name' \[shape\] Type parameters, found the unknown type 'nonsense'"),
        ("___", r"line 1: "),
        ("[2]", r"line 1: expected a node type"),
        ("'x' [2]", r"line 1: expected a node type"),
        ("] } ! # '", r"line 1: "),
    ],
)
def test_errors_say_where_what_and_how_to_repair(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=f"(?s)^{message}") as info:
        Parser()(text)
    if message.startswith("line"):
        number = int(re.findall(r"\d+", message)[0])
        assert info.value.line_number == number
        assert info.value.line == text.split("\n")[number - 1].rstrip()
    assert info.value.hint


@given(st.text(alphabet="'\"[]{}()@#!.,: \nabx12->|│Add Scalar Symbol Module Array Einsum"))
def test_any_text_is_an_expression_or_a_parse_error(text: str) -> None:
    try:
        made = Parser(random=0).parse_many(text)
    except ParseError as error:
        assert str(error)  # noqa: PT017
    else:
        assert all(isinstance(expr, rc.Expr) for expr in made)


@given(st.data())
def test_damaged_text_is_an_expression_or_a_parse_error(data: st.DataObject) -> None:
    maker = Maker(data.draw(st.integers(0, 1000)))
    text = rc.to_text(maker.expr((2, 3)), exact=data.draw(st.booleans()))
    at = data.draw(st.integers(0, len(text)))
    until = at + data.draw(st.integers(0, 5))
    changed = text[:at] + data.draw(st.text(max_size=3)) + text[until:]
    try:
        Parser(random=0)(changed)
    except ParseError as error:
        assert str(error)  # noqa: PT017


# ---- scale ------------------------------------------------------------------------------------------------------


def wide_text(count: int) -> str:
    return "\n".join(["'root' Add", *(f"  'n{i}' [2] Add\n    'x{i}' [2] Scalar {i}.5" for i in range(count))])


def test_a_line_costs_the_same_at_any_length() -> None:
    small, large = wide_text(500), wide_text(5_000)
    assert num_steps(lambda: Parser()(large)) < 10.5 * num_steps(lambda: Parser()(small))
    assert len(Parser()(wide_text(25_000)).children) == 25_000


def test_deep_text_is_read() -> None:
    chain: rc.Expr = rc.Scalar(1.0, name="start")
    for i in range(20_000):
        chain = rc.Add(chain, name=f"n{i}")
    assert Parser()(rc.to_text(chain, exact=True)) is chain


def test_many_parameters_in_a_long_line() -> None:
    x = rc.Scalar(1.0, (2,))
    wide = rc.Einsum(*[(rc.Scalar(float(i), (2,)), (0,)) for i in range(20_000)], (x, (0,)), out_axes=(0,))
    assert Parser()(rc.to_text(wide, exact=True)) is wide
