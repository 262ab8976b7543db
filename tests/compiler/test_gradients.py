"""Gradients through programs against torch: the shipped model written in torch, autograd through the reference."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import sympy
import torch
from torch import Tensor

import scrub as rc
from scrub.compiler import compile  # noqa: A004 - as torch.compile
from scrub.compiler.passes import PASSES
from scrub.graph import Cumulant, Expr, postorder
from scrub.models import stdlib_text
from scrub.rewrite import substitute_all_modules
from scrub.rewrite.testing.maker import Maker
from tests.compiler.by_autograd import expected, is_differentiable, outcomes
from tests.models.attn_oracle import make
from zoo.attn_only import AttnOnlyConfig, AttnOnlyTransformer, Trace

EVERY_PASS = (*PASSES, "probes")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
COMBINATIONS = [(), ("probes",), EVERY_PASS, *((name,) for name in PASSES), *((name, "probes") for name in PASSES)]


@dataclass(frozen=True)
class Setting:
    """A model in float64, by torch and as losses of a batched symbol of tokens."""

    oracle: AttnOnlyTransformer
    tokens: Tensor
    symbol: rc.Symbol
    split: Expr
    flat: Expr
    whole: Expr

    def oracle_loss(self, *, ablations: dict[tuple[int, int], Tensor] | None = None) -> Tensor:
        logits = self.oracle(self.tokens, ablations=ablations)
        return per_sequence(logits, self.tokens)


def per_sequence(logits: Tensor, tokens: Tensor) -> Tensor:
    """Mean negative log-likelihood of each sequence."""
    scores = logits[:, :-1].log_softmax(-1)
    return -scores.gather(-1, tokens[:, 1:, None])[..., 0].mean(-1)


@pytest.fixture(scope="module")
def shipped() -> Setting:
    model = rc.load_shipped("attn_only_2l", dtype=torch.float64)
    names = ("n_layers", "n_heads", "d_model", "d_head", "d_vocab", "n_ctx", "norm_eps")
    oracle = AttnOnlyTransformer(AttnOnlyConfig(**{name: model.info[name] for name in names})).double()
    oracle.load_state_dict(model.state_dict)
    return setting(oracle, model, stdlib_text.held_out_sequences(model.tokenizer, 12, limit=3))


@pytest.fixture(scope="module")
def tiny() -> Setting:
    made = make()
    tokens = torch.randint(0, 11, (3, 6), generator=torch.Generator().manual_seed(0))
    return setting(made.oracle, made.loaded, tokens)


def setting(oracle: AttnOnlyTransformer, model: rc.LoadedModel, tokens: Tensor) -> Setting:
    symbol = rc.Symbol.new_from_name((tokens.shape[1],), "tokens")
    lowered = model.lower(seq_len=tokens.shape[1])["t.bind_w"]
    split = rc.configure_transformer(lowered, split_by_head_config="full", use_pull_up_head_split=True)
    flat = rc.configure_transformer(
        lowered, split_by_head_config="full", use_pull_up_head_split=True, use_flatten_res=True
    )
    losses = [loss_of(model, bind_w, symbol) for bind_w in (split, flat, lowered)]
    return Setting(oracle, tokens, symbol, *losses)


def loss_of(model: rc.LoadedModel, bind_w: Expr, tokens: rc.Symbol) -> Expr:
    logits = model.call(tokens, model=bind_w)
    return rc.negative_log_likelihood(logits.index(rc.I[:-1]), tokens.index(rc.I[1:]), "nll").mean(name="loss")


def by_name(gradients: dict[Expr, Tensor]) -> dict[str | None, Tensor]:
    return {node.name: gradient for node, gradient in gradients.items()}


@pytest.mark.parametrize("passes", COMBINATIONS, ids=lambda names: "+".join(names) or "none")
@pytest.mark.parametrize("form", ["split", "flat"])
def test_gradients_of_every_head_s_output_equal_torch_s(tiny: Setting, form: str, passes: Sequence[str]) -> None:
    check_heads(tiny, getattr(tiny, form), passes)


@pytest.mark.parametrize("form", ["split", "flat"])
def test_the_same_on_the_shipped_model(shipped: Setting, form: str) -> None:
    check_heads(shipped, getattr(shipped, form), EVERY_PASS)


def check_heads(given: Setting, loss: Expr, passes: Sequence[str]) -> None:
    """The oracle's heads are replaced by leaves of the same values, one layer at a time."""
    program = compile(loss, wrt=[rc.Regex(r"^a\d\.h\d$")], batched=[given.symbol], passes=passes)
    (losses,), gradients = program.value_and_grad({given.symbol: given.tokens})
    torch.testing.assert_close(losses, given.oracle_loss().detach())
    num_heads = given.oracle.config.n_heads
    assert len(gradients) == 2 * num_heads
    trace = Trace()
    given.oracle(given.tokens, trace=trace)
    for layer, block in enumerate(given.oracle.layers):
        outs = {
            (layer, head): (trace.mixed_values[layer][:, head] @ block.attn.W_O[head]).detach().requires_grad_()
            for head in range(num_heads)
        }
        given.oracle_loss(ablations=outs).sum().backward()
        for (_, head), out in outs.items():
            assert out.grad is not None
            torch.testing.assert_close(by_name(gradients)[f"a{layer}.h{head}"], out.grad)


def test_gradients_of_norms_and_weights_equal_torch_s(shipped: Setting) -> None:
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


def wx(*shape: int, seed: int = 0, name: str | None = None) -> rc.Array:
    return rc.Array(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), name)


def test_one_node_below_another_and_the_objective_itself() -> None:
    """Each gradient counts all paths from its own node."""
    x = rc.Symbol.new_from_name((3,), "x")
    low = rc.elementwise("tanh", x, name="low")
    high = rc.elementwise("exp", low, name="high")
    loss = rc.Add(high.mul(high).sum(), low.sum(), name="loss")
    given = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for passes in COMBINATIONS:
        program = compile(loss, wrt=["x", "low", "high", "loss"], batched=[x], passes=passes)
        found = by_name(program.value_and_grad({x: given})[1])
        low_value = given.tanh()
        high_value = low_value.exp()
        of_low = 2 * high_value * high_value + 1
        torch.testing.assert_close(found["high"], 2 * high_value)
        torch.testing.assert_close(found["low"], of_low)
        torch.testing.assert_close(found["x"], of_low * (1 - low_value**2))
        torch.testing.assert_close(found["loss"], torch.ones(2, dtype=torch.float64))


def test_a_gradient_is_that_of_the_node_and_not_of_others_with_its_value() -> None:
    x = rc.Symbol.new_from_name((), "x")
    first, second = rc.elementwise("exp", x, name="first"), rc.elementwise("exp", x, name="second")
    loss = first.scale(2.0).add(second.mul(second))
    for passes in COMBINATIONS:
        program = compile(loss, wrt=[first, second], batched=[x], passes=passes)
        _, gradients = program.value_and_grad({x: torch.zeros(3)})
        assert gradients[first].tolist() == [2.0] * 3
        assert gradients[second].tolist() == [2.0] * 3
        alone = compile(loss, wrt=[second], batched=[x], passes=passes)
        assert alone.value_and_grad({x: torch.zeros(3)})[1][second].tolist() == [2.0] * 3


def test_terms_of_several_sums_with_coefficients_and_moves() -> None:
    """A residual stream that is one sum of all before, for each reader: what the moving of probes is for."""
    x = rc.Symbol.new_from_name((2, 3), "x")
    heads = [rc.elementwise("tanh", x.scale(float(i)), name=f"h{i}") for i in range(1, 5)]
    streams = [
        rc.Add(*heads[: i + 1], rc.Rearrange(heads[0], "a b -> a b").scale(-0.5), name=f"r{i}") for i in (1, 2, 3)
    ]
    joined = rc.Concat(heads[3], heads[2], axis=0).sum(name="joined")
    loss = rc.Add(*(rc.elementwise("exp", stream).sum() for stream in streams), rc.elementwise("sin", joined))
    given = torch.randn(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    leaves = [(given * i).tanh().requires_grad_() for i in range(1, 5)]
    want = sum((sum(leaves[: i + 1]) - 0.5 * leaves[0]).exp().sum() for i in (1, 2, 3))
    want = want + torch.sin(leaves[3].sum((1, 2)) + leaves[2].sum((1, 2))).sum()
    want.backward()
    for passes in COMBINATIONS:
        _, gradients = compile(loss, wrt=heads, batched=[x], passes=passes).value_and_grad({x: given})
        for head, leaf in zip(heads, leaves, strict=True):
            assert leaf.grad is not None
            torch.testing.assert_close(gradients[head], leaf.grad)


def test_moved_probes_are_fewer_and_heads_are_not_there() -> None:
    """The gradients of all heads of a layer are that of the residual stream behind them."""
    model = rc.load_shipped("attn_only_2l")
    lowered = model.lower(seq_len=4)["t.bind_w"]
    split = rc.configure_transformer(lowered, split_by_head_config="full", use_pull_up_head_split=True)
    tokens = rc.Symbol.new_from_name((4,), "tokens")
    program = compile(loss_of(model, split, tokens), wrt=[rc.Regex(r"^a\d\.h\d$")], batched=[tokens])
    _, gradients = program.value_and_grad({tokens: torch.tensor([[1, 2, 3, 4]])})
    assert len({gradient.data_ptr() for gradient in gradients.values()}) == 2


def test_portions_give_the_same(shipped: Setting) -> None:
    """Values and gradients of drawn nodes side by side, those of others summed."""
    wrt = [rc.Regex(r"^a\d\.h\d$"), "t.w.tok_embeds", "a1.w.q"]
    whole = compile(shipped.split, wrt=wrt, batched=[shipped.symbol])
    (losses,), gradients = whole.value_and_grad({shipped.symbol: shipped.tokens})
    (program,) = whole._differentiated.values()  # pyright: ignore[reportPrivateUsage]
    for portion in (1, 2, 3, 7):
        (again,), found = program.run([shipped.tokens], portion=portion)
        torch.testing.assert_close(again, losses)
        for gradient, want in zip(found, gradients.values(), strict=True):
            torch.testing.assert_close(gradient, want)


def test_a_memory_limit() -> None:
    """Values are those without one, or the error names what suffices."""
    x, w = rc.Symbol.new_from_name((100,), "x"), wx(100, 100, name="w")
    hidden = rc.elementwise("tanh", rc.Einsum.from_string("i, i j -> j", x, w), name="hidden")
    loss = rc.elementwise("exp", hidden.mul(hidden)).sum()
    given = torch.randn(50, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    _, want = compile(loss, wrt=[w, hidden], batched=[x]).value_and_grad({x: given})
    with pytest.raises(rc.MemoryLimitError, match="too few for gradients with 50 draws") as caught:
        compile(loss, wrt=[w, hidden], batched=[x], max_memory=1000).value_and_grad({x: given})
    for limit in (caught.value.expected, caught.value.expected + 20_000):
        _, got = compile(loss, wrt=[w, hidden], batched=[x], max_memory=limit).value_and_grad({x: given})
        for node, gradient in want.items():
            torch.testing.assert_close(got[node], gradient)


def test_several_objectives_and_what_they_do_not_depend_on() -> None:
    x, w, v = rc.Symbol.new_from_name((2,), "x"), wx(2, name="w"), wx(2, seed=1, name="v")
    program = compile([x.mul(w).sum(), w.mul(v).sum(), x], wrt=[x, w, v], batched=[x])
    given = torch.randn(3, 2, dtype=torch.float64)
    values, gradients = program.value_and_grad({x: given}, of=0)
    assert [tuple(value.shape) for value in values] == [(3,), (), (3, 2)]
    torch.testing.assert_close(gradients[x], w.value.expand(3, 2))
    torch.testing.assert_close(gradients[w], given.sum(0))
    assert gradients[v].tolist() == [0.0, 0.0]
    _, gradients = program.value_and_grad({x: given}, of=1)
    assert gradients[x].tolist() == [[0.0, 0.0]] * 3
    torch.testing.assert_close(gradients[w], v.value)
    values[2].zero_()
    assert given.abs().sum() > 0


@pytest.mark.parametrize("n", [0, 1])
def test_an_empty_batch_and_a_batch_of_one(n: int) -> None:
    x, w = rc.Symbol.new_from_name((2,), "x"), wx(2, name="w")
    program = compile(rc.elementwise("exp", x.mul(w, name="product")).sum(), wrt=[x, w, "product"], batched=[x])
    values, gradients = program.value_and_grad({x: torch.ones(n, 2, dtype=torch.float64)})
    assert values[0].shape == (n,)
    assert [tuple(gradient.shape) for gradient in gradients.values()] == [(n, 2), (2,), (n, 2)]
    torch.testing.assert_close(gradients[w], n * w.value.exp())


def test_a_long_chain_and_many_paths() -> None:
    x = rc.Symbol.new_from_name((), "x")
    chain: Expr = x
    for i in range(3000):
        chain = rc.elementwise("tanh", chain) if i % 100 == 0 else chain.scale(1.0001)
    assert compile(chain, wrt=[x], batched=[x]).value_and_grad({x: torch.ones(2)})[1][x].shape == (2,)
    doubled: Expr = x
    for _ in range(60):
        doubled = doubled.add(doubled)
    for passes in ((), EVERY_PASS):
        program = compile(doubled, wrt=[x], batched=[x], passes=passes)
        assert program.value_and_grad({x: torch.ones(1)})[1][x].tolist() == [2.0**60]


def test_symbolic_sizes() -> None:
    n = sympy.Symbol("n", integer=True, positive=True)
    x = rc.Symbol.new_from_name((n,), "x")
    doubled = x.scale(2.0, name="doubled")
    program = compile(rc.elementwise("exp", doubled).sum(), wrt=[x, "doubled"], batched=[x])
    for size in (2, 3):
        _, gradients = program.value_and_grad({x: torch.zeros(4, size)})
        assert gradients[x].tolist() == [[2.0] * size] * 4
        assert by_name(gradients)["doubled"].tolist() == [[1.0] * size] * 4


def test_nodes_in_bodies_are_found_under_the_names_of_calls() -> None:
    s = rc.Symbol.new_from_name((2,), "s")
    spec = rc.ModuleSpec(rc.elementwise("exp", s, name="inside").mul(s, name="out"), [s])
    x = wx(2, name="x")
    expr = rc.Module(spec, "one", s=x).add(rc.Module(spec, "two", s=x.scale(2.0, name="x2"))).sum()
    assert [node.name for node in compile(expr, wrt=["one"]).value_and_grad()[1]] == ["one"]
    gradients = compile(expr, wrt=["inside", "two", "x2"]).value_and_grad()[1]
    values = [x.value, 2 * x.value]
    assert [node.name for node in gradients] == ["inside", "inside", "two", "x2"]
    for gradient, value in zip(list(gradients.values())[:2], values, strict=True):
        torch.testing.assert_close(gradient, value)
    torch.testing.assert_close(by_name(gradients)["x2"], values[1].exp() * (1 + values[1]))


def test_errors() -> None:
    x, tokens = rc.Symbol.new_from_name((2,), "x"), rc.Symbol.new_from_name((), "tokens")
    loss = x.mul(x, name="a1.square").sum()
    given = {x: torch.ones(3, 2)}
    with pytest.raises(rc.ConstructionError, match="compiled without wrt"):
        compile(loss, batched=[x]).value_and_grad(given)
    with pytest.raises(rc.ConstructionError, match="there is no expression 1 among 1"):
        compile(loss, wrt=[x], batched=[x]).value_and_grad(given, of=1)
    with pytest.raises(rc.ShapeError, match=r"is that of a scalar, .* has shape \[2\]"):
        compile(x.mul(x), wrt=[x], batched=[x]).value_and_grad(given)
    with pytest.raises(rc.MatchError, match=r"no node is named 'a1square'[^.]*'a1\.square'"):
        compile(loss, wrt=["a1square"], batched=[x])
    with pytest.raises(rc.MatchError, match=r"is not computed, even .*'a1\.square'"):
        compile(loss, wrt=[rc.Scalar(1.0, name="a1.squar")], batched=[x])
    picked = rc.GeneralFunction.gen_index(x, tokens, index_dim=0)
    with pytest.raises(rc.DtypeError, match=r"'tokens' .*holds torch\.int64, for which there are no gradients"):
        compile(picked, wrt=[tokens], batched=[x, tokens]).value_and_grad(
            {x: torch.ones(1, 2), tokens: torch.tensor([1])}
        )
    with pytest.raises(rc.DtypeError, match=r"holds torch\.int64"):
        compile([tokens], wrt=[rc.Matcher(rc.Symbol)], batched=[tokens]).value_and_grad({tokens: torch.tensor([1])})


def test_random_variables_have_gradients_and_their_probabilities_none() -> None:
    table, probs = wx(4, 2, name="table"), rc.Array(torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64), "probs")
    variable = rc.DiscreteVar(table, probs, name="v")
    loss = variable.mul(variable).sum()
    program = compile(loss, wrt=[table, variable])
    rows = torch.tensor([2, 2, 0])
    _, gradients = program.value_and_grad({variable.probs_and_group: rows})
    torch.testing.assert_close(gradients[variable], 2 * table.value[rows])
    want = torch.zeros(4, 2, dtype=torch.float64).index_add(0, rows, 2 * table.value[rows])
    torch.testing.assert_close(gradients[table], want)
    with pytest.raises(rc.MatchError, match="it is not computed"):
        compile(loss, wrt=[probs])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_other_dtypes(shipped: Setting, dtype: torch.dtype, device: str) -> None:
    """Near the gradient in float64, in their own dtype."""
    program = compile(shipped.split, wrt=["a0", "final.norm"], batched=[shipped.symbol])
    _, want = program.value_and_grad({shipped.symbol: shipped.tokens})
    loss = rc.cast(shipped.split, dtype=dtype, device=device)
    _, got = compile(loss, wrt=["a0", "final.norm"], batched=[shipped.symbol]).value_and_grad(
        {shipped.symbol: shipped.tokens.to(device)}
    )
    tolerance = 1e-4 if dtype == torch.float32 else 0.15
    for name, gradient in by_name(got).items():
        assert gradient.dtype == dtype
        exact = by_name(want)[name]
        distance = (gradient.cpu().double() - exact).norm() / exact.norm()
        assert float(distance) < tolerance, name
