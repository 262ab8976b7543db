"""Every model and its rewrites: compiled programs against the reference evaluator, in combinations of passes."""

from __future__ import annotations

import functools
from collections import Counter

import pytest
import torch
from torch.nn import functional

import scrub as rc
from scrub.compiler import compile as compile_expressions
from scrub.compiler.passes import ALL_PASSES, PASSES
from scrub.demo import HYPOTHESES
from scrub.tasks.induction import heads_under_study
from tests.compiler.cases import subsets, watched
from tests.compiler.models import MODELS, SHAPE, Model, hypotheses, published
from tests.demo.by_hand import ByHand

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
COMBINATIONS = subsets(up_to=1)
LARGE = ("variants", "shipped", "shipped, heads apart")


@functools.cache
def model(name: str) -> Model:
    return MODELS[name]()


@functools.cache
def reference(name: str) -> list[torch.Tensor]:
    return model(name).reference()


@functools.cache
def fired_in(name: str) -> Counter[str]:
    with watched() as fired:
        model(name).run(ALL_PASSES)
    return fired


def relative_error(got: torch.Tensor, want: torch.Tensor) -> float:
    """The largest error, relative to the largest value."""
    assert got.shape == want.shape
    return float((got.double() - want.double()).abs().max() / want.double().abs().max().clamp(min=1.0))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_agrees_with_the_reference_evaluator(name: str, device: str) -> None:
    for passes in COMBINATIONS if name not in LARGE and device == "cpu" else [(), ALL_PASSES]:
        for got, want in zip(model(name).to(device).run(passes), reference(name), strict=True):
            assert relative_error(got.cpu(), want) <= 1e-10, passes


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_changes_some_model(name: str) -> None:
    assert any(fired_in(each)[name] for each in MODELS)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("passes", [(), ALL_PASSES], ids=["no passes", "all passes"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.25), (torch.float16, 0.03)], ids=str
)
@pytest.mark.parametrize("name", [name for name in MODELS if "shipped" not in name])
def test_agrees_in_other_dtypes(
    name: str, dtype: torch.dtype, tolerance: float, passes: tuple[str, ...], device: str
) -> None:
    for got, want in zip(model(name).cast(dtype).to(device).run(passes), reference(name), strict=True):
        assert got.dtype == (dtype if want.is_floating_point() else want.dtype)
        assert got.device.type == device
        assert relative_error(got.cpu(), want) <= tolerance


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["shipped", "shipped, heads apart"])
def test_the_shipped_model_in_the_dtype_in_which_it_ships(name: str, device: str) -> None:
    want = reference(name)[0]
    for passes in [(), ALL_PASSES]:
        (got,) = model(name).cast(torch.float32).to(device).run(passes)
        assert relative_error(got.cpu(), want) <= 1e-4


@pytest.mark.parametrize(
    "passes",
    [(), ALL_PASSES, *(pytest.param((name,), marks=pytest.mark.slow) for name in PASSES)],
    ids=lambda passes: " ".join(passes) or "none",
)
def test_the_rows_of_the_demo_equal_the_reference_on_the_same_draws(passes: tuple[str, ...]) -> None:
    losses, groups = hypotheses()
    spec = rc.RandomSampleSpec((2,), seed=3)
    program = compile_expressions(losses, passes=passes)
    assert set(program.groups) == set(groups)
    got = program.run({group: spec.rows(group, 0, 2) for group in program.groups})
    for result, want in zip(got, _sampled(), strict=True):
        assert relative_error(result, want) <= 1e-10


@functools.cache
def _sampled() -> list[torch.Tensor]:
    sampler = rc.Sampler(rc.RandomSampleSpec((2,), seed=3))
    return [sampler.sample(rc.substitute_all_modules(loss)).evaluate() for loss in hypotheses()[0]]


def test_the_rows_of_the_demo_equal_the_model_scrubbed_by_hand() -> None:
    losses, (tokens, other) = hypotheses()
    shipped = rc.load_shipped("attn_only_2l", dtype=torch.float64)
    sequences = rc.held_out_sequences(shipped.tokenizer, 13)
    heads = heads_under_study(shipped)
    by_hand = ByHand(shipped.state_dict, shipped.induction_candidates.double(), heads.previous_token, heads.induction)
    rows = {tokens: torch.tensor([3, 0, 77]), other: torch.tensor([5, 5, 12])}
    for hypothesis, got in zip(HYPOTHESES, compile_expressions(losses).run(rows), strict=True):
        want = by_hand.hypothesis(hypothesis.name, sequences[rows[tokens]], sequences[rows[other]])
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_a_block_of_gpt2_equals_torch() -> None:
    """Against torch's own layers, so that the reference evaluator is not all there is to trust."""
    whole = published("gpt2", 4, 4, split=True)
    weights = {str(node.name): node.value for node in rc.postorder(whole.exprs) if isinstance(node, rc.Array)}
    x, size = whole.inputs, SHAPE.d_model
    for layer in range(SHAPE.n_layers):
        a, m = f"a{layer}", f"m{layer}"
        normed = functional.layer_norm(x, (size,), weights[f"{a}.norm.w"], weights[f"{a}.norm.b"], 1e-5)
        q, k, v = (
            torch.einsum("nsd,hde->nhse", normed, weights[f"{a}.w.{part}"]) + weights[f"{a}.b.{part}"][:, None]
            for part in "qkv"
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + torch.einsum("nhse,hed->nsd", mixed, weights[f"{a}.w.o"]) + weights[f"{a}.b.o"]
        normed = functional.layer_norm(x, (size,), weights[f"{m}.norm.w"], weights[f"{m}.norm.b"], 1e-5)
        hidden = functional.gelu(normed @ weights[f"{m}.w.in"] + weights[f"{m}.b.in"], approximate="tanh")
        x = x + hidden @ weights[f"{m}.w.out"] + weights[f"{m}.b.out"]
    logits = functional.layer_norm(x, (size,), weights["final.norm.w"], weights["final.norm.b"], 1e-5)
    want = logits @ weights["t.w.unembed"]
    for passes in [(), ALL_PASSES]:
        assert relative_error(whole.run(passes)[0], want) <= 1e-10
