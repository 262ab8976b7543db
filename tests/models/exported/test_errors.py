"""What the general route does not take is an error that says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from scrub.graph import CheckpointError, ConstructionError, DtypeError, Expr, ModuleBindingError, elementwise
from scrub.models.exported import ATEN, Call, Operand, aten, from_torch

X = torch.linspace(-1, 1, 6).reshape(2, 3)


class Strange(nn.Module):
    """Operators without a lowering, in two submodules."""

    class Part(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.i0(x) + torch.lgamma(x.abs() + 1)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = self.Part(), self.Part()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.digamma(self.first(x).abs() + 1) * self.second(x)


@pytest.fixture
def clean_registry() -> Iterator[None]:
    before = dict(ATEN)
    yield
    ATEN.clear()
    ATEN.update(before)


def test_unknown_operators_are_listed_all_at_once() -> None:
    with pytest.raises(CheckpointError, match="3 operators of this module are not known") as caught:
        from_torch(Strange(), (X,))
    text = str(caught.value)
    assert "aten.lgamma.default, 2 times, in first, second" in text
    assert "aten.i0.default, 2 times, in first, second" in text or "aten.special_i0.default, 2 times" in text
    assert "aten.digamma.default, 1 times, in the module itself" in text
    assert '@scrub.models.exported.aten("aten.' in text
    assert isinstance(caught.value.found, dict)
    assert sum(caught.value.found.values()) == 5


@pytest.mark.usefixtures("clean_registry")
def test_an_operator_of_ones_own() -> None:
    class Special(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.erfcx(x) * 2

    with pytest.raises(CheckpointError, match="erfcx"):
        from_torch(Special(), (X,))

    @aten("aten.special_erfcx.default")
    def erfcx(call: Call, x: Operand) -> Expr:
        """exp(x²) erfc(x)."""
        square = elementwise("exp", x.expr.mul(x.expr))
        return square.mul(elementwise("erfc", x.expr))

    model = from_torch(Special(), (X,))
    torch.testing.assert_close(model.call(x=X).evaluate(), torch.special.erfcx(X) * 2)


@pytest.mark.usefixtures("clean_registry")
def test_a_lowering_that_gives_the_wrong_shape() -> None:
    @aten("aten.special_erfcx.default")
    def wrong(call: Call, x: Operand) -> Expr:
        return x.expr.sum(axis=0)

    with pytest.raises(CheckpointError, match=r"the lowering of aten\.special_erfcx\.default gave") as caught:
        from_torch(nn.Sequential(Erfcx()), (X,))
    assert caught.value.expected == (2, 3)
    assert caught.value.found == (3,)


class Erfcx(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.erfcx(x)


def test_registering_checks_names() -> None:
    with pytest.raises(ConstructionError, match="'add' is no operator with its overload"):
        aten("add")
    with pytest.raises(ConstructionError, match=r"'aten\.add\.Tensor' is registered already, by scrub\.models\.\S+add"):
        aten("aten.add.Tensor")(lambda call, x, y: x.expr)


@pytest.mark.usefixtures("clean_registry")
def test_registering_the_same_function_again_is_fine() -> None:
    for _ in range(2):

        @aten("aten.special_erfcx.default")
        def erfcx(call: Call, x: Operand) -> Expr:
            return x.expr

        assert ATEN["aten.special_erfcx.default"] is erfcx


def test_control_flow_that_depends_on_values() -> None:
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.sum() > 0 else x

    with pytest.raises(CheckpointError, match=r"torch\.export does not take Branch") as caught:
        from_torch(Branch(), (X,))
    assert "torch.where" in (caught.value.hint or "")


def test_control_flow_as_an_operator_is_listed() -> None:
    class Cond(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x + 1, (x,))

    with pytest.raises(CheckpointError, match=r"higher_order\.cond\.default, 1 times.*control flow"):
        from_torch(Cond(), (X,))


def test_sizes_that_depend_on_values() -> None:
    class Nonzero(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[x > 0].sum()

    with pytest.raises(CheckpointError, match=r"depends? on"):
        from_torch(Nonzero(), (X,))


def test_writing_into_arguments_and_buffers() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.add_(1)
            return x * self.seen

    class InPlace(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul_(2)

    with pytest.raises(CheckpointError, match=r"writes into \['seen'\]"):
        from_torch(Counter(), (X,))
    with pytest.raises(CheckpointError, match=r"writes into \['x'\]"):
        from_torch(InPlace(), (X.clone(),))


def test_writing_into_ones_own_values_is_fine() -> None:
    class Own(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 2
            y += 1
            y[0] = 0
            y[1, 1:] *= 3
            return y

    model = from_torch(Own(), (X,))
    torch.testing.assert_close(model.call(x=X).evaluate(), Own()(X))


def test_random_numbers() -> None:
    class Noise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand_like(x) + torch.randn(3)

    with pytest.raises(CheckpointError, match="draws random numbers: pass them in as an argument"):
        from_torch(Noise(), (X,))


def test_dropout_is_that_of_inference() -> None:
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(3, 2)).train()
    exported = from_torch(model, (X,))
    torch.testing.assert_close(exported.call(input=X).evaluate(), model.eval()(X))


def test_dropout_that_never_stops() -> None:
    class Always(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(x, 0.5, training=True)

    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.3)

    with pytest.raises(CheckpointError, match=r"drops values with probability 0\.5, although") as caught:
        from_torch(Always(), (X,))
    assert caught.value.found == 0.5
    with pytest.raises(CheckpointError, match=r"drops values with probability 0\.3, although"):
        from_torch(Attention(), (X,))


def test_calling_with_the_wrong_inputs() -> None:
    model = from_torch(nn.Bilinear(3, 3, 2), (X, X))
    assert list(model.inputs) == ["input1", "input2"]
    with pytest.raises(CheckpointError, match=r"nothing is given for \['input2'\]"):
        model.call(input1=X)
    with pytest.raises(CheckpointError, match=r"there is no input \['x'\]") as caught:
        model.call(input1=X, input2=X, x=X)
    assert caught.value.hint == "the inputs are input1 [2, 3], input2 [2, 3]"
    with pytest.raises(DtypeError, match=r"input1 is torch\.float64, the example was torch\.float32"):
        model.call(input1=X.double(), input2=X)
    with pytest.raises(ModuleBindingError, match=r"does not fit parameter 'input1' of shape \(2, 3\)"):
        model.call(input1=X[:, :2], input2=X)


def test_one_tensor_as_two_examples_makes_two_inputs() -> None:
    bilinear = nn.Bilinear(3, 3, 2)
    model = from_torch(bilinear, (X, X))
    assert set(model.output.free_symbols) == set(model.inputs.values())
    torch.testing.assert_close(model.call(input1=X, input2=X + 1).evaluate(), bilinear(X, X + 1))


def test_several_results() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, object]:
            return {"mean": x.mean(), "parts": (x * 2, [x + 1])}

    model = from_torch(Two(), (X,))
    assert list(model.outputs) == ["mean", "parts.0", "parts.1.0"]
    with pytest.raises(CheckpointError, match="the module returns 3 tensors"):
        _ = model.output
    values = {name: expr.evaluate() for name, expr in model.call_all(x=X).items()}
    torch.testing.assert_close(values["parts.1.0"], X + 1)
    torch.testing.assert_close(values["mean"], X.mean())


def test_complex_numbers() -> None:
    class Rotation(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.view_as_real(torch.view_as_complex(x.reshape(3, 2)) * 1j)

    with pytest.raises(CheckpointError, match="operators of this module are not known"):
        from_torch(Rotation(), (X,))
