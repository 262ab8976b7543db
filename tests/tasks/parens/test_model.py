"""The classifier that ships, and random ones, against the torch module."""

import dataclasses

import pytest
import torch
from torch.nn import functional

import scrub as rc
from scrub.models.shipped import shipped_model
from scrub.models.splits import split_positions
from scrub.tasks.parens import features
from scrub.tasks.parens.data import ParensData, parens_data
from scrub.tasks.parens.model import FINAL, head_at_0, head_input, head_mask, into_final_norm, parens_expression
from zoo.parens_model import ParensConfig, ParensTransformer, Trace
from zoo.parens_roles import load_parens
from zoo.train_parens import lens_config

P1 = {"p0": 0, "p1": 1, "rest": slice(2, 42)}
HEADS = [(layer, head) for layer in range(3) for head in range(2)]


def random_pair(seed: int) -> tuple[rc.ShippedModel, ParensTransformer]:
    """A random model, its norms and biases random too, and the module that it is of."""
    module = ParensTransformer(ParensConfig(), seed=seed).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed + 1)
    for parameter in module.parameters():
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    info = {"transformer_lens": lens_config(module.config), "reads_first": True}
    return shipped_model("random", info, dict(module.state_dict())), module


@pytest.fixture(scope="module")
def shipped() -> rc.ShippedModel:
    return rc.load_shipped("parens")


@pytest.fixture(scope="module")
def module() -> ParensTransformer:
    return load_parens()


@pytest.fixture(scope="module")
def data() -> ParensData:
    return parens_data(24, 0)


def value(expr: rc.Expr, data: ParensData) -> torch.Tensor:
    """Of an expression of symbols "tokens" and "mask"."""
    arrays = {"tokens": data.tokens, "mask": data.mask}
    return rc.bind(expr, {s: rc.Array(arrays[str(s.name)]) for s in expr.free_symbols}).evaluate()


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))


def test_logits_of_the_shipped_model(shipped: rc.ShippedModel, module: ParensTransformer, data: ParensData) -> None:
    expected = module(data.tokens, data.mask)
    assert_close(shipped.call(data.tokens, attention_mask=data.mask).evaluate(), expected)
    assert float(expected.abs().max()) > 1.0


@pytest.mark.parametrize(
    "options",
    [
        {"split_by_head_config": "full", "use_pull_up_head_split": True},
        {"split_by_head_config": "full", "use_pull_up_head_split": True, "use_flatten_res": True},
        {"split_by_head_config": {1: [([0, 1], "both")]}, "use_flatten_res": True, "check_valid": True},
    ],
)
def test_configured_models_have_the_same_logits(
    shipped: rc.ShippedModel, module: ParensTransformer, data: ParensData, options: dict[str, object]
) -> None:
    model = rc.configure_transformer(shipped.lower(seq_len=42)["t.bind_w"], **options)  # type: ignore[arg-type]
    expected = module(data.tokens, data.mask)
    assert_close(shipped.call(data.tokens, attention_mask=data.mask, model=model).evaluate(), expected)
    split = model.update("final.norm", split_positions({"first": 0, "rest": slice(1, 42)}))
    assert split.get("final.norm.first")
    assert_close(shipped.call(data.tokens, attention_mask=data.mask, model=split).evaluate(), expected)


@pytest.mark.parametrize("positions", [None, {2: P1}, {1: P1, 2: "full"}])
@pytest.mark.parametrize("seed", [None, 0])
def test_the_expression_has_the_model_s_logits(
    shipped: rc.ShippedModel, module: ParensTransformer, data: ParensData, positions: object, seed: int | None
) -> None:
    model, oracle = (shipped, module) if seed is None else random_pair(seed)
    logits = parens_expression(model, positions=positions)  # type: ignore[arg-type]
    assert {(symbol.name, symbol.shape) for symbol in logits.free_symbols} == {("tokens", (42,)), ("mask", (42,))}
    assert not logits.get(rc.Module)
    assert_close(value(logits, data), oracle(data.tokens, data.mask))


def test_the_final_norm_reads_one_term_per_head(shipped: rc.ShippedModel) -> None:
    logits = parens_expression(shipped)
    terms = [term.name for term in logits.get_unique(FINAL).children]
    assert len(set(terms)) == len(terms)
    assert {head_at_0(*head) for head in HEADS} < set(terms)
    for head in HEADS:
        assert [node.name for node in logits.get(into_final_norm(*head))] == [head_at_0(*head)]


@pytest.mark.parametrize("head", HEADS)
def test_a_head_s_term_is_what_the_module_says(head: tuple[int, int], data: ParensData) -> None:
    """Taken out of the final norm alone: by the matcher, and by hand."""
    model, oracle = random_pair(3)
    trace = Trace()
    oracle(data.tokens, data.mask, trace=trace)
    term = trace.terms[oracle.term_names().index(f"{head[0]}.{head[1]}")]
    without = parens_expression(model).update(into_final_norm(*head), lambda node: node.scale(0.0))
    assert_close(value(without, data), oracle.read_out(torch.stack(trace.terms).sum(0) - term))


@pytest.mark.parametrize("head", HEADS)
def test_a_head_s_padding_mask_is_told_apart(head: tuple[int, int], data: ParensData) -> None:
    """Another mask for that head's direct term alone: its keys are other positions, all else is as it was."""
    layer, number = head
    model, oracle = random_pair(4)
    other = torch.arange(42).expand(len(data), 42) < 3
    replaced = parens_expression(model).update(into_final_norm(*head).chain(head_mask()), lambda node: node.rename("b"))
    arrays = {"tokens": data.tokens, "mask": data.mask, "b": other}
    found = rc.bind(replaced, {s: rc.Array(arrays[str(s.name)]) for s in replaced.free_symbols}).evaluate()
    trace = Trace()
    oracle(data.tokens, data.mask, trace=trace)
    terms = [term.clone() for term in trace.terms]
    inputs = residual_before(oracle, data, layer)
    block = oracle.layers[layer]
    _, mixed = block.attn(block.ln1(inputs), other)
    terms[oracle.term_names().index(f"{layer}.{number}")] = mixed[:, number, 0] @ block.attn.W_O[number]
    assert_close(found, oracle.read_out(torch.stack(terms).sum(0)))


def residual_before(oracle: ParensTransformer, data: ParensData, layer: int) -> torch.Tensor:
    """What a layer reads, [batch, pos, d_model], by hand."""
    x = oracle.embed.W_E[data.tokens] + oracle.pos_embed.W_pos
    for block in oracle.layers[:layer]:
        _, mixed = block.attn(block.ln1(x), data.mask)
        x = x + torch.einsum("bhqe,hed->bqd", mixed, block.attn.W_O)
        x = x + functional.relu(block.ln2(x) @ block.mlp.W_in + block.mlp.b_in) @ block.mlp.W_out + block.mlp.b_out
    return x


def test_the_input_at_a_position_is_a_node(data: ParensData) -> None:
    model, oracle = random_pair(5)
    logits = parens_expression(model, positions={2: P1})
    block = oracle.layers[2]
    expected = block.ln1(residual_before(oracle, data, 2)[:, 1])
    assert_close(value(logits.get_unique(head_input(2, "p1")), data)[:, 0], expected)
    below = logits.get_unique(head_input(2, "p1"))
    assert {"a0.h0.p1", "a0.h1.p1", "t.embeds.p1", "m1.p1", "a1.h1.p1"} <= {node.name for node in below.get(True)}


def test_a_causal_language_model_is_no_classifier() -> None:
    with pytest.raises(rc.CheckpointError, match="reads position 0"):
        parens_expression(rc.load_shipped("attn_only_2l"))


def test_positions_do_not_depend_on_the_mask(shipped: rc.ShippedModel, data: ParensData) -> None:
    architecture = shipped.architecture
    assert not architecture.embedding.positions_from_mask
    assert dataclasses.replace(architecture.readout, reads_first=False) != architecture.readout


def test_the_config_says_what_the_model_does(module: ParensTransformer) -> None:
    """Fresh data, another seed than that of the scores."""
    test = parens_data(3000, 77, split="test")
    logits = module(test.tokens, test.mask)
    assert float((logits.argmax(1) == test.label).double().mean()) >= 0.997
    is_near_miss = (features.count_and_start(test.tokens) == 1) & (test.label == 0)
    assert int(is_near_miss.sum()) > 200
    assert float((logits.argmax(1) == 0)[is_near_miss].double().mean()) >= 0.98


def test_a_classifier_has_no_tokenizer_and_no_induction_candidates(shipped: rc.ShippedModel) -> None:
    with pytest.raises(rc.CheckpointError, match="'parens' has no tokenizer: its tokens are"):
        _ = shipped.tokenizer
    with pytest.raises(rc.CheckpointError, match="no induction candidates"):
        _ = shipped.induction_candidates
