"""Gradients through programs against torch: the shipped model written in torch, autograd through the reference."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import scrub as rc
from scrub.compile import compile  # noqa: A004 - as torch.compile
from scrub.compile.passes import PASSES
from scrub.graph import Cumulant, Expr, postorder
from scrub.models import stdlib_text
from scrub.rewrite import substitute_all_modules
from scrub.rewrite.testing.maker import Maker
from tests.compile.by_autograd import expected, is_differentiable, outcomes
from zoo.attn_only import AttnOnlyConfig, AttnOnlyTransformer, Trace

EVERY_PASS = (*PASSES, "probes")
COMBINATIONS = [(), ("probes",), EVERY_PASS, *((name,) for name in PASSES), *((name, "probes") for name in PASSES)]


@dataclass(frozen=True)
class Shipped:
    """The shipped model in float64, by torch and as a loss of a batched symbol of tokens."""

    oracle: AttnOnlyTransformer
    tokens: Tensor
    symbol: rc.Symbol
    split: Expr
    whole: Expr

    def oracle_loss(self, *, ablations: dict[tuple[int, int], Tensor] | None = None) -> Tensor:
        logits = self.oracle(self.tokens, ablations=ablations)
        return per_sequence(logits, self.tokens)


def per_sequence(logits: Tensor, tokens: Tensor) -> Tensor:
    """Mean negative log-likelihood of each sequence."""
    scores = logits[:, :-1].log_softmax(-1)
    return -scores.gather(-1, tokens[:, 1:, None])[..., 0].mean(-1)


@pytest.fixture(scope="module")
def shipped() -> Shipped:
    model = rc.load_shipped("attn_only_2l", dtype=torch.float64)
    c = model.config
    names = ("n_layers", "n_heads", "d_model", "d_head", "d_vocab", "n_ctx", "norm_eps")
    oracle = AttnOnlyTransformer(AttnOnlyConfig(**{name: getattr(c, name) for name in names})).double()
    oracle.load_state_dict(model.weights)
    tokens = stdlib_text.held_out_sequences(model.tokenizer, 12, limit=3)
    symbol = rc.Symbol.new_from_name((12,), "tokens")
    lowered = model.lower(seq_len=12)
    split = rc.configure_transformer(lowered["t.bind_w"], split_by_head_config="full", use_pull_up_head_split=True)
    return Shipped(
        oracle, tokens, symbol, loss_of(lowered | {"t.bind_w": split}, symbol), loss_of(lowered, symbol)
    )  # fmt: skip


def loss_of(lowered: dict[str, Expr], tokens: rc.Symbol) -> Expr:
    logits = rc.bind_tokens(lowered, tokens)
    return rc.negative_log_likelihood(logits.index(rc.I[:-1]), tokens.index(rc.I[1:]), "nll").mean(name="loss")


def by_name(gradients: dict[Expr, Tensor]) -> dict[str | None, Tensor]:
    return {node.name: gradient for node, gradient in gradients.items()}


@pytest.mark.parametrize("passes", COMBINATIONS, ids=lambda names: "+".join(names) or "none")
def test_gradients_of_every_head_s_output_equal_torch_s(shipped: Shipped, passes: Sequence[str]) -> None:
    program = compile(shipped.split, wrt=[rc.Regex(r"^a\d\.h\d$")], batched=[shipped.symbol], passes=passes)
    (losses,), gradients = program.value_and_grad({shipped.symbol: shipped.tokens})
    torch.testing.assert_close(losses, shipped.oracle_loss().detach())
    assert len(gradients) == 16
    trace = Trace()
    shipped.oracle(shipped.tokens, trace=trace)
    for layer, block in enumerate(shipped.oracle.layers):
        outs = {
            (layer, head): (trace.mixed_values[layer][:, head] @ block.attn.W_O[head]).detach().requires_grad_()
            for head in range(8)
        }
        shipped.oracle_loss(ablations=outs).sum().backward()
        for (_, head), out in outs.items():
            assert out.grad is not None
            torch.testing.assert_close(by_name(gradients)[f"a{layer}.h{head}"], out.grad)


def test_gradients_of_norms_and_weights_equal_torch_s(shipped: Shipped) -> None:
    names = [
        f"a{layer}.{part}" for layer in range(2) for part in ("norm", "norm.w", "norm.b", "w.q", "w.k", "w.v", "w.o")
    ]
    names += ["final.norm", "final.norm.w", "t.w.tok_embeds", "t.w.pos_embeds", "t.w.unembed", "a.pos_input"]
    outs: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: torch.nn.Module, args: object, out: Tensor) -> None:
            out.retain_grad()
            outs[name] = out

        return hook

    oracle = shipped.oracle
    hooks = [block.ln1.register_forward_hook(keep(f"a{layer}.norm")) for layer, block in enumerate(oracle.layers)]
    hooks.append(oracle.ln_final.register_forward_hook(keep("final.norm")))
    oracle.zero_grad()
    shipped.oracle_loss().sum().backward()
    for hook in hooks:
        hook.remove()
    ours = {
        "norm.w": "ln1.w",
        "norm.b": "ln1.b",
        "w.q": "attn.W_Q",
        "w.k": "attn.W_K",
        "w.v": "attn.W_V",
        "w.o": "attn.W_O",
    }
    parameters = dict(oracle.named_parameters())
    want = {
        f"a{layer}.{our}": parameters[f"blocks.{layer}.{their}"].grad
        for layer in range(2)
        for our, their in ours.items()
    }
    want |= {name: out.grad for name, out in outs.items()} | {"final.norm.w": parameters["ln_final.w"].grad}
    want |= {"t.w.tok_embeds": parameters["embed.W_E"].grad, "t.w.unembed": parameters["unembed.W_U"].grad}
    want |= {"t.w.pos_embeds": parameters["pos_embed.W_pos"].grad}
    for expr in (shipped.whole, shipped.split):
        present = [name for name in names if substitute_all_modules(expr).get(name)]
        program = compile(expr, wrt=present, batched=[shipped.symbol])
        _, gradients = program.value_and_grad({shipped.symbol: shipped.tokens})
        assert len(gradients) > 15
        for name, gradient in by_name(gradients).items():
            if name in want:
                torch.testing.assert_close(gradient, want[name], msg=lambda text, name=name: f"{name}: {text}")


SEEDS = range(120)


@pytest.mark.parametrize("first", SEEDS[::20])
def test_random_expressions_equal_autograd_through_the_reference(first: int) -> None:
    """With respect to all nodes, or some; with all passes, or some."""
    num_checked = num_nonzero = 0
    for seed in range(first, first + 20):
        maker, rng = Maker(f"gradient {seed}"), random.Random(seed)
        made = maker.random_expr(maker.shape()) if seed % 2 else maker.expr(maker.shape(), 5)
        if any(isinstance(node, Cumulant) for node in postorder([made])) or not is_differentiable(made):
            continue
        objective = made.sum()
        plain = substitute_all_modules(objective)
        nodes = [node for node in computed(plain) if is_differentiable(node)]
        nodes = nodes if rng.random() < 0.3 else rng.sample(nodes, min(len(nodes), 3))
        passes = EVERY_PASS if rng.random() < 0.7 else [name for name in EVERY_PASS if rng.random() < 0.5]
        program = compile(objective, wrt=nodes, passes=passes)
        draws = outcomes(program.groups)
        rows = {group: torch.tensor([draw[group] for draw in draws]) for group in program.groups}
        (values,), gradients = program.value_and_grad(rows)
        want_values, want = expected(objective, nodes, program.groups)
        torch.testing.assert_close(values, want_values.reshape(values.shape), equal_nan=True)
        for node, draw_by_draw in zip(nodes, want, strict=True):
            gradient = gradients[node]
            summed = draw_by_draw if gradient.ndim > node.ndim else draw_by_draw.sum(0)
            torch.testing.assert_close(gradient, summed, equal_nan=True)
            num_nonzero += bool((summed != 0).any())
        num_checked += 1
    assert num_checked >= 10
    assert num_nonzero >= 10


def computed(expr: Expr) -> list[Expr]:
    """The nodes whose values the expression is computed from: not the probabilities of random variables."""
    found: dict[Expr, None] = {}
    waiting = [expr]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node] = None
            waiting += node.children[:1] if isinstance(node, rc.DiscreteVar) else node.children
    return list(found)


def test_finite_differences() -> None:
    x, w = rc.Symbol.new_from_name((3,), "x"), rc.Array(torch.randn(3, 3, dtype=torch.float64), "w")
    hidden = rc.elementwise("gelu", rc.Einsum.from_string("i, i j -> j", x, w), name="hidden")
    loss = rc.log_softmax(hidden).index(rc.I[0]).mul(hidden.sum())
    program = compile(loss, wrt=[x, w], batched=[x])
    given = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, gradients = program.value_and_grad({x: given})
    for i in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[i] = 1e-6
        up, down = program.run({x: given + step})[0], program.run({x: given - step})[0]
        torch.testing.assert_close(gradients[x][:, i], (up - down) / 2e-6, rtol=1e-6, atol=1e-8)
    step = torch.zeros(3, 3, dtype=torch.float64)
    step[1, 2] = 1e-6
    moved = [compile(loss.update(w, lambda _, s=sign: rc.Array(w.value + s * step)), batched=[x]) for sign in (1, -1)]
    up, down = (program.run({x: given})[0].sum() for program in moved)
    torch.testing.assert_close(gradients[w][1, 2], (up - down) / 2e-6, rtol=1e-6, atol=1e-8)
