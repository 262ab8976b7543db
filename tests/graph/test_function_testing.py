"""`check_function` catches functions that are wrong on purpose, and functions registered by users work everywhere."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.graph import ELEMENTWISE, FUNCTIONS, Expr, FunctionError, Shape, function, register_elementwise
from scrub.graph.functions.base import require_floating
from scrub.graph.testing import Mismatch, check_function

Tensor = torch.Tensor
EXAMPLE = (torch.linspace(0.1, 0.9, 6).reshape(2, 3),)


@dataclass(frozen=True)
class Right(rc.Function):
    """Division by the sum over the last axis. What is wrong on purpose below overrides one part of it."""

    def infer_shape(self, shapes: Sequence[Shape]) -> rc.FunctionShape:
        (shape,) = shapes
        if not shape:
            raise ValueError("needs an axis")
        return rc.FunctionShape(shape, 1, (True,), (1,))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        return require_floating(self.label, dtypes[0])

    def compute(self, *values: Tensor) -> Tensor:
        return values[0] / values[0].sum(-1, keepdim=True)

    @classmethod
    def examples(cls) -> Iterator[tuple[rc.Function, tuple[Tensor, ...]]]:
        yield cls(), EXAMPLE


class DropsAnAxisOfSizeOne(Right):
    def compute(self, *values: Tensor) -> Tensor:
        result = values[0] / values[0].sum(-1, keepdim=True)
        return result.squeeze(0) if result.ndim > 1 else result


class DeclaresAReduction(Right):
    def infer_shape(self, shapes: Sequence[Shape]) -> rc.FunctionShape:
        declared = super().infer_shape(shapes)
        return rc.FunctionShape(declared.shape[:-1], 0, (True,), (1,))


class AlwaysSingle(Right):
    def compute(self, *values: Tensor) -> Tensor:
        return super().compute(*values).float()


class AcceptsIntegersThatBecomeFloats(Right):
    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        return dtypes[0]


class NormalisesOverEverything(Right):
    def compute(self, *values: Tensor) -> Tensor:
        return values[0] / values[0].sum()


class WritesIntoItsArgument(Right):
    def compute(self, *values: Tensor) -> Tensor:
        return values[0].div_(values[0].sum(-1, keepdim=True))


class WritesTheSameValues(Right):
    def compute(self, *values: Tensor) -> Tensor:
        values[0].abs_()  # the examples are positive, so that no value changes
        return super().compute(*values)


class TooFewOpaqueAxes(Right):
    def infer_shape(self, shapes: Sequence[Shape]) -> rc.FunctionShape:
        return rc.FunctionShape(super().infer_shape(shapes).shape, 0, (True,), (0,))


class MoreCarriedAxesThanTheResultHas(Right):
    def infer_shape(self, shapes: Sequence[Shape]) -> rc.FunctionShape:
        return rc.FunctionShape(super().infer_shape(shapes).shape, 1, (True,), (0,))


class OverTheFirstAxis(Right):
    def compute(self, *values: Tensor) -> Tensor:
        return values[0] / values[0].sum(0, keepdim=True)


class Noisy(Right):
    def compute(self, *values: Tensor) -> Tensor:
        return super().compute(*values) + torch.rand(values[0].shape, dtype=values[0].dtype)


class RefusesByTheWrongError(Right):
    def infer_shape(self, shapes: Sequence[Shape]) -> rc.FunctionShape:
        return rc.FunctionShape(shapes[0], min(1, 1 + shapes[0][-1]), (True,), (1,))


class RefusesDtypesByTheWrongError(Right):
    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        assert dtypes[0] in (None, torch.float32, torch.float64)
        return dtypes[0]


class AcceptsWhatTorchDoesNot(Right):
    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        return dtypes[0]

    def compute(self, *values: Tensor) -> Tensor:
        return torch.softmax(values[0], -1)


class NeedsContiguousValues(Right):
    def compute(self, *values: Tensor) -> Tensor:
        return super().compute(values[0].view(-1).view(values[0].shape))


class FailsOnEmptyAxes(Right):
    def compute(self, *values: Tensor) -> Tensor:
        return values[0] / values[0].amax(-1, keepdim=True)


class IgnoresFurtherArguments(Right):
    def infer_shape(self, shapes: Sequence[Shape]) -> rc.FunctionShape:
        return super().infer_shape(shapes[:1])


class OtherRuleForMoreAxes(Right):
    """Depends on how many axes there are, so batch axes change what it does."""

    def infer_shape(self, shapes: Sequence[Shape]) -> rc.FunctionShape:
        declared = super().infer_shape(shapes)
        return rc.FunctionShape(declared.shape, 1 if len(declared.shape) < 3 else 2, (True,), (1,))


class ComputesAList(Right):
    def compute(self, *values: Tensor) -> Tensor:
        return values[0].tolist()


class LooksAtNothingOnMeta(Right):
    def compute(self, *values: Tensor) -> Tensor:
        return values[0].sum(-1) if values[0].is_meta else super().compute(*values)


class NoExampleCanBeComputed(Right):
    def compute(self, *values: Tensor) -> Tensor:
        raise rc.ShapeError("never")


class TwoLines(Right):
    @property
    def label(self) -> str:
        return "two\nlines"


@dataclass(frozen=True)
class CannotBeLoaded(Right):
    factor: float = 1.0

    def __init__(self) -> None:
        object.__setattr__(self, "factor", 2.0)


@dataclass(frozen=True)
class Pair(rc.Function):
    """Outer sum: nothing shared between the arguments, so neither can be batched without the other."""

    is_right: bool = True

    def infer_shape(self, shapes: Sequence[Shape]) -> rc.FunctionShape:
        x, y = shapes
        shape = (*x, *y)
        return rc.FunctionShape(shape, len(shape), (not self.is_right,) * 2, (len(x), len(y)))

    def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
        x, y = dtypes
        if x != y or x == torch.bool:
            raise ValueError("different dtypes")
        return x

    def compute(self, *values: Tensor) -> Tensor:
        x, y = values
        return x.reshape((*x.shape, *[1] * y.ndim)) + y

    @classmethod
    def examples(cls) -> Iterator[tuple[rc.Function, tuple[Tensor, ...]]]:
        yield cls(), (torch.ones(2), torch.linspace(0, 1, 3))


WRONG: list[tuple[rc.Function, str]] = [
    (DropsAnAxisOfSizeOne(), "shape"),
    (DeclaresAReduction(), "shape"),
    (AlwaysSingle(), "dtype"),
    (AcceptsIntegersThatBecomeFloats(), "dtype"),
    (NormalisesOverEverything(), "batching"),
    (WritesIntoItsArgument(), "argument written to"),
    (WritesTheSameValues(), "argument written to"),
    (TooFewOpaqueAxes(), "opaque axes"),
    (MoreCarriedAxesThanTheResultHas(), "declaration"),
    (OverTheFirstAxis(), "opaque axes"),
    (Noisy(), "not deterministic"),
    (RefusesByTheWrongError(), "refusal"),
    (RefusesDtypesByTheWrongError(), "refusal"),
    (AcceptsWhatTorchDoesNot(), "dtype"),
    (NeedsContiguousValues(), "memory layout"),
    (FailsOnEmptyAxes(), "shape"),
    (IgnoresFurtherArguments(), "declaration"),
    (OtherRuleForMoreAxes(), "batching"),
    (ComputesAList(), "shape"),
    (LooksAtNothingOnMeta(), "meta tensors"),
    (NoExampleCanBeComputed(), "examples"),
    (TwoLines(), "declaration"),
    (CannotBeLoaded(), "declaration"),
    (Pair(is_right=False), "batching"),
]


@pytest.mark.parametrize(("spec", "kind"), WRONG, ids=lambda value: type(value).__name__)
def test_a_wrong_function_is_caught(spec: rc.Function, kind: str) -> None:
    with pytest.raises(FunctionError) as caught:
        check_function(spec, arguments=next(iter(type(spec).examples()))[1:])
    found: tuple[Mismatch, ...] = caught.value.found  # type: ignore[assignment]
    assert kind in {mismatch.kind for mismatch in found}, str(caught.value)
    assert all(str(mismatch) in str(caught.value) for mismatch in found)


@pytest.mark.parametrize("spec", [Right(), Pair()], ids=lambda spec: type(spec).__name__)
def test_a_right_one_is_not(spec: rc.Function) -> None:
    report = check_function(spec)
    assert not report.mismatches
    assert report.num_computed > 100
    assert report.num_refused < report.num_shapes > 100
    assert (torch.bfloat16,) * len(next(iter(spec.examples()))[1]) in report.accepted


def test_all_mismatches_come_at_once_with_the_smallest_arguments() -> None:
    class WrongTwice(DropsAnAxisOfSizeOne):
        def infer_dtype(self, dtypes: Sequence[torch.dtype | None]) -> torch.dtype | None:
            return dtypes[0]

    with pytest.raises(FunctionError) as caught:
        check_function(WrongTwice)
    message = str(caught.value)
    assert message.startswith("wrong_twice does not do what it declares:\n")
    assert "    shape: wrong_twice of [1, 0] float64: declares [1, 0], computes [0] (" in message
    assert re.search(
        r"\n    dtype: wrong_twice of \[.*\] (u?int|bool)\d*: declares .*, computes torch.float32 \(", message
    )
    assert "hint: either the rule" in message


# ---- functions of users --------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _nothing_stays_registered() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    functions, rows = dict(FUNCTIONS), dict(ELEMENTWISE)
    yield
    for registry, before in ((FUNCTIONS, functions), (ELEMENTWISE, rows)):
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]


def make_shift() -> Any:
    """What running a notebook cell does: the same lines define the class anew."""

    @function
    class ShiftBy(Right):
        amount: int
        label_text: str = "shift"

        @property
        def label(self) -> str:
            return f"{self.label_text}[{self.amount}]"

        def compute(self, *values: Tensor) -> Tensor:
            return values[0].roll(self.amount, -1)

        @classmethod
        def examples(cls) -> Iterator[tuple[rc.Function, tuple[Tensor, ...]]]:
            yield cls(1), EXAMPLE

    return ShiftBy


def shifted(amount: int = 1) -> Expr:
    x = rc.Array(torch.tensor([[1.0, 2.0, 3.0]]), "x")
    return rc.GeneralFunction(x, spec=make_shift()(amount), name="shifted")


def test_one_decorator_registers_a_class_that_is_then_printed_saved_loaded_and_pickled(tmp_path: Path) -> None:
    node = shifted(2)
    assert repr(node) == "'shifted' [1, 3] GeneralFunction shift[2]"
    assert rc.display_name(node.rename(None)) == "shift[2](x)"
    assert node.evaluate().tolist() == [[2, 3, 1]]
    rc.save(node, tmp_path / "f.safetensors")
    assert rc.load(tmp_path / "f.safetensors") is node
    assert pickle.loads(pickle.dumps(node)) is node
    assert shifted(1) is not node
    assert check_function("shift_by").num_computed > 100


def test_the_digest_does_not_depend_on_where_the_class_is_defined() -> None:
    assert repr(make_shift()(2)) == "ShiftBy(amount=2, label_text='shift')"


def test_the_same_lines_may_run_twice_and_others_under_the_name_are_an_error() -> None:
    first = make_shift()
    assert make_shift() is first

    class ShiftBy(Right):
        amount: int

    with pytest.raises(
        rc.ConstructionError, match=r"a function named 'shift_by' is registered already, by .*make_shift"
    ):
        function(ShiftBy)

    class Softmax(Right):
        pass

    with pytest.raises(rc.ConstructionError, match="a function named 'softmax' is registered already") as caught:
        function(Softmax)
    assert "hint: rename it" in str(caught.value)

    class Tanh(Right):
        pass

    with pytest.raises(rc.ConstructionError, match="a function named 'tanh' is registered already"):
        function(Tanh)
    with pytest.raises(rc.ConstructionError, match="@function registers subclasses of Function"):
        function(int)  # type: ignore[type-var]


def test_loading_without_the_registration_says_what_to_import(tmp_path: Path) -> None:
    node = shifted()
    rc.save(node, tmp_path / "f.safetensors")
    del FUNCTIONS["shift_by"]
    with pytest.raises(rc.FileError, match="unknown function 'shift_by'") as caught:
        rc.load(tmp_path / "f.safetensors")
    assert "the module that registers the type or function is not imported" in str(caught.value)


def test_a_class_that_is_not_registered_cannot_be_applied() -> None:
    with pytest.raises(rc.ConstructionError, match="Right is not registered") as caught:
        rc.GeneralFunction(rc.Scalar(1.0, (2,)), spec=Right())
    assert "put @function above the class" in str(caught.value)


def test_fields_that_no_digest_or_file_could_hold_are_an_error() -> None:
    spec = make_shift()(torch.tensor(1))
    with pytest.raises(rc.ConstructionError, match=r"'f': field 'amount' of shift.* is a Tensor"):
        rc.GeneralFunction(rc.Scalar(1.0, (2,)), spec=spec, name="f")


def test_one_call_registers_an_elementwise_function(tmp_path: Path) -> None:
    cube = register_elementwise("cube", _cube)
    node = cube(rc.Array(torch.tensor([2.0]), "x"), name="eight")
    assert node is rc.elementwise("cube", rc.Array(torch.tensor([2.0]), "x"), name="eight")
    assert node.evaluate().tolist() == [8]
    assert repr(node) == "'eight' [1] GeneralFunction cube"
    rc.save(node, tmp_path / "f.safetensors")
    assert rc.load(tmp_path / "f.safetensors") is node
    assert check_function("cube").num_computed > 100
    register_elementwise("cube", _cube)
    with pytest.raises(rc.ConstructionError, match=r"'cube' is registered already, by .*_cube; .*square"):
        register_elementwise("cube", torch.square)
    with pytest.raises(rc.ConstructionError, match="a function named 'softmax' is registered already"):
        register_elementwise("softmax", torch.exp)
    with pytest.raises(rc.ConstructionError, match="'no name' is not an identifier"):
        register_elementwise("no name", torch.exp)


def _cube(x: Tensor) -> Tensor:
    return x * x * x


@pytest.mark.parametrize(
    ("compute", "problem"),
    [
        (lambda x: x.sum(-1), r"computed \[\] torch.float32, but declares \[3\]"),
        (lambda x: x > 0, r"computed \[3\] torch.bool, but declares \[3\] torch.float32"),
    ],
)
def test_a_wrong_one_is_an_error_also_at_evaluation(compute: Callable[[Tensor], Tensor], problem: str) -> None:
    wrong = register_elementwise("wrong_one", compute)
    with pytest.raises(rc.ShapeError, match=rf"'f': wrong_one {problem}") as caught:
        wrong(rc.Array(torch.ones(3)), name="f").evaluate()
    assert "check_function" in str(caught.value)
    with pytest.raises(FunctionError, match="wrong_one does not do what it declares"):
        check_function("wrong_one")


def test_what_to_check_must_exist() -> None:
    with pytest.raises(rc.ConstructionError, match="no function is named 'nothing'"):
        check_function("nothing")
    with pytest.raises(rc.ConstructionError, match="arguments were given for the class Right"):
        check_function(Right, arguments=[EXAMPLE])
