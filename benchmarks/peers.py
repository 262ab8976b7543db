"""What is measured beside: plain Hugging Face and TransformerLens, on the same random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

HuggingFace = Any
"""A `transformers.PreTrainedModel`: types are checked where it is not installed, too."""
Hooked = Any
"""A `transformer_lens.HookedTransformer`, likewise."""

Config = Any
"""A `transformers.PreTrainedConfig`, likewise."""

GPT2_SMALL = {"n_layer": 12, "n_head": 12, "n_embd": 768, "vocab_size": 50257, "n_positions": 1024}
GPT2_XL = {"n_layer": 48, "n_head": 25, "n_embd": 1600, "vocab_size": 50257, "n_positions": 1024}


def _llama_sizes(layers: int, heads: int, groups: int, width: int, mlp: int, vocabulary: int, longest: int):
    return {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "hidden_size": width,
        "intermediate_size": mlp,
        "vocab_size": vocabulary,
        "max_position_embeddings": longest,
    }


LLAMA_SMALL = _llama_sizes(6, 8, 4, 512, 1408, 8192, 256)
LLAMA_3_8B = _llama_sizes(32, 32, 8, 4096, 14336, 128256, 8192)
LLAMA_3_70B = _llama_sizes(80, 64, 8, 8192, 28672, 128256, 8192)


def gpt2_config(sizes: Mapping[str, int] = GPT2_SMALL) -> Config:
    """Of a GPT-2 of these sizes, with scaled dot-product attention."""
    library: Any = import_module("transformers")
    return library.GPT2Config(**sizes, attn_implementation="sdpa", bos_token_id=0, eos_token_id=0)


def llama_config(sizes: Mapping[str, int] = LLAMA_SMALL) -> Config:
    """Of a Llama of these sizes, with scaled dot-product attention."""
    library: Any = import_module("transformers")
    return library.LlamaConfig(**sizes, attn_implementation="sdpa", bos_token_id=0, eos_token_id=0)


def hugging_face(config: Config, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> HuggingFace:
    """A causal language model with random weights, ready to evaluate, without gradients of weights.

    Weights are larger than at the start of training, so that heads attend to something and a wrong one shows.
    """
    library: Any = import_module("transformers")
    model = library.AutoModelForCausalLM.from_config(config).to(dtype).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        is_scale = name.endswith("weight") and ("ln_" in name or "norm" in name)
        std = 0.1 if is_scale or name.endswith(".bias") else 0.05
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * std + float(is_scale))
    return model


def transformer_lens(model: HuggingFace) -> Hooked:
    """The same weights in TransformerLens, as they are: nothing folded, nothing centred."""
    library: Any = import_module("transformer_lens")
    conversions: Any = import_module("transformer_lens.pretrained.weight_conversions")
    c = model.config
    config = library.HookedTransformerConfig(
        n_layers=c.n_layer,
        n_heads=c.n_head,
        d_model=c.n_embd,
        d_head=c.n_embd // c.n_head,
        d_mlp=4 * c.n_embd,
        d_vocab=c.vocab_size,
        n_ctx=c.n_positions,
        act_fn="gelu_new",
        normalization_type="LN",
        device="cpu",
        dtype=model.dtype,
        original_architecture="GPT2LMHeadModel",
    )
    hooked = library.HookedTransformer(config)
    weights: dict[str, Any] = conversions.convert_gpt2_weights(model, config)
    hooked.load_state_dict(weights | {"unembed.b_U": torch.zeros(c.vocab_size, dtype=model.dtype)}, strict=False)
    return hooked.eval().requires_grad_(False)


def patched_losses(hooked: Hooked, tokens: Tensor, other: Tensor, heads: Sequence[tuple[int, int]]) -> Tensor:
    """The loss with each head's output in turn taken from the run on other tokens, one run of the model for each."""
    cache: dict[str, Tensor]
    _, cache = hooked.run_with_cache(other, return_type=None, names_filter=_is_head_output)
    losses: list[Tensor] = []
    for layer, head in heads:
        hook = (f"blocks.{layer}.attn.hook_z", partial(_patch, head=head, cache=cache))
        losses.append(hooked.run_with_hooks(tokens, return_type="loss", fwd_hooks=[hook]))
    return torch.stack(losses)


def _is_head_output(name: str) -> bool:
    return name.endswith("hook_z")


def _patch(z: Tensor, hook: Any, *, head: int, cache: dict[str, Tensor]) -> Tensor:
    z[:, :, head] = cache[hook.name][:, :, head]
    return z
