"""Whole models through the general route: values are those of the modules, with calls of submodules and without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scrub.compiler import compile, evaluate_many  # noqa: A004
from scrub.graph import Array, Expr, Symbol, load, postorder, save
from scrub.models.exported import ExportedModel, from_torch
from tests.models.exported.tiny import FIXED, MODELS, ROUNDS_INSIDE, Built

QUICK = {
    "encoder_layer": (5, torch.float64),
    "mamba": (1, torch.float32),
    "mlp": (5, torch.float64),
    "cnn": (1, torch.float32),
}
SLOW = [
    (name, batch, dtype)
    for name in MODELS
    for batch in (1, 5)
    for dtype in (torch.float32, torch.float64)
    if QUICK.get(name) != (batch, dtype)
]


def exported(name: str, built: Built, *, hierarchy: bool = True) -> ExportedModel:
    model, arguments = built
    return from_torch(model, (), example_kwargs={**arguments, **FIXED.get(name, {})}, hierarchy=hierarchy)


def check(name: str, batch: int, dtype: torch.dtype) -> None:
    model, arguments = MODELS[name](batch, dtype)
    with torch.no_grad():
        result = model(**arguments, **FIXED.get(name, {}))
    for hierarchy in (True, False):
        lowered = exported(name, (model, arguments), hierarchy=hierarchy)
        wanted = by_name(result)
        assert lowered.outputs.keys() == wanted.keys()
        bindings = bound(lowered, arguments)
        values = evaluate_many(list(lowered.outputs.values()), bindings)
        compiled = compile(list(lowered.outputs.values())).run(bindings)
        tolerance = 1e-5 if dtype == torch.float32 or name in ROUNDS_INSIDE else 1e-10
        for want, value, fast in zip(wanted.values(), values, compiled, strict=True):
            assert value.dtype == want.dtype
            torch.testing.assert_close(value, want, rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(fast, want, rtol=tolerance, atol=tolerance)


def by_name(result: object) -> dict[str, torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return {"output": result}
    if isinstance(result, tuple):
        return {str(i): value for i, value in enumerate(result)}
    return {key: value for key, value in result.items() if isinstance(value, torch.Tensor)}  # type: ignore[attr-defined]


def bound(lowered: ExportedModel, arguments: dict[str, torch.Tensor]) -> dict[Symbol, torch.Tensor]:
    used = {symbol for expr in lowered.outputs.values() for symbol in expr.free_symbols}
    return {symbol: arguments[name] for name, symbol in lowered.inputs.items() if symbol in used}


@pytest.mark.parametrize(("name", "of"), QUICK.items(), ids=list(QUICK))
def test_values_are_those_of_the_module(name: str, of: tuple[int, torch.dtype]) -> None:
    check(name, *of)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "batch", "dtype"), SLOW, ids=lambda value: str(value).removeprefix("torch."))
def test_values_are_those_of_the_module_in_all_cases(name: str, batch: int, dtype: torch.dtype) -> None:
    check(name, batch, dtype)


def test_weights_are_shared_and_named_after_the_state_dict() -> None:
    model, arguments = MODELS["mlp"](1, torch.float32)
    lowered = exported("mlp", (model, arguments))
    arrays = {node.name: node for node in postorder([lowered.output]) if isinstance(node, Array)}
    assert arrays.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert arrays[name].value.data_ptr() == tensor.data_ptr()


def test_exporting_leaves_the_module_as_it_was() -> None:
    model, arguments = MODELS["mlp"](1, torch.float32)
    model.train()
    model.get_submodule("blocks.1").eval()
    exported("mlp", (model, arguments))
    assert model.training
    assert not model.get_submodule("blocks.1").training
    hooks = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert hooks == []


def test_what_depends_on_nothing_open_is_computed_at_once() -> None:
    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("positions", torch.arange(4), persistent=False)
            self.register_buffer("scale", torch.tensor([2.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            causal = self.positions[:, None] >= self.positions
            bias = torch.zeros_like(x).masked_fill(~causal, -1e4)
            return (x * self.scale + bias).softmax(-1)

    model = Masked()
    x = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    output = from_torch(model, (x,)).output
    leaves = [node for node in postorder([output]) if not node.children]
    assert len([leaf for leaf in leaves if isinstance(leaf, Array)]) == 2
    assert {leaf.shape for leaf in leaves if isinstance(leaf, Array)} == {(1,), (1, 4, 4)}
    assert len(list(postorder([output]))) <= 7
    (value,) = evaluate_many([output], dict.fromkeys(output.free_symbols, x))
    torch.testing.assert_close(value, model(x))


def test_an_exported_model_survives_saving(tmp_path: Path) -> None:
    lowered = exported("cnn", MODELS["cnn"](1, torch.float32)).output
    save(lowered, tmp_path / "cnn.safetensors")
    assert load(tmp_path / "cnn.safetensors") is lowered


def test_a_module_without_weights_in_memory() -> None:
    with torch.device("meta"):
        module = torch.nn.TransformerEncoderLayer(1024, 16, 4096, batch_first=True).eval()
        x = torch.empty(2, 8, 1024)
    lowered = from_torch(module, (x,)).output
    assert lowered.shape == (2, 8, 1024)
    assert lowered.device == torch.device("meta")


def test_nested_arguments_and_results_of_all_kinds() -> None:
    class Kinds(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
            self.same = torch.nn.Identity()

        def forward(
            self, pair: dict[str, torch.Tensor], *, more: list[torch.Tensor], scale: float
        ) -> dict[str, object]:
            x = self.same(pair["a"])
            count = x.shape[0] * x
            return {
                "x": x,
                "w": self.weight,
                "known": torch.arange(3),
                "none": None,
                "sum": [x + more[0] * scale, count],
            }

    x, y = torch.ones(2, 3), torch.tensor([1.0, 0.0, -1.0])
    module = Kinds()
    lowered = from_torch(module, ({"a": x, "b": y},), example_kwargs={"more": [y], "scale": 3.0})
    assert list(lowered.inputs) == ["pair_a", "pair_b", "more_0"]
    assert lowered.outputs["x"] is lowered.inputs["pair_a"]
    values = {name: expr.evaluate() for name, expr in lowered.call_all(pair_a=x, more_0=y).items()}
    assert values["w"].tolist() == [1, 2, 3]
    assert values["known"].tolist() == [0, 1, 2]
    assert values["sum.0"].tolist() == [[4, 1, -2]] * 2
    assert values["sum.1"].tolist() == [[2, 2, 2]] * 2
    assert values.keys() == {"x", "w", "known", "sum.0", "sum.1"}


def test_calling_binds_inputs_and_takes_batch_axes() -> None:
    model, arguments = MODELS["mlp"](1, torch.float32)
    lowered = exported("mlp", (model, arguments))
    x = torch.randn(3, 1, 5, 16, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(lowered.call(x=x).evaluate(), model(x), rtol=1e-5, atol=1e-5)
    call: Expr = lowered.call(x=Array(x, "x"))
    assert call is lowered.call(x=x)
    assert lowered.call_all(x=x).keys() == {"output"}
