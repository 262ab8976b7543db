"""What the heads of an attention-only model do: prefix matching, attention to the previous token, and the loss that
induction is worth on held-out text.

Sources: Olsson et al. 2022, "In-context learning and induction heads" (prefix matching, previous-token heads).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from zoo.attn_only import AttnOnlyTransformer, Trace

Head = tuple[int, int]
_CHUNK = 16


@dataclass(frozen=True, kw_only=True)
class InductionGap:
    """Mean loss in nats at the positions that induction predicts, with the heads intact and mean-ablated.

    n_positions: how many positions the means run over; overall, overall_ablated: the same over all positions.
    """

    intact: float
    ablated: float
    n_positions: int
    overall: float
    overall_ablated: float


@torch.no_grad()
def prefix_matching_scores(model: AttnOnlyTransformer, *, seed: int, n_sequences: int = 64) -> Tensor:
    """Prefix-matching score of every head, [layer, head].

    On [segment][same segment] of uniform random tokens that fills the context: mean attention from a token of the
    second copy to the position right after that token in the first copy.
    """
    config = model.config
    segment = config.n_ctx // 2
    generator = torch.Generator().manual_seed(seed)
    half = torch.randint(config.d_vocab, (n_sequences, segment), generator=generator)
    queries = torch.arange(segment, 2 * segment)
    return _mean_attention(model, torch.cat([half, half], dim=1), queries, queries - segment + 1)


@torch.no_grad()
def previous_token_scores(model: AttnOnlyTransformer, sequences: Tensor) -> Tensor:
    """Mean attention of every head to the previous token, [layer, head], on sequences [n, pos]."""
    queries = torch.arange(1, sequences.shape[1])
    return _mean_attention(model, sequences, queries, queries - 1)


def _mean_attention(model: AttnOnlyTransformer, tokens: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    total = torch.zeros(model.config.n_layers, model.config.n_heads, dtype=torch.float64)
    for chunk in _chunks(tokens):
        for layer, pattern in enumerate(model.patterns(chunk)):
            total[layer] += pattern[:, :, queries, keys].mean(-1).double().sum(0)
    return total / len(tokens)


def induction_predicts(sequences: Tensor) -> Tensor:
    """Where the latest earlier occurrence of the current token was followed by the token that comes next.

    Returns a bool tensor [n, pos - 1] over the positions that have a next token.

    >>> induction_predicts(torch.tensor([[5, 7, 3, 5, 7, 5, 3]]))
    tensor([[False, False, False,  True, False, False]])
    """
    predicts = torch.zeros(sequences.shape[0], sequences.shape[1] - 1, dtype=torch.bool)
    rows = cast(list[list[int]], sequences.tolist())
    for row, tokens in enumerate(rows):
        follower: dict[int, int] = {}
        for position, (current, following) in enumerate(pairwise(tokens)):
            predicts[row, position] = follower.get(current) == following
            follower[current] = following
    return predicts


@torch.no_grad()
def losses(model: AttnOnlyTransformer, sequences: Tensor, *, ablations: dict[Head, Tensor] | None = None) -> Tensor:
    """Loss in nats of every next token, [n, pos - 1]."""
    per_chunk: list[Tensor] = []
    for chunk in _chunks(sequences):
        logits = model(chunk[:, :-1], ablations=ablations)
        per_chunk.append(functional.cross_entropy(logits.transpose(1, 2), chunk[:, 1:], reduction="none"))
    return torch.cat(per_chunk)


@torch.no_grad()
def mean_outputs(model: AttnOnlyTransformer, sequences: Tensor, heads: Iterable[Head]) -> dict[Head, Tensor]:
    """Each head's output averaged over all sequences and positions, [d_model]: what mean ablation puts in its place."""
    heads = list(heads)
    mixed = {head: torch.zeros(model.config.d_head, dtype=torch.float64) for head in heads}
    for chunk in _chunks(sequences):
        trace = Trace()
        model(chunk, trace=trace)
        for layer, head in heads:
            mixed[layer, head] += trace.mixed_values[layer][:, head].double().mean(1).sum(0)
    return {
        (layer, head): (mean / len(sequences)).float() @ model.layers[layer].attn.W_O[head]
        for (layer, head), mean in mixed.items()
    }


def induction_gap(model: AttnOnlyTransformer, sequences: Tensor, heads: Iterable[Head]) -> InductionGap:
    """The loss that `heads` save on the positions of `sequences` that induction predicts, by mean ablation."""
    predicted = induction_predicts(sequences)
    intact = losses(model, sequences)
    ablated = losses(model, sequences, ablations=mean_outputs(model, sequences, heads))
    return InductionGap(
        intact=float(intact[predicted].mean()),
        ablated=float(ablated[predicted].mean()),
        n_positions=int(predicted.sum()),
        overall=float(intact.mean()),
        overall_ablated=float(ablated.mean()),
    )


def _chunks(sequences: Tensor) -> list[Tensor]:
    return [sequences[start : start + _CHUNK] for start in range(0, len(sequences), _CHUNK)]
