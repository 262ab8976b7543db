"""Tables of positions, against Hugging Face's modules and against complex numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import GPTNeoXConfig, LlamaConfig
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb, create_sinusoidal_positions
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from scrub.graph import Array, CheckpointError
from scrub.models import Architecture, Attention, Layer, RotaryTable
from scrub.models.inputs import attention_inputs
from scrub.models.tables import alibi_slopes, cos_and_sin, frequencies_of, plain_frequencies

N_CTX, ORIGINAL, D_HEAD, THETA = 64, 16, 16, 200.0
LENGTHS = (1, ORIGINAL - 1, ORIGINAL, ORIGINAL + 1, N_CTX, N_CTX + 1, 3 * N_CTX)

ROPES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 2.5},
    "dynamic": {"factor": 2.0},
    "llama3": {
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 3.0,
        "original_max_position_embeddings": 10 * ORIGINAL,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": ORIGINAL, "beta_fast": 2.0, "beta_slow": 0.1},
    "yarn with mscale": {
        "factor": 4.0,
        "original_max_position_embeddings": ORIGINAL,
        "beta_fast": 2.0,
        "beta_slow": 0.1,
        "mscale": 1.5,
        "mscale_all_dim": 0.5,
        "truncate": False,
    },
    "yarn with a factor of attention": {
        "factor": 4.0,
        "original_max_position_embeddings": ORIGINAL,
        "attention_factor": 1.3,
    },
    "longrope": {
        "factor": 4.0,
        "original_max_position_embeddings": ORIGINAL,
        "short_factor": [1.0 + 0.1 * i for i in range(8)],
        "long_factor": [2.0 + i for i in range(8)],
    },
}


def _parameters(kind: str, **others: Any) -> dict[str, Any]:
    return {"rope_type": kind.split()[0], "rope_theta": THETA, **copy.deepcopy(ROPES[kind]), **others}


def _llama(parameters: dict[str, Any]) -> Any:
    return LlamaConfig(
        hidden_size=2 * D_HEAD,
        num_attention_heads=2,
        max_position_embeddings=N_CTX,
        rope_parameters=parameters,
    )


def _neox(parameters: dict[str, Any], d_head: int = 2 * D_HEAD) -> Any:
    return GPTNeoXConfig(
        hidden_size=2 * d_head, num_attention_heads=2, max_position_embeddings=N_CTX, rope_parameters=parameters
    )


def _table(config: Any, width: int) -> RotaryTable:
    """Of so many features of a head."""
    return RotaryTable("rope", 2 * ((width + 1) // 2), frequencies_of(config, config.rope_parameters, width))


def _assert_same(table: RotaryTable, module: torch.nn.Module, positions: torch.Tensor, *, d_head: int) -> None:
    """Hugging Face rotates by rotate_half, which has the sign that our sine has."""
    x = torch.zeros(1, dtype=torch.float32)
    wanted_cos, wanted_sin = module(x, positions)
    length = int(positions.max()) + 1
    cos, sin = cos_and_sin(table, positions, seq_len=length, d_head=d_head, dtype=torch.float32)
    sign = torch.ones(table.width)
    sign[: table.width // 2] = -1.0
    for got, wanted in ((cos, wanted_cos), (sin, wanted_sin * sign)):
        # Hugging Face has the base of "dynamic" in single precision.
        torch.testing.assert_close(got[..., : table.width], wanted, rtol=1e-5, atol=1e-6 * max(1, length / 10))
    assert torch.equal(cos[..., table.width :], torch.ones_like(cos[..., table.width :]))
    assert not sin[..., table.width :].any()


@pytest.mark.parametrize("kind", ROPES)
def test_angles_are_hugging_face_s_at_every_length(kind: str) -> None:
    config = _llama(_parameters(kind))
    for length in LENGTHS:
        module = LlamaRotaryEmbedding(config)
        _assert_same(_table(config, D_HEAD), module, torch.arange(length)[None], d_head=D_HEAD)


@pytest.mark.parametrize("kind", ROPES)
def test_angles_are_hugging_face_s_at_positions_out_of_order(kind: str) -> None:
    config = _llama(_parameters(kind))
    positions = torch.tensor([[3, 0, ORIGINAL + 5, 3], [0, 0, 1, 2]])
    _assert_same(_table(config, D_HEAD), LlamaRotaryEmbedding(config), positions, d_head=D_HEAD)


@pytest.mark.parametrize("kind", ROPES)
def test_part_of_a_head_is_rotated_as_in_hugging_face(kind: str) -> None:
    config = _neox(_parameters(kind, partial_rotary_factor=0.5))
    for length in LENGTHS:
        module = GPTNeoXRotaryEmbedding(config)
        _assert_same(_table(config, D_HEAD), module, torch.arange(length)[None], d_head=2 * D_HEAD)


@pytest.mark.parametrize("kind", ["default", "linear", "dynamic", "llama3"])
def test_an_odd_number_of_rotated_features_is_rounded_up(kind: str) -> None:
    config = _neox(_parameters(kind, partial_rotary_factor=0.5), d_head=10)
    _assert_same(_table(config, 5), GPTNeoXRotaryEmbedding(config), torch.arange(2 * N_CTX)[None], d_head=10)


def test_the_parameters_above_make_each_way_do_what_it_does() -> None:
    """Otherwise they would be tested by nothing: bands of frequencies, a switch at a length, factors."""
    plain = plain_frequencies(THETA, D_HEAD)(1)[0]
    ratios: dict[str, list[torch.Tensor]] = {}
    factors: dict[str, float] = {}
    for kind in ROPES:
        config = _llama(_parameters(kind))
        frequencies = _table(config, D_HEAD).frequencies
        ratios[kind] = [plain / frequencies(length)[0] for length in (ORIGINAL, ORIGINAL + 1, N_CTX + 1)]
        factors[kind] = frequencies(1)[1]
    assert all(torch.equal(ratio, torch.ones(8)) for ratio in ratios["default"])
    torch.testing.assert_close(ratios["linear"][0], torch.full((8,), 2.5))
    assert torch.equal(*ratios["dynamic"][:2])
    assert ratios["dynamic"][2][-1] > 1.01
    assert ratios["longrope"][1][-1] > 2 * ratios["longrope"][0][-1]
    for kind in ("llama3", "yarn", "yarn with mscale"):
        ratio = ratios[kind][0]
        assert ratio.min() < 1.001
        assert ratio.max() > 3.999
        assert ((ratio > 1.1) & (ratio < 3.9)).any(), kind
    assert {kind for kind, factor in factors.items() if factor != 1.0} == {*filter(_has_factor, ROPES)}
    assert len({factors[kind] for kind in ROPES if kind.startswith("yarn")}) == 3


def _has_factor(kind: str) -> bool:
    return kind.startswith(("yarn", "longrope"))


def test_another_way_of_stretching_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="'rope_type' is 'rubber'") as caught:
        frequencies_of(None, {"rope_type": "rubber", "rope_theta": 10.0}, 8)
    assert caught.value.found == "rubber"
    assert "yarn" in str(caught.value.expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("width", [2, 6, 10])
def test_interleaved_tables_rotate_as_gpt_j_does(width: int, dtype: torch.dtype) -> None:
    d_head, positions = 10, torch.tensor([[0, 1, 2, 3, 30], [7, 7, 0, 2, 1]])
    x = torch.randn(2, 5, 3, d_head, generator=torch.Generator().manual_seed(0)).to(dtype)
    sin, cos = create_sinusoidal_positions(31, width)[positions].to(dtype).chunk(2, dim=-1)
    wanted = torch.cat([apply_rotary_pos_emb(x[..., :width], sin, cos), x[..., width:]], dim=-1)
    table = RotaryTable("rope", width, plain_frequencies(10000.0, width), is_interleaved=True)
    cos, sin = cos_and_sin(table, positions, seq_len=31, d_head=d_head, dtype=dtype)
    assert cos.dtype == sin.dtype == dtype
    partners = x.view(2, 5, 3, d_head // 2, 2).flip(-1).flatten(-2)
    torch.testing.assert_close(x * cos[:, :, None] + partners * sin[:, :, None], wanted)


@pytest.mark.parametrize("width", [4, 10])
@pytest.mark.parametrize("is_interleaved", [False, True])
def test_rotating_is_multiplying_by_a_complex_number(is_interleaved: bool, width: int) -> None:
    d_head, positions = 10, torch.tensor([0, 1, 5, 11])
    x = torch.randn(4, d_head, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pairs = [(2 * i, 2 * i + 1) if is_interleaved else (i, i + width // 2) for i in range(width // 2)]
    wanted = x.clone()
    partners = x.clone()
    for number, (first, second) in enumerate(pairs):
        angles = positions.double() * 50.0 ** (-2 * number / width)
        turned = torch.complex(x[:, first], x[:, second]) * torch.polar(torch.ones(4, dtype=torch.float64), angles)
        wanted[:, first], wanted[:, second] = turned.real, turned.imag
        partners[:, first], partners[:, second] = x[:, second], x[:, first]
    table = RotaryTable("rope", width, plain_frequencies(50.0, width), is_interleaved)
    cos, sin = cos_and_sin(table, positions, seq_len=12, d_head=d_head, dtype=torch.float64)
    torch.testing.assert_close(x * cos + partners * sin, wanted, rtol=1e-5, atol=1e-5)


def test_slopes_are_bloom_s() -> None:
    for n_heads in (*range(1, 66), 71, 96, 112, 128, 200):
        alibi = build_alibi_tensor(torch.ones(1, 2, dtype=torch.int64), n_heads, torch.float32)
        # Hugging Face takes powers in single precision.
        torch.testing.assert_close(torch.tensor(alibi_slopes(n_heads)), alibi[:, 0, 1], rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_positions_of_alibi_are_bloom_s(dtype: torch.dtype) -> None:
    """Tokens that the mask shows are counted, wherever the padding is."""
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 0, 1]])
    attention = Attention(6, 6, 4, 0.5, alibi_slopes=alibi_slopes(6))
    architecture = Architecture(d_model=24, d_vocab=3, n_ctx=None, layers=(Layer(attention),))

    def biases(given: Array | None) -> torch.Tensor:
        inputs = attention_inputs(architecture, {}, 6, given, None, dtype=torch.float32, device=torch.device("cpu"))
        return torch.tensor(alibi_slopes(6))[:, None] * inputs["a.alibi.positions"].evaluate()[..., None, :]

    wanted = build_alibi_tensor(mask, 6, torch.float32).view(4, 6, 6)
    torch.testing.assert_close(biases(Array(mask.to(dtype))), wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(biases(None), wanted[0], rtol=1e-6, atol=0)


def _inputs_without_positions(
    n_heads: int, seq: int, positions: Array | None = None, dtype: torch.dtype = torch.float32
) -> None:
    layers = (Layer(Attention(n_heads, n_heads, 4, 0.5, alibi_slopes=alibi_slopes(n_heads))),)
    architecture = Architecture(d_model=8, d_vocab=3, n_ctx=None, layers=layers)
    attention_inputs(architecture, {}, seq, None, positions, dtype=dtype, device=torch.device("meta"))


def test_positions_given_to_a_model_without_any_are_an_error() -> None:
    with pytest.raises(CheckpointError, match="takes no positions"):
        _inputs_without_positions(2, 6, Array(torch.arange(6)))


def test_sequences_so_long_that_alibi_would_outweigh_the_mask_are_an_error() -> None:
    """The steepest slope of 112 heads is almost 1, and what is added to masked scores in half precision is -30,000."""
    _inputs_without_positions(112, 15_000, dtype=torch.float16)
    _inputs_without_positions(112, 30_000)
    with pytest.raises(CheckpointError, match="sequences of 30000 tokens are too long"):
        _inputs_without_positions(112, 30_000, dtype=torch.float16)
