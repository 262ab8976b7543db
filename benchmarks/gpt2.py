"""GPT-2 as expressions over the weights of a Hugging Face model, which are shared with it, and variants of it.

The expression is that of `benchmarks.shapes`: unbatched, for sequences of one length, heads as one module called with
a batch of heads. Tokens are a symbol; a batch of sequences comes in as its leading axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

import scrub as rc
from benchmarks.peers import HuggingFace
from benchmarks.shapes import ModelShape, lower, split_every_head
from scrub.models.parts.attention import MASKED_SCORE

Head = tuple[int, int]
"""Layer and number of an attention head."""

_OF_BLOCK = {
    "a.norm.w": "ln_1.weight",
    "a.norm.b": "ln_1.bias",
    "a.b.o": "attn.c_proj.bias",
    "m.norm.w": "ln_2.weight",
    "m.norm.b": "ln_2.bias",
    "m.w.in": "mlp.c_fc.weight",
    "m.b.in": "mlp.c_fc.bias",
    "m.w.out": "mlp.c_proj.weight",
    "m.b.out": "mlp.c_proj.bias",
}


@dataclass(frozen=True)
class Gpt2:
    """One model as expressions.

    logits [seq, d_vocab]: all heads of a layer are one call.
    tokens [seq]: the symbol it reads.
    split: `logits` with every head a call of its own, `a{layer}.h{head}`, with its own query, key and value inputs.
    """

    shape: ModelShape
    tokens: rc.Symbol
    logits: rc.Expr
    split: rc.Expr

    @property
    def heads(self) -> list[Head]:
        """All (layer, head)."""
        return [(layer, head) for layer in range(self.shape.n_layers) for head in range(self.shape.n_heads)]

    def loss(self, logits: rc.Expr) -> rc.Expr:
        """Mean negative log-likelihood of the next token, a scalar: `labels` of Hugging Face, TransformerLens' loss."""
        nll = rc.negative_log_likelihood(logits.index(rc.I[:-1]), self.tokens.index(rc.I[1:]), "nll")
        return nll.mean(name="loss")

    def reading(self, tokens: rc.Symbol, logits: rc.Expr) -> rc.Expr:
        """The same computation on other tokens."""
        return logits.update(self.tokens, lambda _: tokens)

    def other_tokens(self, name: str = "other") -> rc.Symbol:
        return rc.Symbol.new_from_name(self.tokens.shape, name)


def gpt2_shape(model: HuggingFace, seq: int) -> ModelShape:
    """The sizes of a Hugging Face GPT-2."""
    c = model.config
    return ModelShape(
        "gpt2",
        c.n_layer,
        c.n_head,
        c.n_head,
        c.n_embd,
        c.n_embd // c.n_head,
        c.n_inner or 4 * c.n_embd,
        c.vocab_size,
        seq,
    )


def gpt2(model: HuggingFace, seq: int) -> Gpt2:
    """A Hugging Face GPT-2 for sequences of `seq` tokens; every weight is a view of the model's own."""
    shape = gpt2_shape(model, seq)
    weight, parameters = weights_of(model, shape), dict(model.named_parameters())
    tokens = rc.Symbol.new_from_name((seq,), "tokens")
    mask = rc.Array(torch.full((seq, seq), MASKED_SCORE, dtype=model.dtype).triu(1), "mask")
    embedded = rc.GeneralFunction.gen_index(
        rc.Array(parameters["transformer.wte.weight"], "t.w.tok_embeds"), tokens, index_dim=0, name="tok_embeds"
    )
    positions = rc.Array(parameters["transformer.wpe.weight"][:seq], "t.w.pos_embeds")
    given = {
        rc.Symbol.new_from_name((seq, shape.d_model), "t.input"): rc.Add(embedded, positions, name="t.input"),
        rc.Symbol.new_from_name((seq, seq), "mask"): mask,
    }
    lowered = lower(shape, weight)
    return Gpt2(shape, tokens, _put(lowered, given), _put(split_every_head(lowered), given))


def weights_of(model: HuggingFace, shape: ModelShape) -> Callable[[str, tuple[int, ...]], rc.Expr]:
    """The weight of a name in `shapes.lower`, as an array that is a view of the model's parameter."""
    parameters: dict[str, torch.Tensor] = dict(model.named_parameters())
    heads, d_model, d_head = shape.n_heads, shape.d_model, shape.d_head

    def view(name: str) -> torch.Tensor:
        block, _, rest = name.partition(".")
        if block == "final":
            return parameters[f"transformer.ln_f.{'weight' if name.endswith('w') else 'bias'}"]
        if block == "t":  # tied to the embedding
            return parameters["transformer.wte.weight"].T
        prefix, part = f"transformer.h.{block[1:]}.", f"{block[0]}.{rest}"
        if part in _OF_BLOCK:
            return parameters[prefix + _OF_BLOCK[part]]
        if part == "a.w.o":
            return parameters[prefix + "attn.c_proj.weight"].view(heads, d_head, d_model)
        which = "qkv".index(part[-1])
        if part.startswith("a.b."):
            return parameters[prefix + "attn.c_attn.bias"].view(3, heads, d_head)[which]
        return parameters[prefix + "attn.c_attn.weight"].view(d_model, 3, heads, d_head)[:, which].transpose(0, 1)

    return lambda name, size: rc.Array(view(name).view(size) if name[-1] in "qo" else view(name), name)


def head_name(head: Head) -> str:
    return f"a{head[0]}.h{head[1]}"


def replace_head(logits: rc.Expr, head: Head, by: rc.Expr) -> rc.Expr:
    """`logits` (split) with the output of one head, [seq, d_model], replaced."""
    return logits.update(head_name(head), lambda _: by)


def patched_heads(of: Gpt2, heads: Sequence[Head], other: rc.Symbol) -> list[rc.Expr]:
    """Logits for each head in turn with that head's output taken from the run on other tokens: activation patching."""
    source = of.reading(other, of.split)
    return [replace_head(of.split, head, source.get_unique(head_name(head))) for head in heads]


def value_scrubbed(of: Gpt2, head: Head, other: rc.Symbol) -> rc.Expr:
    """Logits where the value input of one head is what it is on other tokens, and nothing else changes."""
    source = of.reading(other, of.split).get_unique(head_name(head)).cast(rc.Module)
    value_input = source.children[3]  # after the body, the query input and the key input

    def scrub(node: rc.Expr) -> rc.Expr:
        return node.with_children((*node.children[:3], value_input, *node.children[4:]))

    return of.split.update(head_name(head), scrub)


def _put(expr: rc.Expr, given: Mapping[rc.Symbol, rc.Expr]) -> rc.Expr:
    return expr.update(set(given), lambda symbol: given[symbol.cast(rc.Symbol)])
