"""Models as expressions, their variants, and the peers that benchmarks compare with agree, on tiny models."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import scrub as rc
from benchmarks.expressions import Expressions, expressions, patched_heads, value_scrubbed
from benchmarks.peers import gpt2_config, hugging_face, llama_config, patched_losses, transformer_lens
from scrub.compiler import compile  # noqa: A004
from tests.benchmarks.tiny import LLAMA, REASON, TINY

SEQ = 7


def tiny_model(family: str, dtype: torch.dtype) -> Any:
    pytest.importorskip("transformers", reason=REASON)
    return hugging_face(gpt2_config(TINY) if family == "gpt2" else llama_config(LLAMA), dtype=dtype)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model("gpt2", torch.float64)


@pytest.fixture(scope="module")
def of(model: Any) -> Expressions:
    return expressions(model, SEQ)


@pytest.fixture(scope="module")
def hooked(model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        pytest.importorskip("transformer_lens", reason=REASON)
        return transformer_lens(model)


def tokens(seed: int) -> Tensor:
    return torch.randint(0, TINY["vocab_size"], (SEQ,), generator=torch.Generator().manual_seed(seed))


def value(expr: rc.Expr, bindings: dict[rc.Symbol, Tensor]) -> Tensor:
    return rc.evaluate_many([expr], {s: v for s, v in bindings.items() if s in expr.free_symbols})[0]


@pytest.mark.parametrize("logits", ["logits", "split"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)], ids=str)
def test_logits_are_those_of_hugging_face(family: str, logits: str, dtype: torch.dtype, tolerance: float) -> None:
    model = tiny_model(family, dtype)
    of = expressions(model, SEQ)
    got = value(getattr(of, logits), {of.tokens: tokens(0)})
    tolerance = 1e-10 if dtype == torch.float64 and family == "gpt2" else tolerance  # Llama's angles are single
    torch.testing.assert_close(got, model(tokens(0)[None]).logits[0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_compiled_forms_call_fused_kernels_for_norms_and_attention(family: str) -> None:
    """One for each norm and each layer, whether or not heads are split."""
    of = expressions(tiny_model(family, torch.float32), SEQ)
    for logits in (of.logits, of.split):
        text = str(compile([logits], batched=[of.tokens]).plan({of.tokens: tokens(0)[None]}))
        assert "5 Normalized" in text
        assert "2 Attention" in text


def test_the_loss_is_that_of_both_libraries(model: Any, of: Expressions, hooked: Any) -> None:
    got = value(of.loss(of.logits), {of.tokens: tokens(0)})
    torch.testing.assert_close(got, hooked(tokens(0)[None], return_type="loss"))
    given = model(tokens(0)[None], labels=tokens(0)[None]).loss  # in single precision, by its own choice
    torch.testing.assert_close(got, given.double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "made"), [("gpt2", {"mask"}), ("llama", {"mask", "cos", "sin"})], ids=["gpt2", "llama"]
)
def test_every_weight_is_shared(family: str, made: set[str]) -> None:
    model = tiny_model(family, torch.float32)
    of = expressions(model, SEQ)
    given = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    for logits in (of.logits, of.split):
        arrays = [node for node in rc.postorder([logits]) if isinstance(node, rc.Array)]
        own = [str(array.name) for array in arrays if array.value.untyped_storage().data_ptr() not in given]
        assert {name.replace("_", ".").split(".")[-1] for name in own} == made
        assert given <= {array.value.untyped_storage().data_ptr() for array in arrays}


def test_replaced_heads_are_those_of_a_hook(of: Expressions, hooked: Any) -> None:
    other = of.other_tokens()
    got = [
        value(of.loss(logits), {of.tokens: tokens(0), other: tokens(1)})
        for logits in patched_heads(of, of.heads, other)
    ]
    expected = patched_losses(hooked, tokens(0)[None], tokens(1)[None], of.heads)
    torch.testing.assert_close(torch.stack(got), expected, rtol=1e-10, atol=1e-10)
    assert len(set(expected.tolist())) == len(of.heads)


@pytest.mark.parametrize("head", [(0, 2), (1, 0)])
def test_a_scrubbed_value_input_is_a_hook_on_the_values(of: Expressions, hooked: Any, head: tuple[int, int]) -> None:
    other = of.other_tokens()
    got = value(value_scrubbed(of, head, other), {of.tokens: tokens(0), other: tokens(1)})
    name = f"blocks.{head[0]}.attn.hook_v"
    _, cache = hooked.run_with_cache(tokens(1)[None])

    def put(v: Tensor, hook: object) -> Tensor:
        v[:, :, head[1]] = cache[name][:, :, head[1]]
        return v

    expected = hooked.run_with_hooks(tokens(0)[None], fwd_hooks=[(name, put)])[0]
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(got, value(of.split, {of.tokens: tokens(0)}))


def test_all_losses_at_once_for_a_batch(of: Expressions, hooked: Any) -> None:
    """As the benchmark does it."""
    other = of.other_tokens()
    given = {of.tokens: torch.stack([tokens(0), tokens(2)]), other: torch.stack([tokens(1), tokens(3)])}
    program = compile([of.loss(e) for e in patched_heads(of, of.heads, other)], batched=[of.tokens, other])
    got = torch.stack(program.run(given)).mean(-1)
    expected = patched_losses(hooked, given[of.tokens], given[other], of.heads)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
