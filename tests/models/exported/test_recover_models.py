"""Structure recovered from exported models: found in each of them, and the values are those of the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scrub as rc
from scrub.graph import Add, Array, Expr, Module
from scrub.models import split_heads
from scrub.models.exported import ExportedModel, from_torch
from scrub.models.exported.recover import recover_structure, structure_of

SEQ = 4


@dataclass(frozen=True)
class Case:
    """A model, and how much of each kind is in one of its layers and around them."""

    make: Callable[[], nn.Module]
    n_heads: int
    n_layers: int
    linear: tuple[int, int]
    norms: tuple[int, int]
    residual_adds: tuple[int, int]
    has_tokens: bool = True


def _hugging_face(model: str, **config: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        transformers = pytest.importorskip("transformers")
        made = getattr(transformers, f"{model}Config")
        common = {"vocab_size": 17, "use_cache": False, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
        name = f"{model}EncoderModel" if model == "T5" else f"{model}Model"
        return getattr(transformers, name)(made(**common, **config))

    return make


_LLAMA = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16,
          "intermediate_size": 12, "max_position_embeddings": 8}  # fmt: skip
CASES = {
    "gpt2": Case(_hugging_face("GPT2", n_layer=2, n_head=3, n_embd=12, n_positions=8), 3, 2, (6, 0), (2, 1), (2, 0)),
    "llama": Case(_hugging_face("Llama", **_LLAMA), 4, 2, (7, 0), (2, 1), (2, 0)),
    "encoder layer": Case(
        lambda: nn.TransformerEncoderLayer(12, 3, 8, batch_first=True), 3, 1, (6, 0), (2, 0), (2, 0), has_tokens=False
    ),
}
SLOW = {
    "gpt2 eager": Case(
        _hugging_face("GPT2", n_layer=2, n_head=3, n_embd=12, n_positions=8, attn_implementation="eager"),
        3, 2, (6, 0), (2, 1), (2, 0),
    ),
    "llama eager": Case(_hugging_face("Llama", **_LLAMA, attn_implementation="eager"), 4, 2, (7, 0), (2, 1), (2, 0)),
    "one key for all": Case(
        _hugging_face("Llama", **(_LLAMA | {"num_key_value_heads": 1})), 4, 2, (7, 0), (2, 1), (2, 0)
    ),
    "qwen3": Case(_hugging_face("Qwen3", **_LLAMA, head_dim=6), 4, 2, (7, 0), (4, 1), (2, 0)),
    "bert": Case(
        _hugging_face("Bert", num_hidden_layers=2, num_attention_heads=3, hidden_size=12, intermediate_size=8),
        3, 2, (6, 0), (2, 1), (2, 1),
    ),
    "t5": Case(
        _hugging_face("T5", num_layers=2, num_heads=3, d_model=12, d_kv=4, d_ff=8),
        3, 2, (6, 0), (2, 1), (2, 0),
    ),
    "gpt_neox": Case(
        _hugging_face("GPTNeoX", num_hidden_layers=2, num_attention_heads=2, hidden_size=16, intermediate_size=8),
        2, 2, (6, 0), (2, 1), (1, 0),
    ),
    "gemma3": Case(_hugging_face("Gemma3Text", **_LLAMA, head_dim=4, sliding_window=3), 4, 2, (7, 0), (6, 1), (2, 0)),
    "olmo2": Case(_hugging_face("Olmo2", **_LLAMA), 4, 2, (9, 0), (2, 1), (2, 0)),  # keys, queries: once for their norm
    "bloom": Case(_hugging_face("Bloom", n_layer=2, n_head=2, hidden_size=8), 2, 2, (6, 0), (2, 2), (2, 0)),
    "post-norm layers": Case(
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(12, 2, 8, activation="gelu"), 2, enable_nested_tensor=False
        ),
        2, 2, (6, 0), (2, 0), (2, 0), has_tokens=False,
    ),
}  # fmt: skip
EVERY = [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@dataclass(frozen=True)
class Exported:
    """A model in float32, what it was exported to, an input and its value."""

    case: Case
    model: ExportedModel
    given: Tensor
    expected: Tensor

    @property
    def output(self) -> Expr:
        return next(iter(self.model.outputs.values()))

    def value(self, expr: Expr, *, dtype: torch.dtype = torch.float64) -> Tensor:
        """All in float64: exported from float64, some models would compute in float32 in between."""
        (symbol,) = self.model.inputs.values()
        return rc.cast(Module.from_bindings(expr, {symbol: Array(self.given)}), dtype=dtype).evaluate()


def export(case: Case, *, batch: int = 2, hierarchy: bool = True) -> Exported:
    torch.manual_seed(0)
    module = case.make().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) / 5)
        given = torch.randint(1, 17, (batch, SEQ), generator=generator)
        if not case.has_tokens:
            given = torch.randn(batch, SEQ, 12, generator=generator)
        result = module(given)
        expected = result if isinstance(result, Tensor) else result[0]
    return Exported(case, from_torch(module, (given,), hierarchy=hierarchy), given, expected)


@pytest.fixture(scope="module")
def exported() -> Callable[[str], Exported]:
    """Each model exported once."""
    known: dict[str, Exported] = {}

    def get(name: str) -> Exported:
        if name not in known:
            known[name] = export((CASES | SLOW)[name])
        return known[name]

    return get


@pytest.mark.parametrize("name", EVERY)
def test_all_of_the_structure_is_found(exported: Callable[[str], Exported], name: str) -> None:
    found = exported(name)
    case, recovered = found.case, recover_structure(found.output)
    assert_same(found, recovered)
    report = structure_of(recovered)
    n = case.n_layers
    assert report.attentions == n
    assert report.linear_layers == n * case.linear[0] + case.linear[1]
    assert report.norms == n * case.norms[0] + case.norms[1]
    assert report.residual_adds == n * case.residual_adds[0] + case.residual_adds[1]


@pytest.mark.parametrize("name", EVERY)
def test_heads_are_split_and_add_up(exported: Callable[[str], Exported], name: str) -> None:
    found = exported(name)
    groups = [(head, f"h{head}") for head in range(found.case.n_heads)]

    def split(summed: Expr) -> Expr:
        return split_heads(summed, groups, layer="a")

    recovered = recover_structure(found.output)
    apart = recovered.update(_is_sum_of_heads, split)
    assert_same(found, apart)
    names = {node.name for node in apart.get(Module)}
    assert {label for _, label in [(0, "a.h0"), *((head, f"a.{label}") for head, label in groups)]} <= names
    assert "a.head.on_inp" not in names
    silent = apart.update("a.h1", lambda head: rc.Scalar(0.0, head.shape))
    assert float((found.value(silent) - found.value(recovered)).abs().max()) > 1e-3


@pytest.mark.parametrize("name", EVERY)
def test_blocks_dissolved(exported: Callable[[str], Exported], name: str) -> None:
    found = exported(name)
    assert_same(found, recover_structure(found.output, dissolve_blocks=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, *SLOW])
def test_without_hierarchy_and_with_one_sequence(name: str) -> None:
    case = (CASES | SLOW)[name]
    for found in (export(case, hierarchy=False), export(case, batch=1)):
        recovered = recover_structure(found.output)
        assert_same(found, recovered)
        report = structure_of(recovered)
        assert report.attentions == case.n_layers
        assert report.norms == case.n_layers * case.norms[0] + case.norms[1]


def test_what_mamba_layers_read() -> None:
    """The input of layer i is the sum of the embeddings and of what the mixers of all layers before it wrote."""
    n_layers = 3
    make = _hugging_face(
        "Mamba", num_hidden_layers=n_layers, hidden_size=4, state_size=2, time_step_rank=2, conv_kernel=2
    )
    found = export(Case(make, 0, n_layers, (4, 0), (1, 1), (1, 0)))
    recovered = recover_structure(found.output, dissolve_blocks=True)
    assert_same(found, recovered)
    report = structure_of(recovered)
    assert (report.linear_layers, report.norms) == (4 * n_layers, n_layers + 1)
    written = ["embeddings", *(f"layers.{i}.mixer" for i in range(n_layers))]
    for layer in range(1, n_layers):
        assert writers(recovered, f"layers.{layer}.norm") == written[: layer + 1]
    assert writers(recovered, "norm_f") == written
    first = reads(recovered, "layers.0.norm")
    assert first.name == "embeddings"


def reads(model: Expr, norm: str) -> Expr:
    """What a norm is called on."""
    bindings = model.get_unique(norm).cast(Module).bindings
    return next(arg for symbol, arg in bindings.items() if symbol.name == "ln.input")


def writers(model: Expr, norm: str) -> list[str | None]:
    """Names of what is added up for a norm to read, in the order of the layers."""
    return sorted((term.name for term in reads(model, norm).cast(Add).children), key=lambda name: name or "")


def _is_sum_of_heads(node: Expr) -> bool:
    return any(child.name == "a.head.on_inp" for child in node.children) and not isinstance(node, Module)


def assert_same(found: Exported, recovered: Expr) -> None:
    """The value of what was exported, to float64's precision, and that of the model, to float32's."""
    torch.testing.assert_close(found.value(recovered), found.value(found.output), rtol=1e-10, atol=1e-10)
    value = found.value(recovered, dtype=torch.float32)
    torch.testing.assert_close(value, found.expected, rtol=1e-4, atol=1e-5)
