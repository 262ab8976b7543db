"""Training of the parentheses classifier: data, batches, optimizer, schedule. A function of its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from scrub.tasks.parens.data import KINDS, ParensData, parens_data
from zoo.parens_model import ParensConfig, ParensTransformer

TEST_SEED = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ParensTraining:
    """How one instance is trained.

    Attributes:
        seed: of the initial weights, the data and their order.
        n_train: rows of the training data, drawn once; `n_steps` batches of `batch` go over them again and again.
        lr: peak learning rate of AdamW, after a linear warm-up; it falls linearly to 0 from `decay_from` on.
        weight_decay: of matrices; norms and biases have none.
    """

    seed: int
    n_train: int = 200_000
    n_steps: int = 5_000
    batch: int = 160
    lr: float = 2e-3
    weight_decay: float = 0.1
    warmup: int = 200
    decay_from: float = 0.3
    log_every: int = 500


def train_parens(config: ParensTraining, *, report: Callable[[str], None] = print) -> ParensTransformer:
    """Train one instance on the training split."""
    model = ParensTransformer(ParensConfig(), seed=config.seed)
    data = parens_data(config.n_train, config.seed, split="train")
    held_out = parens_data(2_000, TEST_SEED - 1, split="test")
    optimizer = _optimizer(model, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _factor(step, config))
    for step, batch in enumerate(_batches(data, config), start=1):
        loss = functional.cross_entropy(_logits(model, batch), batch.label)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % config.log_every == 0:
            report(f"seed {config.seed} step {step} loss {loss.item():.5f} held out {accuracy(model, held_out):.4f}")
    return model.requires_grad_(False)


@torch.no_grad()
def predicted_logits(model: ParensTransformer, data: ParensData, *, batch: int = 2_000) -> Tensor:
    """Logits [n, 2]."""
    return torch.cat([_logits(model, data[i : i + batch]) for i in range(0, len(data), batch)])


def accuracy(model: ParensTransformer, data: ParensData) -> float:
    """Share of rows that are classified right."""
    return float((predicted_logits(model, data).argmax(1) == data.label).double().mean())


def mean_loss(model: ParensTransformer, data: ParensData) -> float:
    """Mean cross-entropy, in nats."""
    return float(functional.cross_entropy(predicted_logits(model, data).double(), data.label))


def accuracy_by_kind(model: ParensTransformer, data: ParensData) -> dict[str, float]:
    """Share of rows that are classified right, of each kind of row."""
    is_right = (predicted_logits(model, data).argmax(1) == data.label).double()
    return {kind: float(is_right[data.kind == i].mean()) for i, kind in enumerate(KINDS)}


def _logits(model: ParensTransformer, data: ParensData) -> Tensor:
    """Without the columns that are padding in all rows: as keys they are hidden anyway."""
    longest = int(data.mask.sum(1).max())
    return model(data.tokens[:, :longest], data.mask[:, :longest])


def _batches(data: ParensData, config: ParensTraining, *, group: int = 8) -> Iterator[ParensData]:
    """`n_steps` batches of rows of like length: of `group` batches' random rows, sorted, in random order."""
    generator = torch.Generator().manual_seed(config.seed)
    for start in range(0, config.n_steps, group):
        rows = torch.randint(len(data), (group * config.batch,), generator=generator)
        rows = rows[data.mask[rows].sum(1).argsort(stable=True)].view(group, config.batch)
        for at in torch.randperm(group, generator=generator)[: config.n_steps - start]:
            yield data[rows[at]]


def _optimizer(model: ParensTransformer, config: ParensTraining) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))


def _factor(step: int, config: ParensTraining) -> float:
    done = step / config.n_steps
    return min(1.0, (step + 1) / config.warmup, (1.0 - done) / (1.0 - config.decay_from))
