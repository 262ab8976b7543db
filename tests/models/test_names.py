"""Names of components: what is found under a name is what Hugging Face and TransformerLens compute under theirs.

A component is multiplied by 1.5, in the expression and by a hook in the other library: logits have to agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import scrub as rc
from scrub.models import FAMILIES
from tests.models.families import cases
from tests.models.families.reference import hf_logits
from tests.models.families.tiny import Variant, build

FACTOR = 1.5
FORMS: dict[str, dict[str, Any]] = {
    "lowered": {},
    "split": {"split_by_head_config": "full", "use_pull_up_head_split": True},
    "flat": {"split_by_head_config": "full", "use_pull_up_head_split": True, "use_flatten_res": True},
}


def scaled(model: rc.LoadedModel, first: torch.Tensor, name: str, form: str) -> torch.Tensor:
    """Logits with the component of that name multiplied, in a model as it is lowered or configured."""
    bind_w = model.lower()["t.bind_w"]
    if form != "lowered":
        bind_w = rc.configure_transformer(bind_w, **FORMS[form])
    call = model.call(first, model=bind_w)
    return call.update(model.names.matcher(name), lambda node: node.scale(FACTOR), see_through=True).evaluate()


@contextmanager
def hooked(module: torch.nn.Module) -> Iterator[None]:
    """The output of the module multiplied."""

    def hook(_module: torch.nn.Module, _args: Any, output: Any) -> Any:
        return (output[0] * FACTOR, *output[1:]) if isinstance(output, tuple) else output * FACTOR

    handle = module.register_forward_hook(hook)
    yield
    handle.remove()


QUICK = {("gpt2", "lowered"), ("gpt2", "flat"), ("llama", "split"), ("gemma2", "lowered"), ("bert", "split")}
FAMILY_FORMS = [
    pytest.param(family, form, marks=() if (family, form) in QUICK else pytest.mark.slow)
    for family in sorted(FAMILIES)
    for form in FORMS
]


def are_there(names: Iterable[tuple[str, str]], last: str, form: str) -> list[tuple[str, str]]:
    """Those of the last layer and of none. A flat residual stream has no sums of layers, and biases apart."""
    in_last = [(ours, theirs) for ours, theirs in names if not re.match(rf"^[abm](?!{last}(\.|$))\d", ours)]
    gone = re.compile(r"^(b\d+(\.mid)?|a\d+(\.p_bias)?|m\d+\.p_bias)$") if form == "flat" else re.compile("^$")
    return [pair for pair in in_last if not gone.match(pair[0])]


@pytest.mark.parametrize(("family", "form"), FAMILY_FORMS)
def test_components_are_what_hugging_face_s_modules_put_out(family: str, form: str) -> None:
    variant = Variant(family, "base")
    hf, first = build(variant.config(), dtype=torch.float64), cases.inputs(variant, "one", dtype=torch.float64).first
    model = rc.models.load(hf)
    last = f"{model.architecture.n_layers - 1}"
    modules = dict(hf.named_modules())
    named = [(ours, theirs) for ours, _, theirs in model.names.table() if theirs in modules]
    chosen = are_there(named, last, form)
    assert len(chosen) >= 5, named
    for ours, theirs in chosen:
        with hooked(modules[theirs]):
            expected = hf_logits(hf, first)
        got = scaled(model, first, theirs, form)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9, msg=f"{ours} is not {theirs}")


LENS = {
    "plain": {"act_fn": "gelu", "normalization_type": "LN"},
    "gated": {"act_fn": "silu", "normalization_type": "RMS", "gated_mlp": True, "positional_embedding_type": "rotary"},
    "parallel": {"act_fn": "relu", "normalization_type": "LN", "parallel_attn_mlp": True},
    "attention": {"attn_only": True, "normalization_type": "LNPre"},
}


@pytest.mark.filterwarnings("ignore:HookedTransformer is deprecated")
@pytest.mark.parametrize(
    ("kind", "form"),
    [
        pytest.param(kind, form, marks=() if kind in ("plain", "gated") and form == "split" else pytest.mark.slow)
        for kind in LENS
        for form in FORMS
    ],
)
def test_components_are_what_the_hooks_of_transformer_lens_see(kind: str, form: str) -> None:
    lens = pytest.importorskip("transformer_lens", reason="transformer_lens is not installed")
    sizes = {"n_layers": 2, "d_model": 8, "n_ctx": 6, "d_head": 4, "n_heads": 3, "d_vocab": 11, "d_mlp": 12}
    hooked_model = lens.HookedTransformer(lens.HookedTransformerConfig(**sizes, **LENS[kind], dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in hooked_model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    hooked_model.set_use_attn_result(True)
    hooked_model.set_use_split_qkv_input(True)
    model = rc.from_transformer_lens(hooked_model)
    tokens = torch.randint(11, (1, 6), generator=generator)
    tried = [(ours, hook) for ours, hook, _ in model.names.table() if hook in hooked_model.hook_dict]
    tried = are_there(tried, "1", form)
    assert len(tried) >= 10
    for ours, hook in tried:
        with torch.no_grad():
            expected = hooked_model.run_with_hooks(tokens, fwd_hooks=[(hook, lambda value, hook: value * FACTOR)])
        got = scaled(model, tokens, hook, form)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9, msg=f"{ours} is not {hook}")


def test_what_a_model_has_not_is_not_named() -> None:
    names = rc.load_shipped("attn_only_2l").names
    every = [ours for ours, _, _ in names.table()]
    assert "a1.comb_v" in every
    assert "a1.w.q" in every
    assert [name for name in every if name.startswith("m") or name in ("b0.mid", "a0.rot_q", "a0.b.q")] == []
    assert rc.models.load(Variant("vit", "base").config()).names.translate("t.logits", "transformer_lens") is None


def test_layer_1_is_not_layer_10() -> None:
    from transformers import GPT2Config

    model = rc.models.load(GPT2Config(n_layer=11, n_head=2, n_embd=8, n_positions=8, vocab_size=11))
    split = rc.configure_transformer(model.lower(seq_len=4)["t.bind_w"], split_by_head_config="full")
    of_layer_1 = model.names.matcher("a1.comb_v")
    above = rc.restrict("a10.h0", term_if_matches=True).chain(rc.restrict(of_layer_1, term_early_at={"a.norm", "b9"}))
    assert split.are_any_found(of_layer_1, see_through=True)
    assert not split.are_any_found(above, see_through=True)


def test_names_of_weights_and_unknown_names() -> None:
    names = rc.models.load(Variant("gpt2", "base").config()).names
    assert names.ours("transformer.h.1.mlp.c_fc.weight") == names.ours("blocks.1.mlp.W_in") == "m1.w.in"
    assert names.translate("a0.w.o", "hugging_face") == "transformer.h.0.attn.c_proj.weight"
    with pytest.raises(
        rc.MatchError, match=r"no component or weight of this model is named 'blocks.1.attn.hook_zz'"
    ) as error:
        names.matcher("blocks.1.attn.hook_zz")
    assert "'blocks.1.attn.hook_z'" in str(error.value)
    with pytest.raises(rc.MatchError):
        names.ours("blocks.2.attn.hook_z")  # it has two layers


def test_prints_show_names_of_any_style() -> None:
    model = rc.models.load(Variant("gpt2", "base").config())
    lowered = model.lower(seq_len=4)["t.bind_w"]
    configured = rc.configure_transformer(lowered)
    text = rc.to_text(configured, commenters=model.names.commenter("hugging_face"))
    assert re.search(r"'a1.p_bias' .*# transformer.h.1.attn", text)
    text = rc.to_text(lowered, commenters=model.names.commenter("transformer_lens"))
    assert re.search(r"'a.comb_v' .*# blocks.\*.attn.hook_z", text)
