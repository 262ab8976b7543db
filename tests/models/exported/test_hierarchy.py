"""Calls of submodules as `Module`s: names, parameters, shared bodies, and taking them apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import scrub as rc
from scrub.compiler import evaluate_many
from scrub.graph import Expr, MatchError, Module
from scrub.models.exported import ExportedModel, dissolve, from_torch
from scrub.rewrite import IterativeMatcher
from tests.models.exported.tiny import FIXED, MODELS, tokens


class Mixer(nn.Module):
    """Returns two values, takes a pair, and uses a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(4, 4)
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, hidden: torch.Tensor, tables: tuple[torch.Tensor, torch.Tensor], *, bias: torch.Tensor) -> object:
        mixed = self.proj(hidden) * tables[0] + bias * self.gain
        return mixed.relu(), mixed * tables[1]


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixer = Mixer()

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        first, second = self.mixer(x, (x.tanh(), x.exp()), bias=bias)
        return x + first * second


class Stack(nn.Module):
    def __init__(self, num_layers: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(num_layers))
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, bias)
        return self.head(x)


def drawn(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def example() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"x": torch.randn(2, 4, generator=generator), "bias": torch.randn(4, generator=generator)}


@pytest.fixture(scope="module")
def stack() -> tuple[Stack, ExportedModel]:
    model = Stack()
    drawn(model)
    return model, from_torch(model, (), example_kwargs=example())


def value(expr: Expr, lowered: ExportedModel) -> torch.Tensor:
    given = example()
    bindings = {symbol: given[symbol.name or ""] for symbol in expr.free_symbols}
    assert set(expr.free_symbols) <= set(lowered.inputs.values())
    return evaluate_many([expr], bindings)[0]


def calls(expr: Expr) -> dict[str | None, Module]:
    return {node.name: node for node in expr.get(Module) if isinstance(node, Module)}


def test_layers_have_qualified_names_and_one_body(stack: tuple[Stack, ExportedModel]) -> None:
    found = calls(stack[1].output)
    layers = [found[f"layers.{i}"] for i in range(3)]
    assert len({layer.body for layer in layers}) == 1
    assert len({layer.params for layer in layers}) == 1
    assert [symbol.name for symbol in found["head"].bindings] == ["input", "weight"]


def test_parameters_are_called_what_the_forward_and_the_state_dict_call_them(
    stack: tuple[Stack, ExportedModel],
) -> None:
    layer = calls(stack[1].output)["layers.1"]
    assert [s.name for s in layer.bindings] == ["x", "bias", "mixer.proj.weight", "mixer.proj.bias", "mixer.gain"]
    assert [arg.name for arg in layer.args[2:]] == [
        f"layers.1.mixer.{part}" for part in ("proj.weight", "proj.bias", "gain")
    ]
    mixer = calls(layer.body)["mixer"]
    assert {s.name for s in mixer.bindings} == {"hidden", "tables.0", "bias", "proj.weight", "proj.bias", "gain"}


def test_each_result_is_a_call_of_its_own(stack: tuple[Stack, ExportedModel]) -> None:
    found = calls(calls(stack[1].output)["layers.0"].body)
    assert {"mixer", "mixer.1", "proj"} == found.keys()
    assert {s.name for s in found["mixer.1"].bindings} >= {"tables.0", "tables.1"}


def test_values_agree_for_every_choice_of_calls(stack: tuple[Stack, ExportedModel]) -> None:
    model = stack[0]
    wanted = model(**example())
    choices = [True, False, lambda path: path.endswith("mixer"), lambda path: path.startswith("layers.1")]
    for choice in choices:
        other = from_torch(model, (), example_kwargs=example(), hierarchy=choice)
        torch.testing.assert_close(value(other.output, other), wanted)
    only = from_torch(model, (), example_kwargs=example(), hierarchy=choices[2])
    assert calls(only.output).keys() == {f"layers.{i}.mixer{part}" for i in range(3) for part in ("", ".1")}


def test_without_calls_names_are_qualified() -> None:
    flat = from_torch(drawn(Stack(1)), (), example_kwargs=example(), hierarchy=False).output
    assert calls(flat) == {}
    names = {node.name for node in rc.postorder([flat]) if node.children and node.name}
    in_mixer = ("proj.linear", "proj.linear.product", "mul", "mul_1", "mul_2", "add", "relu")
    in_layer = (*(f"mixer.{part}" for part in in_mixer), "tanh", "exp", "mul", "add")
    assert names == {*(f"layers.0.{part}" for part in in_layer), "head.linear"}


def test_dissolving_gives_one_layer_names_of_its_own(stack: tuple[Stack, ExportedModel]) -> None:
    model, lowered = stack
    opened = dissolve(lowered.output, "layers.1", "layers.1.mixer")
    assert {"layers.0", "layers.2", "layers.1.mixer.proj", "layers.1.mixer.1"} <= calls(opened).keys()
    torch.testing.assert_close(value(opened, lowered), model(**example()))
    silent = opened.update("layers.1.mixer", lambda node: node.scale(0.0, name=node.name))
    only = drawn(Stack())
    only.layers[1].mixer.register_forward_hook(lambda module, args, result: (result[0] * 0, result[1]))
    torch.testing.assert_close(value(silent, lowered), only(**example()))


def test_dissolving_what_is_not_there(stack: tuple[Stack, ExportedModel]) -> None:
    with pytest.raises(MatchError, match=r"there is no call 'layers\.1\.mixer'\n.*\n.*'layers\.0'") as caught:
        dissolve(stack[1].output, "layers.1.mixer")
    assert caught.value.found == "layers.1.mixer"


def test_modules_called_twice_and_within_their_own_kind() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), nn.Linear(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.shared(self.shared(x).exp())

    model = drawn(Twice())
    x = example()["x"]
    lowered = from_torch(model, (x,))
    found = [node for node in lowered.output.get(Module) if node.name == "shared"]
    assert len(found) == 2
    torch.testing.assert_close(value(lowered.output, lowered), model(x))
    torch.testing.assert_close(value(rc.substitute_all_modules(lowered.output), lowered), model(x))
    seen = lowered.output.get(IterativeMatcher("shared").chain("x"), see_through=True)
    assert seen == (lowered.inputs["x"],)


def test_tied_weights_are_one_array() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 4)
            self.unembed = nn.Linear(4, 5, bias=False)
            self.unembed.weight = self.embed.weight

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.unembed(self.embed(tokens))

    model = drawn(Tied())
    tokens = torch.tensor([[1, 2, 0]])
    lowered = from_torch(model, (tokens,))
    arrays = [node for node in rc.postorder([lowered.output]) if isinstance(node, rc.Array)]
    assert len(arrays) == 1
    assert {s.name for s in calls(lowered.output)["unembed"].bindings} == {"input", "weight"}
    torch.testing.assert_close(lowered.call(tokens=tokens).evaluate(), model(tokens))


def test_layers_of_mamba_are_calls_on_the_residual_stream() -> None:
    model = MODELS["mamba"](1, torch.float32)[0]
    given = {"input_ids": tokens(1, 3), **FIXED["mamba"]}
    lowered = from_torch(model, (), example_kwargs=given)
    found = calls(lowered.output)
    assert {"backbone", "backbone.layers.0", "backbone.layers.1", "backbone.norm_f", "mixer", "norm"} <= found.keys()
    assert found["backbone.layers.0"].body is found["backbone.layers.1"].body
    mixers = from_torch(model, (), example_kwargs=given, hierarchy=lambda path: path.endswith("mixer")).output
    edge = IterativeMatcher("backbone.layers.1.mixer").chain("backbone.layers.0.mixer")
    assert [node.name for node in mixers.get(edge)] == ["backbone.layers.0.mixer"]
    opened = dissolve(lowered.output, "backbone", "backbone.layers.0", "backbone.layers.1")
    assert [node.name for node in opened.get(edge)] == ["backbone.layers.0.mixer"]
    cut = mixers.update(edge, lambda node: node.scale(0.0))
    (value_cut,) = evaluate_many([cut], dict.fromkeys(cut.free_symbols, given["input_ids"]))
    with torch.no_grad():  # by hand: layer 1 reads the embedding, all else is as it was
        backbone = model.get_submodule("backbone")
        first, second = (backbone.get_submodule(f"layers.{i}") for i in range(2))
        embedded = backbone.get_submodule("embeddings")(given["input_ids"])
        resid = embedded + first.get_submodule("mixer")(first.get_submodule("norm")(embedded))
        resid = resid + second.get_submodule("mixer")(second.get_submodule("norm")(embedded))
        logits = model.get_submodule("lm_head")(backbone.get_submodule("norm_f")(resid))
    torch.testing.assert_close(value_cut, logits, rtol=1e-5, atol=1e-5)
