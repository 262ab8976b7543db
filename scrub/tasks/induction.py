"""Induction heads of the attention-only model that ships: the demo's hypotheses as interpretations (SPEC 9).

The claims are those of the REMIX notebook on induction heads (Redwood Research, 2023), see docs/experiment.md. There
each is a rewrite of the loss. Here each says which paths below the induction heads matter; all else that these heads
read comes from another text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from scrub.graph import Einsum, Expr, Symbol
from scrub.hypothesis import (
    Correspondence,
    Dataset,
    ExactSampler,
    Experiment,
    Hypothesis,
    InterpNode,
    Result,
    Results,
    Stream,
    UncondSampler,
)
from scrub.hypothesis import corr_root_matcher as whole
from scrub.hypothesis.paths import Part, by_any_route, input_of, straight
from scrub.models import ShippedModel, To, configure_transformer, negative_log_likelihood, split_keys
from scrub.rewrite import IterativeMatcher

TOKENS, LABELS, IS_CANDIDATE = "tokens", "labels", "is_candidate"
INDUCTION = "a1.ind"
MOST_TOKENS = 3
"""The longest match that a hypothesis claims."""
_PREVIOUS = "a.comb_v.prev_pos"


@dataclass(frozen=True)
class Heads:
    """The heads under study.

    Attributes:
        previous_token: the layer-0 head that attends to the previous token most.
        induction: the layer-1 heads whose prefix-matching score is above the threshold.
    """

    previous_token: int
    induction: tuple[int, ...]


class InductionStudy(NamedTuple):
    """What experiments on induction heads need.

    Attributes:
        model: the mean over positions of the loss on candidate tokens, of one text; nats.
        data: texts, what comes next, and where induction is likely.
        hypotheses: by name, those of the demo.
        other: for each of these the label of the one draw it makes beside the reference; None if it makes none. To use
            one other text for several hypotheses, supply the same rows: `run(draws={label: rows})`.
    """

    model: Expr
    data: Dataset
    hypotheses: dict[str, Hypothesis]
    other: dict[str, str | None]


def heads_under_study(model: ShippedModel) -> Heads:
    """The heads that the training script's scores single out."""
    induction = tuple(head for layer, head in model.info["induction_heads"] if layer == 1)
    return Heads(model.info["previous_token_head"][1], induction)


def induction_study(model: ShippedModel, sequences: torch.Tensor, heads: Heads | None = None) -> InductionStudy:
    """The demo's claims about induction heads as hypotheses, with the model and the data they are about.

    Args:
        model: the shipped model.
        sequences: [n, seq_len + 1] int64 tokens, real text.
        heads: which heads "a0.prev" and "a1.ind" are; `heads_under_study(model)` if not given.

    >>> from scrub.hypothesis import Experiment
    >>> from scrub.models import held_out_sequences, load_shipped
    >>> model = load_shipped("attn_only_2l")
    >>> study = induction_study(model, held_out_sequences(model.tokenizer, 17))
    >>> list(study.hypotheses)[:4]
    ['original', 'all inputs scrubbed', 'baseline', 'values']
    >>> experiment = Experiment(study.model, study.data, study.hypotheses["values"])
    >>> [slot.label for slot in experiment.slots]
    ['a1.ind/other']
    """
    data = Dataset(
        {
            TOKENS: sequences[:, :-1],
            LABELS: sequences[:, 1:],
            IS_CANDIDATE: model.induction_candidates.to(model.dtype)[sequences[:, :-1]],
        }
    )
    hypotheses = _hypotheses()
    other = dict.fromkeys(hypotheses, f"{INDUCTION}/other") | {"original": None, "baseline": INDUCTION}
    other["all inputs scrubbed"] = "t.call"
    return InductionStudy(
        induction_loss(model, sequences.shape[1] - 1, heads or heads_under_study(model)), data, hypotheses, other
    )


def run_study(study: InductionStudy, n: int, *, seed: int = 0, step: int = 256) -> Results:
    """All hypotheses on the same references, with one other text for all of them, as in the demo.

    Args:
        study: see `induction_study`.
        n: number of references.
        seed: of references and other texts.
        step: how many references are drawn at a time.
    """
    rows = study.data.num_rows
    other = Stream(seed, "other", 0, n).below(torch.full((n,), rows))
    results: list[Result] = []
    for name, hypothesis in study.hypotheses.items():
        label = study.other[name]
        experiment = Experiment(study.model, study.data, hypothesis)
        results.append(experiment.run(n, seed=seed, step=step, draws={} if label is None else {label: other}))
    return Results(results)


def induction_loss(model: ShippedModel, seq_len: int, heads: Heads) -> Expr:
    """The loss on candidate tokens, averaged over positions, of symbols for tokens, labels and candidates.

    What the induction heads' queries and keys read of layer 0 is apart by how far back it was gathered, up to
    `MOST_TOKENS`: `a.comb_v.lag0`, ..., `a.comb_v.far`.
    """
    tokens, labels, is_candidate = (Symbol.new_from_name((seq_len,), name) for name in (TOKENS, LABELS, IS_CANDIDATE))
    lowered = model.lower(seq_len=seq_len)["t.bind_w"]
    by_head = split_heads_under_study(lowered, heads, model.architecture.n_heads)
    call = model.call(tokens, model=by_head)
    losses = negative_log_likelihood(call, labels, name="t.loss")
    on_candidates = Einsum((losses, (0,)), (is_candidate, (0,)), out_axes=(0,), name="loss_on_candidates")
    loss = on_candidates.mean(name="loss")
    gathered = (_input("q") | _input("k")).chain("a0.not_prev", "a.comb_v")
    return loss.update(gathered, split_keys(_lags(seq_len)), see_through=True)


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


def _hypotheses() -> dict[str, Hypothesis]:
    """By name: which paths below the induction heads read what the heads themselves do."""
    q, k, v = _input("q"), _input("k"), _input("v")
    token = {part: straight("t.input", into=read) for part, read in (("q", q), ("k", k), ("v", v))}
    previous = k.chain(by_any_route(_PREVIOUS))
    rows: dict[str, dict[str, IterativeMatcher]] = {
        "values": {"values": token["v"], "queries": q, "keys": k},
        "queries": {"values": v, "queries": token["q"], "keys": k},
        "keys": {"values": v, "queries": q, "keys": previous},
        "all three": {"values": token["v"], "queries": token["q"], "keys": previous},
    }
    for count, name in ((2, "two-token match"), (MOST_TOKENS, "three-token match")):
        lags = [f"a.comb_v.lag{lag}" for lag in range(count + 1)]
        rows[name] = {
            "values": token["v"],
            "queries": token["q"] | q.chain(by_any_route({_PREVIOUS, *lags[:-1]})),
            "keys": token["k"] | k.chain(by_any_route({_PREVIOUS, *lags})),
        }
    return {
        "original": _hypothesis("original"),
        "all inputs scrubbed": _hypothesis("all inputs scrubbed", scrubbed="t.call"),
        "baseline": _hypothesis("baseline", scrubbed=INDUCTION),
        **{name: _hypothesis(name, matters=matters) for name, matters in rows.items()},
    }


def _hypothesis(
    name: str, *, scrubbed: str | None = None, matters: dict[str, IterativeMatcher] | None = None
) -> Hypothesis:
    """One part reads any other text; or the induction heads do, except for the paths that matter."""
    root, corr = InterpNode(ExactSampler(), "loss", other_inputs_sampler=ExactSampler()), Correspondence()
    corr.add(root, whole)
    if scrubbed is not None:
        corr.add(root.make_descendant(UncondSampler(), scrubbed), scrubbed)
    if matters:
        heads = root.make_descendant(ExactSampler(), INDUCTION)
        corr.add(heads, INDUCTION)
        for what, path in matters.items():
            corr.add(heads.make_descendant(ExactSampler(), what), path)
    return Hypothesis(corr, name=name)


def _input(part: Part) -> IterativeMatcher:
    return input_of(INDUCTION, part)


def _lags(seq_len: int) -> dict[str, torch.Tensor]:
    """Masks [query, key], by how far back the key is."""
    positions = torch.arange(seq_len)
    lag = positions[:, None] - positions[None, :]
    near = {f"lag{n}": (lag == n).float() for n in range(MOST_TOKENS + 1)}
    return {**near, "far": 1 - torch.stack(list(near.values())).sum(0)}


def _others(chosen: Sequence[int], n_heads: int) -> list[int]:
    return [head for head in range(n_heads) if head not in chosen]
