"""What circuit discovery is measured beside: that plain passes give what they say, and leave the model as it was."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from benchmarks.discovery_peers import (
    draw_pairs,
    logit_differences,
    peak_ratio,
    plain_forward,
    plain_forward_backward,
    statuses,
)
from benchmarks.memory import peak_bytes
from benchmarks.peers import HuggingFace, gpt2_config, hugging_face

SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 16, "vocab_size": 50, "n_positions": 16}
PAIRS = draw_pairs(50, batch=3, seq=7)


@pytest.fixture(scope="module")
def model() -> HuggingFace:
    return hugging_face(gpt2_config(SIZES), dtype=torch.float64)


def test_the_forward_pass_reads_the_answers_at_the_last_token(model: HuggingFace) -> None:
    logits = model(PAIRS.clean).logits
    wanted = [logits[i, -1, right] - logits[i, -1, PAIRS.wrong[i]] for i, right in enumerate(PAIRS.right)]
    torch.testing.assert_close(plain_forward(model, PAIRS), torch.stack(wanted))


def test_the_gradient_is_that_of_finite_differences(model: HuggingFace) -> None:
    gradient = plain_forward_backward(model, PAIRS, weight_gradients=False)
    embedded = model.get_input_embeddings()(PAIRS.clean)
    direction = torch.randn(embedded.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (
            logit_differences(model(inputs_embeds=embedded + step * direction).logits, PAIRS).mean()
            for step in (1e-5, -1e-5)
        )
    torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-8)


def test_gradients_of_weights_cost_memory_and_are_dropped(model: HuggingFace) -> None:
    without, with_them = (
        partial(plain_forward_backward, model, PAIRS, weight_gradients=flag) for flag in (False, True)
    )
    torch.testing.assert_close(with_them(), without())
    assert all(weight.grad is None and not weight.requires_grad for weight in model.parameters())
    weights = sum(weight.nbytes for weight in model.parameters())
    assert peak_bytes(with_them) > peak_bytes(without) + weights / 2
    assert peak_ratio(without, model, PAIRS) == pytest.approx(1.0, abs=0.1)
    assert peak_ratio(with_them, model, PAIRS) > 1.1


def test_every_package_has_a_version_or_a_reason() -> None:
    found = statuses()
    assert set(found) == {"auto-circuit", "EAP-IG"}
    assert all(status[:1].isdigit() or "installed" in status for status in found.values())
