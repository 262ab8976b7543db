"""The scrubbed model written out in torch, by hand, for each hypothesis: what the rewrites must agree with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

Weights = dict[str, torch.Tensor]


@dataclass
class ByHand:
    """Losses on candidate tokens of a two-layer model whose induction heads read from chosen residual streams."""

    w: Weights
    candidates: torch.Tensor
    prev: int
    induction: tuple[int, ...]

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.w[f"{name}.w"], self.w[f"{name}.b"], 1e-5)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.w["embed.W_E"][tokens]

    def heads(
        self, layer: int, q_in: torch.Tensor, k_in: torch.Tensor, v_in: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Output of each head [batch, head, pos, d_model] on separate inputs; `mask` multiplies probabilities."""
        block = f"blocks.{layer}.attn"
        pos = self.w["pos_embed.W_pos"][: q_in.shape[1]]
        q = torch.einsum("bsd,hde->bhse", q_in + pos, self.w[f"{block}.W_Q"])
        k = torch.einsum("bsd,hde->bhse", k_in + pos, self.w[f"{block}.W_K"])
        v = torch.einsum("bsd,hde->bhse", v_in, self.w[f"{block}.W_V"])
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        probs = scores.masked_fill(future, -torch.inf).softmax(-1)
        probs = probs if mask is None else probs * mask
        return torch.einsum("bhqe,hed->bhqd", probs @ v, self.w[f"{block}.W_O"])

    def layer0(self, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        normed = self.norm(self.embed(tokens), "blocks.0.ln1")
        return self.heads(0, normed, normed, normed, mask)

    def loss(
        self, labels: torch.Tensor, ref: torch.Tensor, streams: dict[str, torch.Tensor], base: torch.Tensor
    ) -> torch.Tensor:
        """Mean over positions of the loss on candidates [batch].

        Args:
            labels: next tokens.
            ref: tokens that decide what is a candidate.
            streams: residual streams before layer 1 that the induction heads' q, k, v read.
            base: the residual stream that everything else reads.
        """
        normed = {part: self.norm(stream, "blocks.1.ln1") for part, stream in streams.items()}
        own = self.norm(base, "blocks.1.ln1")
        ind = self.heads(1, normed["q"], normed["k"], normed["v"])
        rest = self.heads(1, own, own, own)
        is_ind = torch.zeros(ind.shape[1], dtype=torch.bool)
        is_ind[list(self.induction)] = True
        final = base + torch.where(is_ind[None, :, None, None], ind, rest).sum(1)
        logits = self.norm(final, "ln_final") @ self.w["unembed.W_U"]
        nll = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        return (nll * self.candidates[ref]).mean(-1)

    def hypothesis(self, name: str, tokens: torch.Tensor, other_tokens: torch.Tensor) -> torch.Tensor:
        """Per-draw losses [batch] under a row of the demo's table."""
        ref, other, labels = tokens[:, :-1], other_tokens[:, :-1], tokens[:, 1:]
        a_ref, a_other = self.layer0(ref), self.layer0(other)
        e_ref, e_other = self.embed(ref), self.embed(other)
        clean, dirty = e_ref + a_ref.sum(1), e_other + a_other.sum(1)
        token_only = e_ref + a_other.sum(1)
        if name == "all inputs scrubbed":
            return self.loss(labels, ref, dict.fromkeys("qkv", dirty), dirty)
        streams = dict.fromkeys("qkv", dirty if name == "baseline" else clean)
        if name in ("values", "all three") or "match" in name:
            streams["v"] = token_only
        if name in ("queries", "all three"):
            streams["q"] = token_only
        if name in ("keys", "all three"):
            streams["k"] = e_other + self.mixed(a_other, ref, other, {})
        if "match" in name:
            count = {"two-token match": 2, "three-token match": 3}[name]
            near = dict.fromkeys(range(count), 1)
            streams["q"] = e_ref + self.mixed(a_other, ref, other, near)
            streams["k"] = e_ref + self.mixed(a_other, ref, other, near | {count: 1})
        return self.loss(labels, ref, streams, clean)

    def mixed(
        self, a_other: torch.Tensor, ref: torch.Tensor, other: torch.Tensor, lags: dict[int, int]
    ) -> torch.Tensor:
        """Layer 0 where the previous-token head reads the reference at lag 1, and the others at `lags`."""
        seq = ref.shape[1]
        lag = torch.arange(seq)[:, None] - torch.arange(seq)[None, :]
        mask = torch.zeros(a_other.shape[1], seq, seq)
        for allowed in lags:
            mask += (lag == allowed).float()
        mask[self.prev] = (lag == 1).float()
        return (self.layer0(ref, mask) + self.layer0(other, 1 - mask)).sum(1)
