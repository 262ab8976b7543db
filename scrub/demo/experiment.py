"""The induction experiment: data, model and loss as one expression, with the heads under study apart.

Follows the REMIX notebook on induction heads (Redwood Research, 2023), on the model that ships with scrub. Names in the
expression are the notebook's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scrub.graph import (
    Array,
    Cumulant,
    DiscreteVar,
    Einsum,
    Expr,
    GeneralFunction,
    I,
    Tag,
    uniform,
)
from scrub.models import (
    ShippedModel,
    To,
    configure_transformer,
    negative_log_likelihood,
    split_keys,
)
from scrub.rewrite import IterativeMatcher


@dataclass(frozen=True)
class Heads:
    """The heads under study.

    Attributes:
        previous_token: the layer-0 head that attends to the previous token most.
        induction: the layer-1 heads whose prefix-matching score is above the threshold.
    """

    previous_token: int
    induction: tuple[int, ...]


@dataclass(frozen=True)
class Experiment:
    """What the hypotheses are rewrites of.

    Attributes:
        loss: expected loss on candidate tokens, averaged over positions; nats.
        tokens, other: the reference input, and one drawn independently of it; variables of shape [seq_len + 1].
        heads: which heads "a0.prev" and "a1.ind" are.
    """

    loss: Expr
    tokens: DiscreteVar
    other: DiscreteVar
    heads: Heads

    @property
    def seq_len(self) -> int:
        """Number of predictions per sequence."""
        return self.tokens.shape[0] - 1


def build_experiment(model: ShippedModel, sequences: torch.Tensor, heads: Heads) -> Experiment:
    """The loss of the model on random sequences, with the model split into the heads under study and the rest.

    Args:
        model: the shipped model.
        sequences: [n, seq_len + 1] int64 tokens, real text.
        heads: which heads to keep apart.
    """
    values = Array(sequences, "toks_int_vals")
    tokens, other = (
        DiscreteVar(values, Tag.new_from_name(uniform(len(sequences)), f"{name}.probs"), name)
        for name in ("toks_int_var", "toks_int_var_other")
    )
    input_toks = tokens.index(I[:-1], name="input_toks_int")
    true_toks = tokens.index(I[1:], name="true_toks_int")
    lowered = model.lower(seq_len=sequences.shape[1] - 1)
    by_head = split_heads_under_study(lowered["t.bind_w"], heads, model.architecture.n_heads)
    call = model.call(input_toks, model=by_head)
    losses = negative_log_likelihood(call, true_toks, name="t.loss")
    is_candidate = Array(model.induction_candidates.to(model.dtype), "tok_is_induct_candidate")
    candidate = GeneralFunction.gen_index(is_candidate, input_toks, index_dim=0, name="induct_candidate")
    on_candidates = Einsum((losses, (0,)), (candidate, (0,)), out_axes=(0,), name="loss_on_candidates")
    by_position = Cumulant(on_candidates, name="t.expected_loss_by_seq")
    return Experiment(by_position.mean(name="t.expected_loss", scalar_name="recip_seq"), tokens, other, heads)


def split_heads_under_study(bind_w: Expr, heads: Heads, n_heads: int) -> Expr:
    """`a0.prev`, `a0.not_prev`, `a1.ind`, `a1.not_ind`; and what `a0.prev` reads from the previous position, apart."""
    by_head = configure_transformer(
        bind_w,
        to=To.ATTN_HEAD_MLP_NORM,
        split_by_head_config={
            0: [(heads.previous_token, "prev"), (_others([heads.previous_token], n_heads), "not_prev")],
            1: [(list(heads.induction), "ind"), (_others(heads.induction, n_heads), "not_ind")],
        },
        use_pull_up_head_split=True,
        check_valid=True,
    )
    seq_len = by_head.shape[0]
    previous = torch.ones(seq_len, seq_len).tril(-1).triu(-1)
    split = split_keys({"prev_pos": previous, "other_pos": 1 - previous})
    return by_head.update(IterativeMatcher("a0.prev").chain("a.comb_v"), split)


def _others(chosen: Sequence[int], n_heads: int) -> list[int]:
    return [head for head in range(n_heads) if head not in chosen]
