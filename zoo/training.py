"""The training loop: Muon for the attention matrices, AdamW for everything else, and the loss curve it leaves.

The number of steps follows from the number of tokens, never from time, and all chance comes from seeded generators.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from zoo.attn_only import AttnOnlyTransformer
from zoo.batches import Batch, BatchSource
from zoo.muon import Muon
from zoo.scores import losses, prefix_matching_scores, previous_token_scores


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train; the learning rates are peaks, reached after `warmup` steps and decayed linearly to zero.

    muon_lr and muon_weight_decay are for the attention matrices, vocabulary_lr and weight_decay for the embedding and
    the unembedding, other_lr for positions and LayerNorms. decay_from: the fraction of the steps after which the decay
    begins.
    """

    tokens: int
    seed: int = 0
    n_text: int = 7
    n_repeated: int = 1
    muon_lr: float = 0.006
    muon_weight_decay: float = 0.1
    vocabulary_lr: float = 6e-3
    other_lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: int = 200
    decay_from: float = 0.4
    log_every: int = 1_000_000

    def n_steps(self, n_ctx: int) -> int:
        return max(1, self.tokens // ((self.n_text + self.n_repeated) * n_ctx))

    def rate(self, step: int, n_steps: int) -> float:
        """The learning rate at a step as a fraction of its peak."""
        start = self.decay_from * n_steps
        decay = 1.0 if step < start else (n_steps - step) / (n_steps - start)
        return min(1.0, (step + 1) / self.warmup) * decay


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """The state of training after so many tokens: losses in nats, and the best score of each kind of head."""

    tokens: int
    train_loss: float
    held_out_loss: float
    previous_token: float
    prefix_matching: float


def train(
    model: AttnOnlyTransformer,
    source: BatchSource,
    held_out: Tensor,
    config: TrainingConfig,
    *,
    checkpoint: Path | None = None,
    report: Callable[[str], None] = print,
) -> list[CurvePoint]:
    """Train `model` in place and return its loss curve.

    Args:
        held_out: sequences [n, n_ctx] for the held-out loss and the previous-token score.
        checkpoint: where to keep the latest state of training, or None.
        report: takes one line of progress at a time.
    """
    n_ctx = model.config.n_ctx
    n_steps = config.n_steps(n_ctx)
    per_step = (config.n_text + config.n_repeated) * n_ctx
    muon, adam = _optimizers(model, config)
    curve: list[CurvePoint] = []
    running, started = 0.0, time.monotonic()
    for step in range(n_steps):
        rate = config.rate(step, n_steps)
        muon.lr = config.muon_lr * rate
        for group in adam.param_groups:
            group["lr"] = group["peak_lr"] * rate
        loss, text_loss = _losses(model, source.draw(n_text=config.n_text, n_repeated=config.n_repeated))
        model.zero_grad(set_to_none=True)
        loss.backward()
        muon.step()
        adam.step()
        running = text_loss if step == 0 else 0.99 * running + 0.01 * text_loss
        done = (step + 1) * per_step
        if step + 1 == n_steps or done // config.log_every > (done - per_step) // config.log_every:
            curve.append(_measure(model, held_out, tokens=done, train_loss=running, seed=config.seed))
            report(f"{curve[-1]} rate={rate:.3f} tokens/s={done / (time.monotonic() - started):.0f}")
            if checkpoint is not None:
                state = {"model": model.state_dict(), "adam": adam.state_dict(), "muon": muon.buffers}
                torch.save({**state, "step": step, "batches": source.generator.bit_generator.state}, checkpoint)
    return curve


def _optimizers(model: AttnOnlyTransformer, config: TrainingConfig) -> tuple[Muon, torch.optim.AdamW]:
    named = dict(model.named_parameters())
    attention = {name for name in named if ".attn." in name}
    vocabulary = {"embed.W_E", "unembed.W_U"}
    others = set(named) - attention - vocabulary
    groups = [
        {"params": [named[name] for name in sorted(names)], "weight_decay": decay, "peak_lr": lr, "lr": lr}
        for names, decay, lr in [
            (vocabulary, config.weight_decay, config.vocabulary_lr),
            (others, 0.0, config.other_lr),
        ]
    ]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    return Muon(
        [named[name] for name in sorted(attention)], lr=config.muon_lr, weight_decay=config.muon_weight_decay
    ), adam


def _losses(model: AttnOnlyTransformer, batch: Batch) -> tuple[Tensor, float]:
    """The mean loss over all positions that count, and its text part."""
    logits = model.final_residual(batch.tokens[:, :-1])[batch.mask] @ model.unembed.W_U
    per_token = functional.cross_entropy(logits, batch.tokens[:, 1:][batch.mask], reduction="none")
    text = per_token[: batch.n_text * batch.mask.shape[1]]
    return per_token.mean(), float(text.detach().mean())


@torch.no_grad()
def _measure(model: AttnOnlyTransformer, held_out: Tensor, *, tokens: int, train_loss: float, seed: int) -> CurvePoint:
    sample = held_out[:: max(1, len(held_out) // 64)]
    return CurvePoint(
        tokens=tokens,
        train_loss=train_loss,
        held_out_loss=float(losses(model, sample).mean()),
        previous_token=float(previous_token_scores(model, sample)[0].max()),
        prefix_matching=float(prefix_matching_scores(model, seed=seed, n_sequences=16)[-1].max()),
    )
