"""The reference itself: the float64 models are exact, and the tiny models have nothing that hides mistakes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.models.families import cases
from tests.models.families.reference import RoundingError, hf_logits, without_rounding
from tests.models.families.tiny import Variant, build, variants

EVERY_VARIANT = [
    pytest.param(variant, id=str(variant), marks=() if variant.name == "base" else pytest.mark.slow)
    for variant in variants()
]


@pytest.mark.parametrize("variant", EVERY_VARIANT)
def test_float32_is_float64_up_to_rounding(variant: Variant) -> None:
    """And by less than what models are held to, so that a failure is never Hugging Face's own rounding."""
    single, double = (build(variant.config(), dtype=dtype) for dtype in (torch.float32, torch.float64))
    for case in cases.names(variant.family, every=True):
        rough, exact = (_logits(model, variant, case) for model in (single, double))
        assert (rough.dtype, exact.dtype) == (torch.float32, torch.float64)
        torch.testing.assert_close(rough.double(), exact, rtol=5e-6, atol=5e-6)
        assert exact.std() > 0.1


def _logits(model: Any, variant: Variant, case: str) -> torch.Tensor:
    given = cases.inputs(variant, case, dtype=model.dtype)
    return given.kept(hf_logits(model, given.first, **given.others))


HAVE_KERNELS = [v for v in variants() if v.family not in ("gemma2", "gpt_neo", "gptj", "bloom")]
"""Those with more than one implementation of attention, all of which do the same: not the ones with soft caps."""


@pytest.mark.slow
@pytest.mark.parametrize("variant", [pytest.param(v, id=str(v)) for v in HAVE_KERNELS])
def test_eager_attention_is_torch_s(variant: Variant) -> None:
    model = build(variant.config())
    eager = _logits(model, variant, "five")
    model.set_attn_implementation("sdpa")
    torch.testing.assert_close(_logits(model, variant, "five"), eager, rtol=1e-5, atol=1e-5)


def test_norms_are_exact_in_float64() -> None:
    model = build(Variant("llama", "base").config(), dtype=torch.float64)
    norm = model.model.norm
    x = torch.randn(3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_hand = x / (x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon).sqrt() * norm.weight
    assert not torch.allclose(norm(x), by_hand, rtol=1e-12, atol=0)
    with without_rounding(model) as mode:
        torch.testing.assert_close(norm(x), by_hand, rtol=1e-14, atol=1e-14)
    assert mode.skipped == 1


def test_what_rounds_in_another_way_is_noticed() -> None:
    x = torch.ones(2, dtype=torch.float64)
    with without_rounding(torch.nn.Identity()), pytest.raises(RoundingError):
        x.to(torch.ones(2))


def test_tables_of_rotary_embeddings_stay_those_of_float32() -> None:
    model = build(Variant("llama", "base").config(), dtype=torch.float64)
    positions = torch.arange(9)[None]
    with without_rounding(model):
        cosines, _ = model.model.rotary_emb(torch.ones(1, dtype=torch.float64), positions)
    assert cosines.dtype == torch.float64
    assert torch.equal(cosines, cosines.float().double())


@pytest.mark.parametrize("variant", EVERY_VARIANT)
def test_every_parameter_matters_and_none_is_left_as_initialised(variant: Variant) -> None:
    """Weights that change nothing would be tested by nothing."""
    model, case = build(variant.config(), dtype=torch.float64), "five"
    before = _logits(model, variant, case)
    idle: list[str] = []
    for name, parameter in model.named_parameters():
        assert parameter.std() > 0.02, name
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(torch.linspace(0.2, 0.7, parameter.numel()).view(parameter.shape))
            if torch.allclose(_logits(model, variant, case), before, rtol=0, atol=1e-9):
                idle.append(name)
            parameter.copy_(kept)
    assert idle == _idle(variant, model)


def _idle(variant: Variant, model: Any) -> list[str]:
    """What no logits can depend on.

    Biases of keys add the same to the score of every key, which no softmax sees, unless a rotation or a norm follows.
    BERT reads the bias of its head under another name, which is this one only where weights are tied.
    """
    names = [name for name, _ in model.named_parameters()]
    has_rotation = hasattr(model.config, "rope_parameters")
    keys = () if has_rotation else ("k_proj.bias", "k_lin.bias", "key.bias")
    head = ("cls.predictions.bias",) if not getattr(model.config, "tie_word_embeddings", True) else ()
    return [name for name in names if name.endswith((*keys, *head))]
