"""What a transformer is made of: the choices that families of models differ in, and the sizes.

A family file (`scrub.models.families`) reads a config into an `Architecture`; `scrub.models.lower` makes the
expression of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from scrub.graph import CheckpointError


@dataclass(frozen=True)
class Norm:
    """A normalization over the last axis.

    Attributes:
        kind: "ln" subtracts the mean and divides by the standard deviation; "rms" divides by the root mean square.
        eps: added to the variance or mean square.
        weight, bias: whether the result is multiplied by a weight, and a bias added.
        one_plus_weight: multiply by 1 + weight instead (Gemma).
    """

    kind: Literal["ln", "rms"] = "ln"
    eps: float = 1e-5
    weight: bool = True
    bias: bool = True
    one_plus_weight: bool = False


@dataclass(frozen=True)
class RotaryTable:
    """Angles of rotary positions.

    Attributes:
        name: layers that rotate alike share a table of this name.
        width: how many of the features of a head are rotated, the first ones.
        frequencies: given the length of the sequences, the angle per position [width / 2], in the dtype in which angles
            are computed, and a factor of cosine and sine (1 but for some ways of stretching the context).
        is_interleaved: whether the pairs are neighbours, (0, 1), (2, 3), ... (GPT-J), and not (0, n), (1, n + 1), ...
    """

    name: str
    width: int
    frequencies: Callable[[int], tuple[torch.Tensor, float]]
    is_interleaved: bool = False


@dataclass(frozen=True)
class Attention:
    """The attention of a layer.

    Attributes:
        n_heads, n_key_value_heads, d_head: sizes; with fewer key-value heads than heads, query head `g * n + i` reads
            keys and values g, where n is the number of query heads to a group.
        scale: factor of the scores.
        bias: which of "q", "k", "v", "o" have a bias.
        qk_norm: norm of queries and keys, before they are rotated.
        qk_norm_over: "head": each head by itself; "all": over the features of all heads together (OLMo 2).
        rotary: the angles, if queries and keys are rotated.
        alibi_slopes: per head, the factor of the key's position that is added to the scores (ALiBi).
        softcap: c for scores of c tanh(scores / c).
        is_causal: whether a query sees only keys up to its own position.
        window: a query sees keys less than this many positions away only.
        shortformer: positions are added to the query and key inputs.
    """

    n_heads: int
    n_key_value_heads: int
    d_head: int
    scale: float
    bias: str = ""
    qk_norm: Norm | None = None
    qk_norm_over: Literal["head", "all"] = "head"
    rotary: RotaryTable | None = None
    alibi_slopes: tuple[float, ...] | None = None
    softcap: float | None = None
    is_causal: bool = True
    window: int | None = None
    shortformer: bool = False

    def __post_init__(self) -> None:
        if self.n_key_value_heads < 1 or self.n_heads % self.n_key_value_heads:
            raise CheckpointError(
                f"{self.n_heads} heads cannot share {self.n_key_value_heads} key-value heads evenly",
                expected="a divisor of n_heads",
                found=self.n_key_value_heads,
            )
        if self.rotary is not None and self.rotary.width > self.d_head:
            raise CheckpointError(
                f"{self.rotary.width} features of a head cannot be rotated, it has {self.d_head}",
                expected=f"at most {self.d_head}",
                found=self.rotary.width,
            )

    @property
    def query_axes(self) -> tuple[int, ...]:
        """Batch axes of query and output weights: [heads], or [query heads of a group, groups]."""
        if self.n_heads == self.n_key_value_heads:
            return (self.n_heads,)
        return (self.n_heads // self.n_key_value_heads, self.n_key_value_heads)

    @property
    def mask_name(self) -> str:
        """Name of the symbol of its mask; layers that mask alike share it."""
        return "a.mask" if self.window is None else f"a.mask.window_{self.window}"


@dataclass(frozen=True)
class Mlp:
    """Two linear layers with a nonlinearity between, or gated: act(x W_gate) * (x W_in), then W_out.

    Attributes:
        d_mlp: neurons.
        act: name of a registered elementwise function; or "solu", x softmax(x) over the neurons (Elhage et al. 2022).
        is_gated: whether there is a gate.
        bias_in, bias_out: whether the first (and the gate) and the second linear layer have biases.
        bias_after_gate: the first bias is added to the product with the gate instead (TransformerLens).
        post_norm: norm over the neurons, before the second linear layer.
    """

    d_mlp: int
    act: str
    is_gated: bool = False
    bias_in: bool = True
    bias_out: bool = True
    bias_after_gate: bool = False
    post_norm: Norm | None = None


@dataclass(frozen=True)
class Experts:
    """A mixture of gated MLPs: a router gives each token the `n_active` experts it scores highest.

    Attributes:
        expert: one expert.
        n_experts, n_active: how many there are, and how many a token uses.
        is_renormalized: whether the weights of the experts used are divided by their sum.
    """

    expert: Mlp
    n_experts: int
    n_active: int
    is_renormalized: bool = True

    def __post_init__(self) -> None:
        if self.expert.bias_in or self.expert.bias_out:
            raise CheckpointError("experts have no biases", expected="bias_in=False, bias_out=False", found=self.expert)


@dataclass(frozen=True)
class Layer:
    """A block. With x its input:

        mid = mid_norm(x + a_out_norm(attention(a_norm(x))))
        out = out_norm(mid + m_out_norm(mlp(m_norm(mid))))

    where a norm that is None is left out. If `is_parallel` the MLP reads x instead of mid. If `adds_to_normed`, what
    attention and MLP write is added to what they read, a_norm(x) and m_norm(mid), instead of x and mid (BLOOM);
    such a block is not parallel. If `shares_norm`, the MLP reads a_norm(x), and there is no m_norm (GPT-J).
    """

    attention: Attention
    mlp: Mlp | Experts | None = None
    a_norm: Norm | None = None
    a_out_norm: Norm | None = None
    mid_norm: Norm | None = None
    m_norm: Norm | None = None
    m_out_norm: Norm | None = None
    out_norm: Norm | None = None
    is_parallel: bool = False
    adds_to_normed: bool = False
    shares_norm: bool = False

    def __post_init__(self) -> None:
        if self.is_parallel and self.adds_to_normed:
            raise CheckpointError("a parallel block adds to its input", expected="adds_to_normed=False", found=True)
        has_no_mid = self.mlp is None or self.is_parallel
        if (has_no_mid and self.mid_norm) or (self.mlp is None and (self.m_norm or self.m_out_norm)):
            raise CheckpointError("a block has a norm that has no place in it", expected="no such norm", found=self)
        if self.shares_norm and (not self.is_parallel or self.m_norm is not None):
            raise CheckpointError("only the MLP of a parallel block, without a norm of its own, shares a norm")


@dataclass(frozen=True)
class Patches:
    """Images [channels, height, width] cut into square patches, each mapped linearly; a class token comes first."""

    image: tuple[int, int]
    patch: tuple[int, int]
    n_channels: int


@dataclass(frozen=True)
class Embedding:
    """From tokens to the first residual stream: (tokens * scale + positions + token types), norm, projection.

    Attributes:
        positions: "learned": one vector a position, from a table; "none": none here (rotary, ALiBi, shortformer).
        n_positions: rows of the table.
        position_offset: row of position 0.
        positions_from_mask: positions count the tokens that the attention mask shows, as OPT does.
        scale: factor of token embeddings, which is rounded to their dtype.
        n_token_types: rows of the table of token types; 0 for none.
        norm: of the sum.
        d_embed: size of token embeddings, if they are projected to d_model.
        patches: for images instead of tokens.
    """

    positions: Literal["none", "learned", "shortformer"] = "none"
    n_positions: int = 0
    position_offset: int = 0
    positions_from_mask: bool = False
    scale: float = 1.0
    n_token_types: int = 0
    norm: Norm | None = None
    d_embed: int | None = None
    patches: Patches | None = None


@dataclass(frozen=True)
class Transform:
    """A linear layer with bias, a nonlinearity and a norm between the final residual stream and the unembedding."""

    act: str
    norm: Norm | None = None


@dataclass(frozen=True)
class Readout:
    """From the last residual stream to logits.

    Attributes:
        norm: the final norm.
        reads_first: only position 0 is read: one vector of logits a sequence (classifiers).
        d_embed: size to which the stream is projected first, if it is.
        transform: what comes before the unembedding.
        has_bias: whether the unembedding has a bias.
        softcap: c for logits of c tanh(logits / c).
    """

    norm: Norm | None = None
    reads_first: bool = False
    d_embed: int | None = None
    transform: Transform | None = None
    has_bias: bool = False
    softcap: float | None = None


@dataclass(frozen=True)
class Architecture:
    """A transformer: sizes, layers, and what comes before and after them.

    Attributes:
        d_model, d_vocab, n_ctx: sizes; `n_ctx` is the longest sequence, None for any.
        d_out: number of logits, where it is not d_vocab.
        embedding, layers, readout: the parts in order.
    """

    d_model: int
    d_vocab: int
    n_ctx: int | None
    layers: tuple[Layer, ...]
    embedding: Embedding = field(default_factory=Embedding)
    readout: Readout = field(default_factory=Readout)
    d_out: int | None = None

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def n_logits(self) -> int:
        return self.d_vocab if self.d_out is None else self.d_out

    @property
    def n_heads(self) -> int:
        """Query heads of the first layer."""
        return self.layers[0].attention.n_heads
