"""GPT-2 as an expression, its variants, and the peers that benchmarks compare with agree, on tiny models."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import scrub as rc
from benchmarks.gpt2 import Gpt2, gpt2, patched_heads, value_scrubbed
from benchmarks.peers import hugging_face, patched_losses, transformer_lens
from scrub.compiler import compile  # noqa: A004

REASON = "a peer of the benchmarks is not installed; `make bench` installs them"
TINY = {"n_layer": 2, "n_head": 3, "n_embd": 12, "vocab_size": 31, "n_positions": 16}
SEQ = 7


@pytest.fixture(scope="module")
def model() -> Any:
    pytest.importorskip("transformers", reason=REASON)
    return hugging_face(TINY, dtype=torch.float64)


@pytest.fixture(scope="module")
def of(model: Any) -> Gpt2:
    return gpt2(model, SEQ)


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
def test_logits_are_those_of_hugging_face(model: Any, of: Gpt2, logits: str) -> None:
    got = value(getattr(of, logits), {of.tokens: tokens(0)})
    torch.testing.assert_close(got, model(tokens(0)[None]).logits[0], rtol=1e-10, atol=1e-10)


def test_in_single_precision() -> None:
    pytest.importorskip("transformers", reason=REASON)
    model = hugging_face(TINY, dtype=torch.float32)
    of = gpt2(model, SEQ)
    expected = model(tokens(0)[None]).logits[0]
    torch.testing.assert_close(value(of.split, {of.tokens: tokens(0)}), expected, rtol=1e-4, atol=1e-5)


def test_the_loss_is_that_of_both_libraries(model: Any, of: Gpt2, hooked: Any) -> None:
    got = value(of.loss(of.logits), {of.tokens: tokens(0)})
    torch.testing.assert_close(got, hooked(tokens(0)[None], return_type="loss"))
    given = model(tokens(0)[None], labels=tokens(0)[None]).loss  # in single precision, by its own choice
    torch.testing.assert_close(got, given.double(), rtol=1e-6, atol=1e-6)


def test_every_weight_is_shared(model: Any, of: Gpt2) -> None:
    given = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    arrays = [node for node in rc.postorder([of.logits]) if isinstance(node, rc.Array)]
    assert [array.name for array in arrays if array.value.untyped_storage().data_ptr() not in given] == ["mask"]
    read = {array.value.untyped_storage().data_ptr() for array in arrays}
    assert given <= read


def test_replaced_heads_are_those_of_a_hook(of: Gpt2, hooked: Any) -> None:
    other = of.other_tokens()
    got = [
        value(of.loss(logits), {of.tokens: tokens(0), other: tokens(1)})
        for logits in patched_heads(of, of.heads, other)
    ]
    expected = patched_losses(hooked, tokens(0)[None], tokens(1)[None], of.heads)
    torch.testing.assert_close(torch.stack(got), expected, rtol=1e-10, atol=1e-10)
    assert len(set(expected.tolist())) == len(of.heads)


@pytest.mark.parametrize("head", [(0, 2), (1, 0)])
def test_a_scrubbed_value_input_is_a_hook_on_the_values(of: Gpt2, hooked: Any, head: tuple[int, int]) -> None:
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


def test_all_losses_at_once_for_a_batch(of: Gpt2, hooked: Any) -> None:
    """As the benchmark does it."""
    other = of.other_tokens()
    given = {of.tokens: torch.stack([tokens(0), tokens(2)]), other: torch.stack([tokens(1), tokens(3)])}
    program = compile([of.loss(e) for e in patched_heads(of, of.heads, other)], batched=[of.tokens, other])
    got = torch.stack(program.run(given)).mean(-1)
    expected = patched_losses(hooked, given[of.tokens], given[other], of.heads)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
