"""From text to logits as Hugging Face does: a saved tokenizer, padding on either side, texts continued."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import scrub as rc
from scrub.models import LoadedModel, load

TEXTS = (
    "the cat sat on the mat",
    "a dog",
    "the dog that chased the cat over the mat sat down and the cat sat on the dog",
    "on",
)
SPECIAL = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
N_CTX = 40


@functools.cache
def tokenizer() -> Any:
    """Byte pairs of a few texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe: Any = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=list(SPECIAL.values()), show_progress=False)
    bpe.train_from_iterator(TEXTS, trainer)
    made: Any = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, **SPECIAL)
    return made


def _ids() -> dict[str, int]:
    given = tokenizer()
    return {"pad_token_id": given.pad_token_id, "bos_token_id": given.bos_token_id, "eos_token_id": given.eos_token_id}


def build(name: str) -> Any:
    """A tiny model with random weights everywhere, in double precision."""
    hf: Any = transformers
    vocab = {"vocab_size": len(tokenizer()), **_ids()}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": N_CTX}
    if name == "gpt2":
        model = hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=16, n_layer=2, n_head=4, n_positions=N_CTX, **vocab))
    elif name == "opt":
        model = hf.OPTForCausalLM(hf.OPTConfig(ffn_dim=20, word_embed_proj_dim=16, **sizes, **vocab))
    else:
        model = hf.BertForMaskedLM(hf.BertConfig(intermediate_size=20, **sizes, **vocab))
    generator = torch.Generator().manual_seed(len(name))
    with torch.no_grad():
        for parameter in model.parameters():
            size = 0.5 if parameter.ndim > 1 else 0.1  # with larger biases every text continues alike
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)
    return model.double().eval()


MODELS = ("gpt2", "opt", "bert")


@pytest.fixture(scope="module", params=MODELS)
def saved(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any, LoadedModel]]:
    """Its name, the Hugging Face model, and the same loaded from the folder to which it was saved."""
    model = build(request.param)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        yield request.param, model, load(folder)


def padded(side: str) -> dict[str, Tensor]:
    """The texts as one batch, with the positions that Hugging Face's `generate` gives them."""
    batch = dict(tokenizer()(list(TEXTS), padding=True, padding_side=side, return_tensors="pt"))
    mask = batch["attention_mask"]
    assert int(mask.sum(-1).min()) < mask.shape[1]
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
    return {"input_ids": batch["input_ids"], "attention_mask": mask, "position_ids": positions}


def hf_logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def our_logits(loaded: LoadedModel, inputs: dict[str, Tensor], model: rc.Expr | None = None) -> Tensor:
    others: Any = {name: value for name, value in inputs.items() if name != "input_ids"}
    return loaded.call(inputs["input_ids"], **others, model=model).evaluate()


def assert_close(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_the_folder_s_tokenizer_is_the_model_s(saved: tuple[str, Any, LoadedModel]) -> None:
    _, _, loaded = saved
    for text in TEXTS:
        ids = loaded.tokenizer(text)["input_ids"]
        assert ids == tokenizer()(text)["input_ids"]
        assert loaded.tokenizer.decode(ids) == text
    assert loaded.tokenizer is loaded.tokenizer


@pytest.mark.parametrize("given", [(), ("attention_mask",), ("attention_mask", "position_ids")], ids=len)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_texts_have_hugging_face_s_logits(
    saved: tuple[str, Any, LoadedModel], side: str, given: tuple[str, ...]
) -> None:
    _, model, loaded = saved
    inputs = padded(side)
    shown = inputs["attention_mask"].bool()
    inputs = {name: value for name, value in inputs.items() if name in ("input_ids", *given)}
    compared = shown if given else torch.ones_like(shown)
    assert_close(our_logits(loaded, inputs)[compared], hf_logits(model, inputs)[compared])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_has_no_influence(saved: tuple[str, Any, LoadedModel], side: str) -> None:
    """Each text's logits in the batch are those that it has alone; also after rewriting, for any length at once."""
    _, _, loaded = saved
    lowered = loaded.lower()["t.bind_w"]
    split = rc.configure_transformer(
        lowered, split_by_head_config="full", use_pull_up_head_split=True, use_flatten_res=True
    )
    batch = padded(side)
    for bind_w in (lowered, split):
        together = our_logits(loaded, batch, bind_w)
        for text, mask, logits in zip(TEXTS, batch["attention_mask"], together, strict=True):
            alone = torch.tensor(tokenizer()(text)["input_ids"])
            assert_close(logits[mask.bool()], our_logits(loaded, {"input_ids": alone}, bind_w))


def test_what_stands_at_padding_has_no_influence(saved: tuple[str, Any, LoadedModel]) -> None:
    _, _, loaded = saved
    batch = padded("left")
    shown = batch["attention_mask"].bool()
    other = batch | {"input_ids": batch["input_ids"].masked_fill(~shown, 7)}
    assert not torch.equal(other["input_ids"], batch["input_ids"])
    assert_close(our_logits(loaded, other)[shown], our_logits(loaded, batch)[shown])


@pytest.mark.parametrize("name", ["gpt2", "opt"])
def test_greedy_continuation_is_that_of_generate(name: str) -> None:
    """A left-padded batch, continued token by token with one model for sequences of any length."""
    model, steps = build(name), 8
    loaded, batch = load(model), padded("left")
    wanted = model.generate(
        batch["input_ids"],
        attention_mask=batch["attention_mask"],
        do_sample=False,
        max_new_tokens=steps,
        min_new_tokens=steps,
    )
    bind_w = loaded.lower()["t.bind_w"]
    tokens, mask = batch["input_ids"], batch["attention_mask"]
    for _ in range(steps):
        positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
        logits = our_logits(loaded, {"input_ids": tokens, "attention_mask": mask, "position_ids": positions}, bind_w)
        last = logits[:, -1]
        last[:, tokenizer().eos_token_id] = -torch.inf  # min_new_tokens
        tokens = torch.cat([tokens, last.argmax(-1, keepdim=True)], dim=1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    assert torch.equal(tokens, wanted)
    assert (tokens[0, -steps:] != tokens[1, -steps:]).any()


def test_tokens_that_the_model_does_not_have_are_errors(saved: tuple[str, Any, LoadedModel]) -> None:
    _, _, loaded = saved
    n_tokens = len(tokenizer())
    for bad in (n_tokens, -1):
        with pytest.raises(rc.CheckpointError, match=f"token {bad} of .* is out of range") as caught:
            loaded.call(torch.tensor([[1, bad, 2]]))
        assert (caught.value.expected, caught.value.found) == (f"0 to {n_tokens - 1}", bad)


@pytest.mark.parametrize("bad", [2, 0.5, -1e9, torch.finfo(torch.float64).min])
def test_masks_of_something_else_than_zeros_and_ones_are_errors(bad: float) -> None:
    """Such as those that are added to scores."""
    mask = torch.tensor([1, bad, 1])
    with pytest.raises(rc.CheckpointError, match=r"of 'attention_mask' .* is neither 0 nor 1"):
        load(build("gpt2")).call(torch.tensor([1, 2, 3]), attention_mask=mask)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float32, torch.float64])
def test_masks_may_be_of_any_dtype(dtype: torch.dtype) -> None:
    loaded, batch = load(build("gpt2")), padded("left")
    other = batch | {"attention_mask": batch["attention_mask"].to(dtype)}
    assert torch.equal(our_logits(loaded, other), our_logits(loaded, batch))


def test_texts_that_are_too_long_are_errors(saved: tuple[str, Any, LoadedModel]) -> None:
    _, _, loaded = saved
    ids = loaded.tokenizer("the cat " * 20, return_tensors="pt")["input_ids"]
    assert ids.shape[1] > N_CTX
    for bind_w in (None, loaded.lower()["t.bind_w"]):
        with pytest.raises(rc.CheckpointError, match=f"sequences of {ids.shape[1]} tokens do not fit .* {N_CTX} pos"):
            loaded.call(ids, model=bind_w)
    cut = loaded.tokenizer("the cat " * 20, truncation=True, max_length=N_CTX, return_tensors="pt")["input_ids"]
    assert loaded.call(cut).shape == (1, N_CTX, len(tokenizer()))


@pytest.mark.parametrize("what", ["module", "config"])
def test_a_model_from_elsewhere_has_no_tokenizer(what: str) -> None:
    model = build("gpt2")
    loaded = load(model if what == "module" else model.config)
    with pytest.raises(rc.CheckpointError, match="loaded without a tokenizer") as caught:
        _ = loaded.tokenizer
    assert "AutoTokenizer" in str(caught.value)


def test_a_folder_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    """Hugging Face's would be empty, and read every text as unknown tokens."""
    build("bert").save_pretrained(tmp_path)
    with pytest.raises(rc.CheckpointError, match="holds no tokenizer") as caught:
        _ = load(tmp_path).tokenizer
    assert str(tmp_path) in str(caught.value)
