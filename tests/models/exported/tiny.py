"""Small models with random weights, some of Hugging Face's and some of torch's own parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn

SIZES = {"vocab_size": 61, "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
Built = tuple[nn.Module, dict[str, torch.Tensor]]
"""A model, and its arguments by name."""


def built(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model with all weights drawn anew, so that none is 0 or 1 as it was initialised."""
    generator = torch.Generator().manual_seed(0)
    model = model.to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2
            parameter.copy_((drawn + (1.0 if parameter.ndim == 1 else 0.0)).to(dtype))
    return model


def tokens(batch: int, seq: int = 7, seed: int = 1) -> torch.Tensor:
    return torch.randint(3, 61, (batch, seq), generator=torch.Generator().manual_seed(seed))


def images(batch: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def gpt2(batch: int, dtype: torch.dtype) -> Built:
    config = transformers.GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=61, n_positions=16, **TOKENS)
    return built(transformers.GPT2LMHeadModel(config), dtype), {"input_ids": tokens(batch)}


def llama(batch: int, dtype: torch.dtype) -> Built:
    config = transformers.LlamaConfig(num_key_value_heads=1, **SIZES, **TOKENS)
    return built(transformers.LlamaForCausalLM(config), dtype), {"input_ids": tokens(batch)}


def llama_padded(batch: int, dtype: torch.dtype) -> Built:
    model, arguments = llama(batch, dtype)
    mask = torch.ones_like(arguments["input_ids"])
    mask[0, :3] = 0
    return model, {**arguments, "attention_mask": mask}


def mamba(batch: int, dtype: torch.dtype) -> Built:
    config = transformers.MambaConfig(num_hidden_layers=2, hidden_size=16, state_size=4, vocab_size=61, **TOKENS)
    return built(transformers.MambaForCausalLM(config), dtype), {"input_ids": tokens(batch)}


def mamba2(batch: int, dtype: torch.dtype) -> Built:
    config = transformers.Mamba2Config(
        num_hidden_layers=2,
        hidden_size=16,
        state_size=4,
        num_heads=4,
        head_dim=8,
        n_groups=1,
        chunk_size=4,
        vocab_size=61,
        **TOKENS,
    )
    return built(transformers.Mamba2ForCausalLM(config), dtype), {"input_ids": tokens(batch)}


def t5(batch: int, dtype: torch.dtype) -> Built:
    config = transformers.T5Config(num_layers=2, d_model=16, d_kv=8, num_heads=2, d_ff=24, vocab_size=61)
    model = built(transformers.T5ForConditionalGeneration(config), dtype)
    return model, {"input_ids": tokens(batch), "decoder_input_ids": tokens(batch, 5, seed=2)}


def bert(batch: int, dtype: torch.dtype) -> Built:
    model = built(transformers.BertForMaskedLM(transformers.BertConfig(**SIZES, pad_token_id=0)), dtype)
    return model, {"input_ids": tokens(batch), "attention_mask": torch.ones(batch, 7, dtype=torch.int64)}


def vit(batch: int, dtype: torch.dtype) -> Built:
    sizes = {key: value for key, value in SIZES.items() if key != "vocab_size"}
    config = transformers.ViTConfig(image_size=16, patch_size=4, **sizes)
    return built(transformers.ViTForImageClassification(config), dtype), {"pixel_values": images(batch, dtype)}


def resnet(batch: int, dtype: torch.dtype) -> Built:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    return built(transformers.ResNetForImageClassification(config), dtype), {"pixel_values": images(batch, dtype)}


def encoder_layer(batch: int, dtype: torch.dtype) -> Built:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True, activation="gelu")
    return built(layer, dtype), {"src": hidden(batch, dtype)}


def attention(batch: int, dtype: torch.dtype) -> Built:
    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.attn(x, x, x)

    return built(SelfAttention(), dtype), {"x": hidden(batch, dtype)}


def mlp(batch: int, dtype: torch.dtype) -> Built:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 24), nn.SiLU(), nn.Dropout(0.5), nn.Linear(24, 16))
                for _ in range(3)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                x = x + block(x)
            return x

    return built(Residual(), dtype), {"x": hidden(batch, dtype)}


def cnn(batch: int, dtype: torch.dtype) -> Built:
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, groups=4),
        nn.GroupNorm(2, 8),
        nn.Softplus(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    return built(layers, dtype), {"input": images(batch, dtype)}


def hidden(batch: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(batch, 5, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


FIXED: dict[str, dict[str, Any]] = {
    "gpt2": {"use_cache": False},
    "llama": {"use_cache": False},
    "llama_padded": {"use_cache": False},
    "mamba": {"use_cache": False},
    "mamba2": {"use_cache": False},
    "t5": {"use_cache": False},
}
"""Arguments that are no tensors."""

MODELS: dict[str, Callable[[int, torch.dtype], Built]] = {
    build.__name__: build
    for build in (gpt2, llama, llama_padded, mamba, mamba2, t5, bert, vit, resnet, encoder_layer, attention, mlp, cnn)
}
ROUNDS_INSIDE = ("llama", "llama_padded", "mamba", "mamba2", "t5")
"""Models that compute some of their parts in float32, whatever the dtype of their weights."""
