"""Classes of a family besides its first: classifiers of sequences, and BERT as a decoder, against Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import scrub as rc
from scrub.models import load

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

_BERT = {
    "vocab_size": 23,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "max_position_embeddings": 12,
    "layer_norm_eps": 1e-5,
    "num_labels": 5,
}
_DISTILBERT = {
    "vocab_size": 23,
    "dim": 16,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 20,
    "max_position_embeddings": 12,
    "num_labels": 5,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert classifier": ("BertForSequenceClassification", _BERT),
    "bert classifier, one label": ("BertForSequenceClassification", {**_BERT, "num_labels": 1, "hidden_act": "relu"}),
    "distilbert classifier": ("DistilBertForSequenceClassification", _DISTILBERT),
    "distilbert classifier, sinusoids": (
        "DistilBertForSequenceClassification",
        {**_DISTILBERT, "sinusoidal_pos_embds": True, "activation": "relu"},
    ),
    "bert decoder": ("BertLMHeadModel", {**_BERT, "is_decoder": True}),
    "bert decoder, untied": ("BertLMHeadModel", {**_BERT, "is_decoder": True, "tie_word_embeddings": False}),
    "masked bert that is causal": ("BertForMaskedLM", {**_BERT, "is_decoder": True}),
}
LEFT = [[1] * 7, [0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1], [1] * 7]
PADDING = {"none": None, "left": LEFT, "right": [row[::-1] for row in LEFT]}


def made(case: str) -> Any:
    """The Hugging Face model, every parameter drawn."""
    name, fields = CASES[case]
    cls: Any = getattr(transformers, name)
    with torch.random.fork_rng(devices=[]):
        model = cls(cls.config_class(**fields))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator) + (parameter.ndim == 1))
    return model.eval()


def drawn_tokens(*shape: int) -> torch.Tensor:
    return torch.randint(23, shape, generator=torch.Generator().manual_seed(1))


def assert_same(got: torch.Tensor, wanted: torch.Tensor, mask: torch.Tensor | None = None) -> None:
    assert got.shape == wanted.shape
    if mask is not None and got.ndim == 3:
        got, wanted = got[mask.bool()], wanted[mask.bool()]
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("case", CASES)
def test_logits_are_hugging_face_s(case: str, padding: str) -> None:
    model, tokens, rows = made(case), drawn_tokens(5, 7), PADDING[padding]
    mask = None if rows is None else torch.tensor(rows)
    given: dict[str, Any] = {"attention_mask": mask}
    if "distilbert" not in case:
        given["token_type_ids"] = drawn_tokens(5, 7) % 2
    with torch.no_grad():
        wanted = model(tokens, **given).logits
    assert_same(load(model).call(tokens, **given).evaluate(), wanted, mask)


@pytest.mark.parametrize("case", CASES)
def test_the_longest_sequence_alone_and_every_length_from_one_expression(case: str) -> None:
    model = made(case)
    loaded = load(model)
    any_length = loaded.lower()["t.bind_w"]
    for tokens in (drawn_tokens(1, 12), drawn_tokens(1, 1)):
        with torch.no_grad():
            wanted = model(tokens).logits
        assert_same(loaded.call(tokens).evaluate(), wanted)
        assert_same(loaded.call(tokens, model=any_length).evaluate(), wanted)


@pytest.mark.parametrize("to", list(rc.To))
@pytest.mark.parametrize("case", ["bert classifier", "distilbert classifier", "bert decoder"])
def test_rewritten_models_keep_their_logits(case: str, to: rc.To) -> None:
    model, tokens = made(case), drawn_tokens(5, 7)
    loaded = load(model)
    with torch.no_grad():
        wanted = model(tokens).logits
    rewritten = rc.configure_transformer(
        loaded.lower(seq_len=7)["t.bind_w"],
        to=to,
        split_by_head_config={0: [(2, "two"), ([0, 1, 3], "rest")], 1: [(rc.S[:4], "all")]},
        use_pull_up_head_split=True,
        use_flatten_res=True,
    )
    assert_same(loaded.call(tokens, model=rewritten).evaluate(), wanted)


@pytest.mark.parametrize("case", ["bert classifier", "distilbert classifier", "bert decoder, untied"])
def test_saved_models_load_as_the_class_they_are(case: str, tmp_path: Path) -> None:
    model, tokens = made(case), drawn_tokens(5, 7)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        wanted = model(tokens).logits
    assert_same(load(tmp_path).call(tokens).evaluate(), wanted)
    without = load(tmp_path, device="meta")
    assert without.call(tokens.to("meta")).shape == wanted.shape


@pytest.mark.parametrize("case", ["bert classifier", "distilbert classifier", "bert decoder"])
def test_components_of_the_readout_are_what_the_modules_put_out(case: str) -> None:
    """Each multiplied, in the expression and by a hook: logits have to agree."""
    model, tokens = made(case), drawn_tokens(1, 7)
    loaded = load(model)
    heads = {ours: theirs for ours, theirs in loaded.components.items() if "{l}" not in theirs}
    assert {"t.transform.pre", "t.logits"} <= set(heads)
    for ours, theirs in heads.items():
        handle = model.get_submodule(theirs).register_forward_hook(lambda _module, _args, output: 1.5 * output)
        with torch.no_grad():
            wanted = model(tokens).logits
        handle.remove()
        call = loaded.call(tokens).update(ours, lambda node: node.scale(1.5), see_through=True)
        torch.testing.assert_close(call.evaluate(), wanted, rtol=1e-5, atol=1e-5, msg=f"{ours} is not {theirs}")


def test_what_bert_does_besides_is_refused_by_name() -> None:
    configs: Any = transformers.AutoConfig
    changes: dict[str, dict[str, Any]] = {
        "add_cross_attention": {"is_decoder": True, "add_cross_attention": True},
        "position_embedding_type": {"position_embedding_type": "relative_key"},
        "num_attention_heads": {"num_attention_heads": 3},
        "hidden_act": {"hidden_act": "laplace"},
    }
    for field, change in changes.items():
        with pytest.raises(rc.CheckpointError, match=field):
            load(configs.for_model("bert", **{**_BERT, **change}))
    with pytest.raises(rc.CheckpointError, match="n_heads"):
        load(configs.for_model("distilbert", **{**_DISTILBERT, "n_heads": 3}))


def test_weights_that_published_files_of_bert_hold_besides(tmp_path: Path) -> None:
    """The names of norms of old, and the heads of pre-training, which a masked language model does not use."""
    from safetensors.torch import load_file, save_file

    model, tokens = made("masked bert that is causal"), drawn_tokens(2, 7)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
        for name, weight in load_file(file).items()
    }
    assert any(name.endswith("gamma") for name in weights)
    unused = {"cls.seq_relationship.weight": torch.ones(2, 16), "bert.pooler.dense.bias": torch.ones(16)}
    save_file(weights | unused, file, {"format": "pt"})
    with torch.no_grad():
        wanted = model(tokens).logits
    assert_same(load(tmp_path).call(tokens).evaluate(), wanted)


def test_a_name_on_the_hub_loads_the_class_that_its_config_names(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = made("bert classifier"), drawn_tokens(2, 7)
    model.config.architectures = [type(model).__name__]
    asked: list[str] = []

    def from_hub(name: str, **_: Any) -> Any:
        asked.append(name)
        return model

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda name, **_: model.config)
    monkeypatch.setattr(type(model), "from_pretrained", from_hub)
    loaded = load("some/name")
    assert asked == ["some/name"]
    assert loaded.source == "some/name"
    with torch.no_grad():
        assert_same(loaded.call(tokens).evaluate(), model(tokens).logits)
    assert load("some/name", device="meta").device == torch.device("meta")
    assert asked == ["some/name"]
