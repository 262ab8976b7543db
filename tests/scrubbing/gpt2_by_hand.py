"""GPT-2 written out in torch, with heads and inputs of readers apart: what scrubbed models must equal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass
class ByHand:
    """A Hugging Face GPT-2 of two layers, by its state dict."""

    w: dict[str, torch.Tensor]
    n_heads: int

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight = self.w[f"transformer.{name}.weight"]
        return functional.layer_norm(x, x.shape[-1:], weight, self.w[f"transformer.{name}.bias"], 1e-5)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        positions = self.w["transformer.wpe.weight"][: tokens.shape[-1]]
        return self.w["transformer.wte.weight"][tokens] + positions

    def heads(
        self,
        layer: int,
        q: torch.Tensor,
        k: torch.Tensor | None = None,
        v: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What each head writes, [batch, head, seq, d_model], from the residual streams that its parts read."""
        at = f"transformer.h.{layer}.attn"
        streams = [q, q if k is None else k, q if v is None else v]
        weights = self.w[f"{at}.c_attn.weight"].chunk(3, -1), self.w[f"{at}.c_attn.bias"].chunk(3, -1)
        query, key, value = (
            (self.norm(x, f"h.{layer}.ln_1") @ w + b).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for x, w, b in zip(streams, *weights, strict=True)
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)[None, None]
        if mask is not None:
            hidden = hidden | (mask[:, None, None, :] == 0)
        z = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value
        out = self.w[f"{at}.c_proj.weight"].unflatten(0, (self.n_heads, -1))
        return torch.einsum("bhse,hed->bhsd", z, out)

    def mlp(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        at = f"transformer.h.{layer}.mlp"
        pre = self.norm(x, f"h.{layer}.ln_2") @ self.w[f"{at}.c_fc.weight"] + self.w[f"{at}.c_fc.bias"]
        post = functional.gelu(pre, approximate="tanh")
        return post @ self.w[f"{at}.c_proj.weight"] + self.w[f"{at}.c_proj.bias"]

    def block(self, layer: int, x: torch.Tensor, heads: torch.Tensor) -> torch.Tensor:
        """The stream after a layer whose heads write `heads`."""
        mid = x + heads.sum(1) + self.w[f"transformer.h.{layer}.attn.c_proj.bias"]
        return mid + self.mlp(layer, mid)

    def streams(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> list[torch.Tensor]:
        """The stream before each layer, and after the last."""
        found = [self.embed(tokens)]
        for layer in range(2):
            found.append(self.block(layer, found[-1], self.heads(layer, found[-1], mask=mask)))
        return found

    def logits(self, stream: torch.Tensor) -> torch.Tensor:
        return self.norm(stream, "ln_f") @ self.w["lm_head.weight"].T
