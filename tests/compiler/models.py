"""Small models of every kind there is, as expressions to compile: what is bound, and what the reference makes of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

import scrub as rc
from scrub.compiler import compile as compile_expressions
from scrub.demo import HYPOTHESES, build_experiment
from scrub.graph import Expr
from scrub.tasks.induction import heads_under_study
from tests.compiler.transformers import Shape, on_embedded, random_model
from tests.models.attn_oracle import Tiny, make, random_tokens

N = 3
SHAPE = Shape()


@dataclass(frozen=True)
class Model:
    """Expressions on a bound symbol.

    Attributes:
        exprs: what is compiled.
        batched: the symbol of the inputs, bound to `inputs` [n, ...].
    """

    exprs: tuple[Expr, ...]
    batched: rc.Symbol
    inputs: torch.Tensor

    def cast(self, dtype: torch.dtype) -> Model:
        """The same in another floating dtype."""
        inputs = self.inputs.to(dtype) if self.inputs.is_floating_point() else self.inputs
        return Model(tuple(rc.cast(expr, dtype=dtype) for expr in self.exprs), self.batched, inputs)

    def to(self, device: str) -> Model:
        """The same on another device."""
        return Model(tuple(rc.cast(expr, device=device) for expr in self.exprs), self.batched, self.inputs.to(device))

    def run(self, passes: tuple[str, ...]) -> list[torch.Tensor]:
        return compile_expressions(self.exprs, batched=[self.batched], passes=passes).run({self.batched: self.inputs})

    def reference(self) -> list[torch.Tensor]:
        """By the reference evaluator, one input after another."""
        rows = [rc.evaluate_many(self.exprs, {self.batched: row}) for row in self.inputs]
        return [torch.stack(values) for values in zip(*rows, strict=True)]


def published(
    family: str, n_heads: int, n_key_value_heads: int, *, split: bool, n_layers: int = SHAPE.n_layers, n: int = N
) -> Model:
    """The blocks of GPT-2 or Llama, called on embedded tokens; with every head a call of its own, if split."""
    shape = dataclasses.replace(
        SHAPE, family=family, n_heads=n_heads, n_key_value_heads=n_key_value_heads, n_layers=n_layers
    )
    expr, embedded = on_embedded(random_model(shape), shape.seq, split=split)
    inputs = torch.randn(n, shape.seq, shape.d_model, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Model((expr,), embedded, inputs)


def loss() -> Model:
    """Of every word under the blocks of GPT-2, for labels that are given."""
    model = published("gpt2", 4, 4, split=True)
    labels = rc.Array(random_tokens(SHAPE.seq, d_vocab=SHAPE.d_vocab), "labels")
    losses = rc.negative_log_likelihood(model.exprs[0], labels, name="losses")
    return Model((losses, losses.mean()), model.batched, model.inputs)


@functools.cache
def tiny() -> Tiny:
    return make(seq_len=5)


def attention_only(**options: object) -> Model:
    """A tiny model of the kind that ships, as it is lowered or configured."""
    tokens = rc.Symbol.new_from_name((5,), "tokens")
    model = rc.configure_transformer(tiny().model, **options) if options else None  # type: ignore[arg-type]
    return Model((tiny().call(tokens, model),), tokens, random_tokens(N, 5))


def variants() -> Model:
    """The model, and versions of it in which one head reads other tokens or is left out, beside its own parts."""
    tokens = rc.Symbol.new_from_name((5,), "tokens")
    split = rc.configure_transformer(tiny().model, split_by_head_config="full", use_pull_up_head_split=True)
    call = tiny().call(tokens, split)
    other = rc.Array(random_tokens(5, seed=7), "other")
    exprs: list[Expr] = [call]
    for layer, head in [(0, 1), (0, 2), (1, 0), (1, 3)]:
        path = rc.IterativeMatcher(f"a{layer}.h{head}")
        exprs.append(call.update(path.chain("tokens"), lambda _: other, see_through=True))
        exprs.append(call.update(path, lambda node: node.scale(0.0), see_through=True))
    return Model((*exprs, call, tokens), tokens, random_tokens(N, 5))


@functools.cache
def shipped(dtype: torch.dtype) -> rc.ShippedModel:
    return rc.load_shipped("attn_only_2l", dtype=dtype)


def shipped_model(*, is_split: bool) -> Model:
    """The model that ships, on tokens; as it is lowered, or with every head apart."""
    model = shipped(torch.float64)
    lowered = model.lower(seq_len=6)["t.bind_w"]
    if is_split:
        lowered = rc.configure_transformer(lowered, split_by_head_config="full", use_pull_up_head_split=True)
    tokens = rc.Symbol.new_from_name((6,), "tokens")
    inputs = random_tokens(N, 6, d_vocab=model.architecture.d_vocab)
    return Model((model.call(tokens, model=lowered),), tokens, inputs)


@functools.cache
def hypotheses() -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """The losses of the demo's rows as random expressions, and their groups."""
    model = shipped(torch.float64)
    sequences = rc.held_out_sequences(model.tokenizer, 13)
    experiment = build_experiment(model, sequences, heads_under_study(model))
    losses = [h.rewrite(experiment).update(rc.Cumulant, lambda node: node.children[0]) for h in HYPOTHESES]
    return tuple(losses), (experiment.tokens.probs_and_group, experiment.other.probs_and_group)


MODELS: dict[str, Callable[[], Model]] = {
    "GPT-2": lambda: published("gpt2", 4, 4, split=False),
    "GPT-2, every head apart": lambda: published("gpt2", 4, 4, split=True),
    "GPT-2, loss": loss,
    "Llama, grouped queries": lambda: published("llama", 4, 2, split=False),
    "Llama, every head apart": lambda: published("llama", 4, 2, split=True),
    "Llama, one key for all queries": lambda: published("llama", 3, 1, split=False),
    "attention only": attention_only,
    "attention only, blocks": lambda: attention_only(to=rc.To.BLOCK),
    "attention only, parts": lambda: attention_only(to=rc.To.ATTN_MLP_NORM),
    "attention only, heads": lambda: attention_only(split_by_head_config="full"),
    "attention only, heads apart": lambda: attention_only(split_by_head_config="full", use_pull_up_head_split=True),
    "attention only, flat": lambda: attention_only(
        split_by_head_config={1: [(rc.S[1:3], "some"), ([0, 3], "rest")]},
        use_pull_up_head_split=True,
        use_flatten_res=True,
    ),
    "variants": variants,
    "shipped": lambda: shipped_model(is_split=False),
    "shipped, heads apart": lambda: shipped_model(is_split=True),
}
