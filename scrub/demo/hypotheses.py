"""What might the induction heads read? Each hypothesis rewrites the loss: what it calls irrelevant reads other text.

The induction heads (`a1.ind`) act on a token A that occurred before, followed by B, and raise the odds of B again. The
textbook says how: the value at B's position carries B's own embedding, the query carries A's, and the key at B's
position carries A, put there by the previous-token head (`a0.prev`) of the layer before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from scrub.demo.experiment import Experiment
from scrub.graph import Expr
from scrub.models import head_input, split_keys
from scrub.rewrite import IterativeMatcher, restrict

ORIGINAL = "original"
BASELINE = "baseline"


@dataclass(frozen=True)
class Hypothesis:
    """One row of the table.

    Attributes:
        name: short, used as key.
        claim: what is claimed, in a sentence.
        rewrite: experiment -> expected loss if the claim holds.
    """

    name: str
    claim: str
    rewrite: Callable[[Experiment], Expr]


def scrub_input(c: Expr, in_path: IterativeMatcher, experiment: Experiment, *, keep: object = False) -> Expr:
    """Below `in_path`, read the other text instead of the reference, except below the nodes that `keep` matches."""
    read = in_path.chain(restrict("toks_int_var", term_early_at=keep))
    return c.update(read, lambda _: experiment.other, see_through=True)


def scrub_values(c: Expr, experiment: Experiment) -> Expr:
    """The value input keeps the token embedding; what layer 0 adds to it reads other text."""
    return scrub_input(c, head_input("a1.ind", "v").chain("a0"), experiment)


def scrub_queries(c: Expr, experiment: Experiment) -> Expr:
    """The query input keeps the token embedding; what layer 0 adds to it reads other text."""
    return scrub_input(c, head_input("a1.ind", "q").chain("a0"), experiment)


def scrub_keys(c: Expr, experiment: Experiment) -> Expr:
    """The key input keeps what the previous-token head reads at the previous position; all else reads other text."""
    return scrub_input(c, head_input("a1.ind", "k"), experiment, keep="a.comb_v.prev_pos")


def scrub_all_three(c: Expr, experiment: Experiment) -> Expr:
    """Values, queries and keys as above."""
    return scrub_keys(scrub_queries(scrub_values(c, experiment), experiment), experiment)


def match_tokens(experiment: Experiment, count: int) -> Expr:
    """Refinement: the heads match the last `count` tokens, not only the last one.

    Values as before. Queries also read what layer 0 gathers from the last `count` positions, and keys what it gathers
    from one position further back; keys read their own token too. All of layer 0's attention further away, and all that
    the values read but the token embedding, still reads other text.
    """
    split = split_keys(windows(experiment.seq_len, count))
    near = {"a.comb_v.near", "a.comb_v.prev_pos"}
    # split on these two paths only, so that everything else stays what the other rows compute too
    queries, keys = (head_input("a1.ind", part) for part in ("q", "k"))
    here = (queries | keys).chain("a0.not_prev", "a.comb_v")
    c = experiment.loss.update(here, split, see_through=True)
    c = scrub_values(c, experiment)
    c = scrub_input(c, queries.chain("a0"), experiment, keep=near)
    return scrub_input(c, keys.chain("a0"), experiment, keep=near | {"a.comb_v.edge"})


def windows(seq_len: int, count: int) -> dict[str, torch.Tensor]:
    """Masks [query, key]: the last `count` positions, the one before these, and everything else."""
    positions = torch.arange(seq_len)
    lag = positions[:, None] - positions[None, :]
    near, edge = ((lag >= 0) & (lag < count)).float(), (lag == count).float()
    return {"near": near, "edge": edge, "far": 1 - near - edge}


HYPOTHESES: tuple[Hypothesis, ...] = (
    Hypothesis(ORIGINAL, "everything reads the reference text", lambda e: e.loss),
    Hypothesis(
        "all inputs scrubbed",
        "the model's input does not matter at all",
        lambda e: scrub_input(e.loss, IterativeMatcher("t.call"), e),
    ),
    Hypothesis(
        BASELINE,
        "the induction heads' input does not matter",
        lambda e: scrub_input(e.loss, IterativeMatcher("a1.ind"), e),
    ),
    Hypothesis("values", "values read the token embedding only", lambda e: scrub_values(e.loss, e)),
    Hypothesis("queries", "queries read the token embedding only", lambda e: scrub_queries(e.loss, e)),
    Hypothesis(
        "keys",
        "keys read the previous-token head only, and it only the previous position",
        lambda e: scrub_keys(e.loss, e),
    ),
    Hypothesis("all three", "all three at once", lambda e: scrub_all_three(e.loss, e)),
    Hypothesis(
        "two-token match",
        "values as above; queries read the last two tokens, keys the two before theirs and their own",
        lambda e: match_tokens(e, 2),
    ),
    Hypothesis(
        "three-token match",
        "values as above; queries read the last three tokens, keys the three before theirs and their own",
        lambda e: match_tokens(e, 3),
    ),
)
