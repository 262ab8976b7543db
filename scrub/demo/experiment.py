"""The induction experiment: data, model and loss as one expression, with the heads under study apart.

Follows the REMIX notebook on induction heads (Redwood Research, 2023), on the model that ships with scrub. Names in the
expression are the notebook's.
"""

from __future__ import annotations

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
from scrub.models import ShippedModel, negative_log_likelihood
from scrub.tasks.induction import Heads, split_heads_under_study


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
