"""GPT-2 with edges patched, one reader after another in plain torch: slow, and nothing like the machine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scrub.discovery.components import ComponentGraph

Writes = dict[str, Tensor]


def gpt2(theirs: Any, graph: ComponentGraph, tokens: Tensor, keep: Tensor, instead: Writes) -> tuple[Tensor, Writes]:
    """Logits of one prompt [seq, V], and what every writer writes [seq, d].

    Args:
        theirs: a `GPT2LMHeadModel`.
        graph: which row and column of `keep` is whose.
        tokens: int64 [seq].
        keep: [readers, writers], or [readers, writers, seq].
        instead: what patched edges carry.
    """
    body, seq = theirs.transformer, len(tokens)
    writes: Writes = {"input": body.wte(tokens) + body.wpe(torch.arange(seq))}
    nobodys = torch.zeros_like(writes["input"])

    def read(reader: str) -> Tensor:
        total = nobodys.clone()
        for writer, value in writes.items():
            share = keep[graph.reader_index[reader], graph.writer_index[writer]].reshape(-1, 1)
            total = total + share * value + (1 - share) * instead[writer]
        return total

    hidden = torch.ones(seq, seq).triu(1).bool()
    for number, block in enumerate(body.h):
        attn = block.attn
        made: Writes = {}
        for i in range(attn.num_heads):
            name, own = f"a{number}.h{i}", slice(i * attn.head_dim, (i + 1) * attn.head_dim)
            q, k, v = (
                block.ln_1(read(f"{name}.{label}")) @ attn.c_attn.weight.chunk(3, 1)[j][:, own]
                + attn.c_attn.bias.chunk(3)[j][own]
                for j, label in enumerate("qkv")
            )
            scores = (q @ k.T / attn.head_dim**0.5).masked_fill(hidden, -torch.inf)
            made[name] = scores.softmax(-1) @ v @ attn.c_proj.weight[own]
        writes |= made
        nobodys = nobodys + attn.c_proj.bias
        writes[f"m{number}"] = block.mlp(block.ln_2(read(f"m{number}")))
    return theirs.lm_head(body.ln_f(read("logits"))), writes
