"""ViT: an image cut into patches, a class token before them, LayerNorm before attention and MLP, the class token read.

Source: Dosovitskiy et al. 2021; weights as in `transformers.ViTForImageClassification`. Images have the config's size:
position encodings are not interpolated to other sizes.
"""

from __future__ import annotations

import torch

from scrub.models.architecture import Architecture, Attention, Embedding, Layer, Mlp, Norm, Patches, Readout
from scrub.models.families.activations import ACTIVATIONS
from scrub.models.families.config_reader import ConfigReader
from scrub.models.families.family import Family, Source, register
from scrub.models.families.views import keys, linear, outputs, queries


def architecture(config: ConfigReader, class_name: str) -> Architecture:
    """From `transformers.ViTConfig`. The pooler that it describes is not part of the classifier."""
    n_heads, d_model = config.num_attention_heads, config.hidden_size
    if not 1 <= n_heads <= d_model:
        config.refuse("num_attention_heads", expected=f"1 to hidden_size={d_model}")
    image, patch = pair(config.image_size), pair(config.patch_size)
    if not 1 <= patch[0] <= image[0] or not 1 <= patch[1] <= image[1]:
        config.refuse("patch_size", expected=f"1 to image_size={config.image_size}")
    if not config.num_labels:
        config.refuse("num_labels", expected="at least 1")
    norm = Norm("ln", config.layer_norm_eps)
    d_head = d_model // n_heads
    bias = "qkvo" if config.qkv_bias else "o"
    attention = Attention(n_heads, n_heads, d_head, d_head**-0.5, bias=bias, is_causal=False)
    mlp = Mlp(config.intermediate_size, config.choice("hidden_act", ACTIVATIONS))
    n_positions = 1 + (image[0] // patch[0]) * (image[1] // patch[1])
    return Architecture(
        d_model=d_model,
        d_vocab=0,
        n_ctx=n_positions,
        layers=(Layer(attention, mlp, a_norm=norm, m_norm=norm),) * config.num_hidden_layers,
        embedding=Embedding("learned", n_positions, patches=Patches(image, patch, config.num_channels)),
        readout=Readout(norm, reads_first=True, has_bias=True),
        d_out=config.num_labels,
    )


def pair(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    """(height, width); one number is both.

    >>> pair(16), pair([8, 12])
    ((16, 16), (8, 12))
    """
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def filters(w: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Of a convolution, [out, channels, height, width] as [channels, height, width, out]."""
    return w.permute(1, 2, 3, 0)


def without_batch(w: torch.Tensor, layer: Layer) -> torch.Tensor:
    """[1, positions, d_model] as [positions, d_model]."""
    return w.squeeze(0)


def one_token(w: torch.Tensor, layer: Layer) -> torch.Tensor:
    """[1, 1, d_model] as [d_model]."""
    return w.squeeze(0).squeeze(0)


_BLOCK = "vit.layers.{l}"
SOURCES = {
    "t.w.patches": Source("vit.embeddings.patch_embeddings.projection.weight", filters),
    "t.b.patches": Source("vit.embeddings.patch_embeddings.projection.bias"),
    "t.w.class_token": Source("vit.embeddings.cls_token", one_token),
    "t.w.pos_embeds": Source("vit.embeddings.position_embeddings", without_batch),
    "a.norm.w": Source(f"{_BLOCK}.layernorm_before.weight"),
    "a.norm.b": Source(f"{_BLOCK}.layernorm_before.bias"),
    "a.w.q": Source(f"{_BLOCK}.attention.q_proj.weight", queries),
    "a.w.k": Source(f"{_BLOCK}.attention.k_proj.weight", keys),
    "a.w.v": Source(f"{_BLOCK}.attention.v_proj.weight", keys),
    "a.w.o": Source(f"{_BLOCK}.attention.o_proj.weight", outputs),
    "a.b.q": Source(f"{_BLOCK}.attention.q_proj.bias", queries),
    "a.b.k": Source(f"{_BLOCK}.attention.k_proj.bias", keys),
    "a.b.v": Source(f"{_BLOCK}.attention.v_proj.bias", keys),
    "a.b.o": Source(f"{_BLOCK}.attention.o_proj.bias"),
    "m.norm.w": Source(f"{_BLOCK}.layernorm_after.weight"),
    "m.norm.b": Source(f"{_BLOCK}.layernorm_after.bias"),
    "m.w.in": Source(f"{_BLOCK}.mlp.fc1.weight", linear),
    "m.b.in": Source(f"{_BLOCK}.mlp.fc1.bias"),
    "m.w.out": Source(f"{_BLOCK}.mlp.fc2.weight", linear),
    "m.b.out": Source(f"{_BLOCK}.mlp.fc2.bias"),
    "final.norm.w": Source("vit.layernorm.weight"),
    "final.norm.b": Source("vit.layernorm.bias"),
    "t.w.unembed": Source("classifier.weight", linear),
    "t.b.unembed": Source("classifier.bias"),
}
COMPONENTS = {
    "t.input": "vit.embeddings",
    "t.patch_embeds": "vit.embeddings.patch_embeddings",
    "b": _BLOCK,
    "a.norm": f"{_BLOCK}.layernorm_before",
    "a.p_bias": f"{_BLOCK}.attention",
    "m.norm": f"{_BLOCK}.layernorm_after",
    "m.pre": f"{_BLOCK}.mlp.fc1",
    "m.post": f"{_BLOCK}.mlp.activation_fn",
    "m.p_bias": f"{_BLOCK}.mlp",
    "final.norm": "vit.layernorm",
    "t.logits": "classifier",
}
register(
    Family(
        "vit",
        ("ViTForImageClassification",),
        architecture,
        SOURCES,
        COMPONENTS,
        base_prefix="vit.",
        ignored=("vit.pooler.dense.weight", "vit.pooler.dense.bias"),
        renamed={
            r"encoder\.layer\.": "layers.",
            r"attention\.attention\.query\.": "attention.q_proj.",
            r"attention\.attention\.key\.": "attention.k_proj.",
            r"attention\.attention\.value\.": "attention.v_proj.",
            r"attention\.output\.dense\.": "attention.o_proj.",
            r"\.intermediate\.dense\.": ".mlp.fc1.",
            r"(layers\.\d+)\.output\.dense\.": r"\1.mlp.fc2.",
        },
        harmless=frozenset(("encoder_stride", "pooler_output_size", "pooler_act", "tie_word_embeddings")),
    )
)
