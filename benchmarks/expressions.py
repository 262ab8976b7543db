"""Transformers as expressions over the weights of a Hugging Face model, which are shared with it, and variants of them.

Sequences have one length, and tokens are a symbol; a batch of sequences comes in as its leading axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import scrub as rc
from benchmarks.peers import HuggingFace
from scrub.models import LoadedModel, load

Head = tuple[int, int]
"""Layer and number of an attention head."""


@dataclass(frozen=True)
class Expressions:
    """One model as expressions.

    Attributes:
        loaded: where they come from.
        tokens: [seq], the symbol they read.
        logits: [seq, d_vocab], where all heads of a layer are one call.
        split: `logits` with every head a call of its own, `a{layer}.h{head}`, with its own query, key and value inputs.
    """

    loaded: LoadedModel
    tokens: rc.Symbol
    logits: rc.Expr
    split: rc.Expr

    @property
    def heads(self) -> list[Head]:
        """All (layer, head)."""
        layers = enumerate(self.loaded.architecture.layers)
        return [(number, head) for number, layer in layers for head in range(layer.attention.n_heads)]

    def loss(self, logits: rc.Expr) -> rc.Expr:
        """Mean negative log-likelihood of the next token, a scalar: `labels` of Hugging Face, TransformerLens' loss."""
        nll = rc.negative_log_likelihood(logits.index(rc.I[:-1]), self.tokens.index(rc.I[1:]), "nll")
        return nll.mean(name="loss")

    def reading(self, tokens: rc.Symbol, logits: rc.Expr) -> rc.Expr:
        """The same computation on other tokens."""
        return logits.update(self.tokens, lambda _: tokens)

    def other_tokens(self, name: str = "other") -> rc.Symbol:
        return rc.Symbol.new_from_name(self.tokens.shape, name)


def expressions(model: HuggingFace, seq: int) -> Expressions:
    """A Hugging Face model for sequences of `seq` tokens; every weight is a view of the model's own."""
    loaded = load(model)
    tokens = rc.Symbol.new_from_name((seq,), "tokens")
    lowered = loaded.lower(seq_len=seq)["t.bind_w"]
    return Expressions(loaded, tokens, _logits(loaded, tokens, lowered), _logits(loaded, tokens, split_heads(lowered)))


def split_heads(lowered: rc.Expr) -> rc.Expr:
    """A lowered model with every head a call of its own."""
    return rc.configure_transformer(lowered, split_by_head_config="full", use_pull_up_head_split=True)


def head_name(head: Head) -> str:
    return f"a{head[0]}.h{head[1]}"


def replace_head(logits: rc.Expr, head: Head, by: rc.Expr) -> rc.Expr:
    """`logits` (split) with the output of one head, [seq, d_model], replaced."""
    return logits.update(head_name(head), lambda _: by)


def patched_heads(of: Expressions, heads: Sequence[Head], other: rc.Symbol) -> list[rc.Expr]:
    """Logits for each head in turn with that head's output taken from the run on other tokens: activation patching."""
    source = of.reading(other, of.split)
    return [replace_head(of.split, head, source.get_unique(head_name(head))) for head in heads]


def value_scrubbed(of: Expressions, head: Head, other: rc.Symbol) -> rc.Expr:
    """Logits where the value input of one head is what it is on other tokens, and nothing else changes."""
    reads_tokens = rc.head_input(head_name(head), "v").chain(of.tokens)
    return of.split.update(reads_tokens, lambda _: other, see_through=True)


def _logits(loaded: LoadedModel, tokens: rc.Symbol, lowered: rc.Expr) -> rc.Expr:
    """The call on tokens, with the modules around the blocks inlined, so that one update reaches every block."""
    call = loaded.call(tokens, model=lowered)
    return call.update("t.bind_w", rc.substitute).update("t.call", rc.substitute)
