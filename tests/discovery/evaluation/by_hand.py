"""GPT-2 in plain torch, each reader reading a sum of its own of what was written and of what replaces it."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch.nn import functional as F

from scrub.discovery.machine import Machine, machine_of
from scrub.models import load
from scrub.tasks.task import Task

SEQ, VOCABULARY = 5, 11


def tiny_gpt2(n_layers: int = 2, n_heads: int = 2) -> tuple[Any, Machine]:
    """A GPT-2 with large random weights, float64, and its machine."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_embd=8,
        n_layer=n_layers,
        n_head=n_heads,
        vocab_size=VOCABULARY,
        n_positions=SEQ,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.5,
    )
    model = transformers.GPT2LMHeadModel(config).double().eval()
    return model, machine_of(load(model))


def task_of(n: int, seed: int = 0) -> Task:
    """Random prompts with counterfactuals, one right and one wrong answer each."""
    generator = torch.Generator().manual_seed(seed)
    tokens, counterfactual = (torch.randint(VOCABULARY, (n, SEQ), generator=generator) for _ in range(2))
    answers = torch.randint(VOCABULARY, (n,), generator=generator)
    return Task.from_tokens(
        "random", tokens, counterfactual=counterfactual, answers=answers, wrong=(answers + 1) % VOCABULARY
    )


class ByHand:
    """The writes and logits of GPT-2, from its weights.

    Args:
        model: a GPT2LMHeadModel.
        machine: names of writers and readers, in order.
    """

    def __init__(self, model: Any, machine: Machine) -> None:
        self.model = model
        self.weights = {name: value.detach() for name, value in model.transformer.named_parameters()}
        self.graph = machine.graph

    def patched(
        self, tokens: torch.Tensor, keep: torch.Tensor, replaced: dict[str, torch.Tensor] | None
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What each writer writes, [n, seq, d], and the last logits, [n, vocabulary].

        Args:
            tokens: [n, seq].
            keep: [n_readers, n_writers].
            replaced: writer -> what edges that are not kept carry; None if all are.
        """
        config, w = self.model.config, self.weights
        written = {"input": w["wte.weight"][tokens] + w["wpe.weight"][: tokens.shape[1]]}
        constant = torch.zeros(config.n_embd, dtype=torch.float64)

        def read(reader: str) -> torch.Tensor:
            row = keep[self.graph.reader_index[reader]]
            total = constant.expand_as(written["input"])
            for name, value in written.items():
                share = row[self.graph.writer_index[name]]
                other = 0.0 if replaced is None else (1 - share) * replaced[name]
                total = total + share * value + other
            return total

        for layer in range(config.n_layer):
            of_layer = f"h.{layer}."
            heads = {
                f"a{layer}.h{head}": self._head(layer, head, [read(f"a{layer}.h{head}.{port}") for port in "qkv"])
                for head in range(config.n_head)
            }
            written |= heads
            constant = constant + w[of_layer + "attn.c_proj.bias"]
            x = self._norm(of_layer + "ln_2", read(f"m{layer}"))
            hidden = F.gelu(x @ w[of_layer + "mlp.c_fc.weight"] + w[of_layer + "mlp.c_fc.bias"], approximate="tanh")
            written[f"m{layer}"] = hidden @ w[of_layer + "mlp.c_proj.weight"] + w[of_layer + "mlp.c_proj.bias"]
        return written, (self._norm("ln_f", read("logits")) @ w["wte.weight"].T)[:, -1]

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        scale, bias = (self.weights[f"{name}.{part}"] for part in ("weight", "bias"))
        return F.layer_norm(x, scale.shape, scale, bias, self.model.config.layer_norm_epsilon)

    def _head(self, layer: int, head: int, reads: list[torch.Tensor]) -> torch.Tensor:
        config, w = self.model.config, self.weights
        d_head = config.n_embd // config.n_head
        own = slice(head * d_head, (head + 1) * d_head)
        name = f"h.{layer}."
        q, k, v = (
            self._norm(name + "ln_1", x) @ matrix[:, own] + bias[own]
            for x, matrix, bias in zip(
                reads,
                w[name + "attn.c_attn.weight"].chunk(3, 1),
                w[name + "attn.c_attn.bias"].chunk(3),
                strict=True,
            )
        )
        scores = q @ k.transpose(-1, -2) / d_head**0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return scores.masked_fill(future, -torch.inf).softmax(-1) @ v @ w[name + "attn.c_proj.weight"][own]
